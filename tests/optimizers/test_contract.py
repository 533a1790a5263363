"""What every method keeps, whatever it does. A new method is in the registry, so it is in here."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.models.engine import Engine, Outcome
from prompt_optimization.optimizers.base import Optimizer, optimizer_class
from prompt_optimization.optimizers.registry import about, method_names, settings_class
from prompt_optimization.runs.config import plan
from prompt_optimization.runs.store.log import read_log
from prompt_optimization.scoring.scorer import Scorer
from tests.runs.harness import carry_out, die_at_write, outcome, session, values, without_times
from tests.writers import script_writers

# What a method cannot do without, and what makes its steps small. A new method needs none of it
# but for settings that have no default.
OWN: dict[str, dict[str, Any]] = {
    "ape": {"subsamples": 2, "demos": 2, "draws": 2, "top": 2, "paraphrases": 1},
    "apo": {"beam": 2, "reasons": 1},
    "best_of_n": {
        "prompts": (
            " count the apples.",
            " think step by step.",
            " add them up, then answer.",
            " use careful thought.",
            " think step by step and add.",
        ),
        "batch": 2,
        "chunk": 2,
    },
    "evoprompt": {"population": 4, "demos": 2},
    "gepa": {"minibatch": 2},
    "gpo": {"proposals": 2},
    "hybrid": {
        "proposers": ("opro", "ape", "gepa"),
        "proposals": 4,
        "minibatch": 2,
        "positions": 2,
        "edit_proposals": 1,
        "screen": "likelihood_ratio",
        "screened": 3,
        "draws": 2,
    },
    "oirl": {
        "prompts": ("steps", "count each one."),
        "heldout": ("plain",),
        "draws": 2,
        "batch": 2,
        "reward": "logistic",
        "test_share": 0.5,
    },
    "mapo": {"candidates": 4, "epochs": 1, "rank": 2, "length": 6},
    "opro": {"proposals": 2},
    "pe2": {"beam": 2, "expand": 1},
    "qpo": {"prompts": ("steps", "count each one."), "draws": 2, "batch": 2, "rank": 2},
    "rlprompt": {"prompts_per_step": 3, "length": 3, "hidden": 16, "control": "policy"},
    "robust": {
        "source": "0",
        "target": "1",
        "prompts": 2,
        "demos": 2,
        "min_rows": 1,
        "threshold": 0.5,
    },
    "spo": {"questions": 2, "judge": "random"},
}

# What trains has no trainer on some versions of Python; its own tests say what it says then.
TRAINED = ("mapo", "qpo")
METHODS = [name for name in method_names() if name not in TRAINED or find_spec("trl")]

# Ways of a method that keep more of their own than a setting: (method, its settings).
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "greater with the likelihood ratio": (
        "greater",
        {
            "shortlist": "likelihood_ratio",
            "draws": 2,
            "accept": "anneal",
            "edits": ("token", "insert", "delete", "span"),
            "edit_proposals": 2,
        },
    ),
    "greater on fresh rows": (
        "greater",
        {"rows_per_step": 2, "restart_after": 1, "edits": ("token", "span"), "edit_proposals": 2},
    ),
}


def objective_of(method: str) -> str:
    """One that the method can minimise."""
    able = settings_class(method).objectives
    return "loss" if "loss" in able else able[0]


@pytest.fixture(scope="module", params=[*METHODS, *WAYS])
def shared_flags(
    request: pytest.FixtureRequest,
    small_run: dict[str, Any],
    grouped_file: Path,
    encoder_folder: Path,
) -> Iterator[dict[str, Any]]:
    method, own = WAYS.get(request.param, (request.param, OWN.get(request.param, {})))
    with pytest.MonkeyPatch.context() as patch:
        # Methods that write ask a script; the processes that are killed inherit it.
        script_writers(patch)
        yield (
            small_run
            | {f"{method}.{name}": value for name, value in own.items()}
            | {
                "method": method,
                "objective": objective_of(method),
                **({"train_data": grouped_file} if method == "robust" else {}),
                "n_train_data": 4,
                "n_dev_data": 3,
                "n_test_data": 3,
                "n_steps": 4,
                "top_prompts": 2,
                "max_new_tokens": 4,
                "answer_tokens": 3,
                "resume": "auto",
                "embed.model": encoder_folder,
            }
        )


@pytest.fixture
def flags(shared_flags: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    return shared_flags | {"result_prefix": tmp_path / "run"}


@dataclass(frozen=True)
class Whole:
    """A run that nothing has disturbed.

    Attributes:
        computed: how often the engine let each prompt reason on each question, draw by draw,
            counted apart from the ledger.
    """

    folder: Path
    log: dict[str, Any]
    computed: Counter[tuple[Any, ...]]


@pytest.fixture(scope="module")
def whole(shared_flags: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    computed: Counter[tuple[Any, ...]] = Counter()
    run = Engine.run

    def counted(
        self: Engine, examples: Any, prompts: Any, decoding: Any, indices: Any = None
    ) -> list[list[Outcome]]:
        rows = range(len(examples)) if indices is None else indices
        for prompt in prompts:
            for row in rows:
                computed[prompt, examples.examples[row].question, decoding.sampling] += 1
        return run(self, examples, prompts, decoding, indices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "run", counted)
        log = carry_out(shared_flags | {"result_prefix": folder / "run"}).data
    return Whole(folder, log, computed)


def the_log(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("run_*.json")
    return read_log(path)


def written(folder: Path) -> list[dict[str, Any]]:
    """What the writer of the run in this folder was asked and answered, if it has one."""
    lines = [
        json.loads(line)
        for path in folder.glob("run_*.replies.jsonl")
        for line in path.read_text().splitlines()
    ]
    return [{name: each[name] for name in each if name != "seconds"} for each in lines]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_a_folder_with_settings_and_a_search(name: str) -> None:
    assert issubclass(optimizer_class(name), Optimizer)
    assert settings_class(name).rows() and about(name)
    assert all(row.meaning and row.group for row in settings_class(name).rows())


def test_killed_after_every_write_it_is_the_same_run_as_the_same_config_without_a_kill(
    flags: dict[str, Any], whole: Whole, tmp_path: Path
) -> None:
    killed = 0
    # A session dies at its fourth to seventh write: before it, halfway through, or after it. Where
    # a session starts is the same for all methods, and tests/runs/test_resume.py kills it there.
    while (code := outcome(session(flags, partial(die_at_write, 3 + killed % 4, killed % 3)))) != 0:
        assert code == -signal.SIGKILL
        killed += 1
    assert killed >= len(whole.log["steps"])
    # What had been answered was not asked again.
    assert written(tmp_path) == written(whole.folder)
    assert without_times(the_log(tmp_path)) == without_times(the_log(whole.folder))


def test_nothing_is_scored_twice_and_the_ledger_equals_what_was_computed(whole: Whole) -> None:
    log, computed = whole.log, whole.computed
    assert set(computed.values()) == {1}
    ledger = log["ledger"]
    assert ledger["search"]["evaluations"] + ledger["held_out"]["evaluations"] == len(computed)
    for kind in ("decoded", "prefilled"):
        assert ledger["search"]["tokens"][kind] > 0 < ledger["held_out"]["tokens"][kind]
    steps: Counter[str] = sum((Counter(step["tokens"]) for step in log["steps"]), Counter())
    assert all(ledger["search"]["tokens"][kind] >= count for kind, count in steps.items())
    spent = [log["initial"]["samples"], *(step["evaluations"] for step in log["steps"])]
    assert spent == sorted(spent) and spent[-1] <= ledger["search"]["evaluations"]
    if not log["params"].get("greater.rows_per_step"):  # Nothing is left for the end.
        assert spent[-1] == ledger["search"]["evaluations"]


def first_round(flags: dict[str, Any]) -> int:
    """The smallest budget that the method takes."""
    method = plan(values(flags)).method
    return optimizer_class(flags["method"]).first_round(method, flags["n_train_data"], 1)


def test_a_budget_below_the_first_round_is_refused(flags: dict[str, Any]) -> None:
    needed = first_round(flags)
    with pytest.raises(InputError, match=f"which takes {needed} with") as caught:
        carry_out(flags | {"max_evaluations": needed - 1})
    assert caught.value.keys == ("max_evaluations",)
    # What it needs is enough: one that asks for more than the initial prompt makes a step of it.
    log = carry_out(flags | {"max_evaluations": needed}).data
    assert log["steps"] or needed == flags["n_train_data"]


def test_a_budget_is_obeyed_within_one_batch(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = first_round(flags) + 5
    batches: list[tuple[int, int]] = []
    run = Scorer._run_batch

    def watched(self: Scorer, prompts: Any, rows: Any, *more: Any) -> Any:
        batches.append((self.ledger.evaluations, len(prompts) * len(rows)))
        return run(self, prompts, rows, *more)

    monkeypatch.setattr(Scorer, "_run_batch", watched)
    log = carry_out(flags | {"max_evaluations": limit}).data
    assert all(before < limit for before, _ in batches)
    spent = log["ledger"]["search"]["evaluations"]
    assert spent < limit + batches[-1][1]
    assert log["status"] == "finished"
    if spent >= limit:
        assert log["ended"] == f"{limit} evaluations"


def test_the_log_is_read_by_report_and_evaluate(whole: Whole) -> None:
    from prompt_optimization.report.measured import read_results
    from prompt_optimization.report.scan import Scan

    method, chosen = whole.log["method"], whole.log["evaluation"]["chosen"].strip()
    results = read_results(whole.folder)
    assert method in {measurement.method for measurement in results.measurements}
    scan = Scan(whole.folder)
    shown = [scan.run(run["id"]) for run in scan.runs()]
    assert chosen in [run["prompts"]["found"] for run in shown if run and "damage" not in run]
    assert all(len(run["list"]) == run["steps"] for run in shown if run)


def test_dev_elects_and_the_initial_prompt_stands_for_election(whole: Whole) -> None:
    evaluation = whole.log["evaluation"]
    assert evaluation["test"]["initial"]["prompt"] == whole.log["initial"]["prompt"]
    method = optimizer_class(whole.log["method"])
    if method.dev_rank is not Optimizer.dev_rank:
        return  # Its own tests say by what.
    on_dev = [evaluation["dev"]["initial"], *evaluation["dev"]["best"]]
    best = min(on_dev, key=lambda record: (-record["hits"]["strict"].count("1"), record["loss"]))
    assert evaluation["chosen"] == best["prompt"]


def check_objective(log: dict[str, Any], objective: str) -> None:
    initial = log["initial"]
    share = {"answers": "wrong_answers"}.get(objective, objective)
    weight = log["params"]["selection_control_weight"]
    assert initial["objective"] == pytest.approx(initial[share] + weight * initial["nll"])
    assert log["best"][0]["objective"] <= initial["objective"]


@pytest.mark.parametrize("objective", ["mistakes", "answers"])
def test_every_objective(flags: dict[str, Any], objective: str) -> None:
    flags = flags | {"objective": objective, "n_steps": 1, "n_dev_data": 0, "n_test_data": 0}
    if objective not in settings_class(flags["method"]).objectives:
        with pytest.raises(InputError, match=f"cannot minimise the objective '{objective}'"):
            carry_out(flags)
        return
    log = carry_out(flags).data
    check_objective(log, objective)


def test_the_objective_of_the_whole_run(whole: Whole) -> None:
    check_objective(whole.log, objective_of(whole.log["method"]))
