"""Methods at one budget: the runs are those of their own, what stops continues, and the table is
what the logs hold."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from rich.console import Console
from scipy.stats import norm, t

from prompt_optimization.errors import InputError
from prompt_optimization.report.comparison import (
    best_at,
    comparison,
    curve,
    grids,
    markdown,
    sheets,
)
from prompt_optimization.runs.compare import Outcome, carry_out, entrants, of_methods
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.store.lock import RunLock
from prompt_optimization.runs.store.log import read_log
from prompt_optimization.runs.yaml_config import read_contenders
from prompt_optimization.scoring.statistics import paired_difference
from tests.runs import harness
from tests.runs.harness import die_at_write, outcome, session, values, without_times
from tests.writers import script_writers

METHODS = ("best_of_n", "random")
BUDGET = 40
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def flags(small_run: dict[str, Any]) -> dict[str, Any]:
    return small_run | {
        "best_of_n.prompts": (" count the apples.", " think step by step."),
        "objective": "loss",
        "n_dev_data": 6,
        "n_test_data": 8,
        "n_steps": 3,
        "max_new_tokens": 5,
    }


def compare(
    flags: dict[str, Any], methods: Sequence[str] = METHODS, seeds: int = 2
) -> list[Outcome]:
    runs = entrants(values(flags), of_methods(methods), BUDGET, seeds)
    return list(carry_out(runs, Display(verbose=False)))


def logs_in(folder: Path) -> dict[str, dict[str, Any]]:
    """By method and seed."""
    logs = [path for path in folder.glob("*.json") if path.name != "compare.json"]
    return {path.name.rpartition("_")[0]: read_log(path) for path in logs}


@pytest.fixture(scope="module")
def whole(flags: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert all(found.log for found in compare(flags | {"result_prefix": folder}))
    return folder


def test_models_that_stay_open_change_no_run(
    flags: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    for name, log in logs_in(whole).items():
        method, seed = name.split("_seed")
        alone = flags | {"method": method, "seed": int(seed), "max_evaluations": BUDGET}
        fresh = harness.carry_out(alone | {"result_prefix": tmp_path / name}).data
        assert without_times(log) == without_times(json.loads(json.dumps(fresh, default=str)))


def test_killed_and_continued_it_ends_as_if_nothing_had_been(
    flags: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    stopped = flags | {"result_prefix": tmp_path}
    for fatal in (2, 6, 9):
        code = outcome(session(stopped, partial(die_at_write, fatal, fatal % 3), compare))
        assert code == -signal.SIGKILL
    before = {name: log["status"] for name, log in logs_in(tmp_path).items()}
    assert {"finished", "running"} == set(before.values()) and len(before) < 4
    compare(stopped)
    after, expected = logs_in(tmp_path), logs_in(whole)
    assert {name: without_times(log) for name, log in after.items()} == {
        name: without_times(log) for name, log in expected.items()
    }
    compare(stopped)
    assert logs_in(tmp_path) == after, "a finished comparison is left alone"


def test_contenders_are_one_method_with_other_settings_at_one_amount_of_work(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "contenders.yaml"
    file.write_text(
        "always: {method: random, accept: always}\n"
        "improve:\n  method: random\n  shortlist_size: 2\n"
    )
    given = values(flags | {"result_prefix": tmp_path / "runs", "n_steps": 50})
    contenders = read_contenders(file)
    runs = list(carry_out(entrants(given, contenders, 4000, 1, "max_work"), Display(verbose=False)))
    logs = {each.entrant.name: [each.log.data] for each in runs if each.log}
    assert logs["always"][0]["params"]["accept"] == "always"
    assert {own[0]["ended"] for own in logs.values()} == {"4000 tokens of work"}
    record = comparison(logs, 4000, "max_work", contenders)
    for own in record["methods"].values():
        (run,) = own["runs"]
        tokens = run["tokens"]
        work = tokens["prefilled"] + 2 * tokens["decoded"] + 3 * tokens.get("differentiated", 0)
        assert run["spent"] == work >= 4000 and run["unused"] == 0
        assert work < 4000 + 1500, "a search ends within a batch of its budget"
    page = markdown(record, sheets(record), [])
    assert "What a search took of 4,000 tokens of work" in page
    assert "- improve: method=random, shortlist_size=2" in page


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: {seed: 3}", "sets seed, which is the same for all"),
        ("a: {n_train_data: 3}", "sets n_train_data, which is the same for all"),
        ("a: {max_work: 3}", "sets max_work, which is the same for all"),
        ("a: {}\na: {}", "line 2 of .* named twice"),
        ("a: random", "write its settings below it"),
        ("a/b: {}", "made of letters"),
        ("a: {methd: random}", "the key 'methd' is unknown"),
        ("a: {topk: 2, shortlist_size: 3}", "contender 'a': topk=2 proposes fewer"),
    ],
)
def test_contenders_that_cannot_be_compared_are_refused(
    flags: dict[str, Any], tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "contenders.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=problem):
        entrants(values(flags | {"result_prefix": tmp_path}), read_contenders(file), 40, 1)


def test_the_table_is_what_the_logs_hold(whole: Path) -> None:
    logs = logs_in(whole)
    # The tiny model is never right; these are hits as another would have them.
    hits = {"best_of_n": ("01110110", "11110010"), "random": ("00001100", "11111111")}
    for method, given in hits.items():
        for seed, after in enumerate(given):
            evaluation = logs[f"{method}_seed{seed}"]["evaluation"]
            evaluation["chosen"] = f" elected by {seed}"
            evaluation["test"]["initial"]["hits"]["strict"] = "01001010"
            evaluation["test"]["best"]["hits"]["strict"] = after
    by_method = {m: [logs[f"{m}_seed{seed}"] for seed in (0, 1)] for m in METHODS}
    record = comparison(by_method, BUDGET)
    assert record["points"] == [5, 10, 20, 40] and record["rows"]["test"] == 8
    # Rows that either run of a method has gained or lost, by hand from the hits above.
    check_intervals(
        record["methods"]["best_of_n"], [0, 0, 1, 1, -1, 1, 0, 0], [1, 0, 1, 1, -1, 0, 0, 0]
    )
    check_intervals(
        record["methods"]["random"], [0, -1, 0, 0, 0, 1, -1, 0], [1, 0, 1, 1, 0, 1, 0, 1]
    )
    for method, own in by_method.items():
        found = record["methods"][method]
        for run, log in zip(found["runs"], own, strict=True):
            assert run["chosen"] == log["evaluation"]["chosen"]
            spent = log["ledger"]["search"]["evaluations"]
            assert (run["evaluations"], run["unused"]) == (spent, max(0, BUDGET - spent))
            assert run["curve"][0] == (6, log["initial"]["objective"])
            steps = [(step["evaluations"], step["best_objective"]) for step in log["steps"]]
            assert steps and run["curve"][1:] == steps
        assert found["objective"]["5"] is None, "that was too few for the initial prompt"
        final = fmean(best_at(curve(log), BUDGET) or 0 for log in own)
        assert found["objective"]["40"] == pytest.approx(final)
    # Eight rows and two seeds tell little; what they do tell is wider than the interval.
    best = record["methods"]["best_of_n"]
    reach = best["difference_over_seeds"]["high"] - best["difference"]["value"]
    assert best["detectable"] > reach
    page = markdown(record, sheets(record), ["random with seed 9 failed: it did"])
    # Two prompts on six rows, after the initial one; then nothing is left.
    assert "best_of_n with seed 1 left 22 rows unused (nothing is left to try)" in page
    assert (
        "| best_of_n | 2 | 37.5 | 62.5 | +25.0 [" in page and "- random with seed 9 failed" in page
    )


def check_intervals(found: Mapping[str, Any], *cells: Sequence[int]) -> None:
    """What a method gained on each row with either seed, against the formulas written out."""
    n, rows = len(cells[0]), [sum(row) / 2 for row in zip(*cells, strict=True)]
    mean, middle = sum(rows) / n, sum(rows) / (n + 2)
    variance = ((sum(d * d for d in rows) + 1) / (n + 2) - middle**2) / (n + 2)
    over_rows = found["difference"]
    assert over_rows["value"] == found["difference_over_seeds"]["value"] == pytest.approx(mean)
    assert over_rows["high"] == pytest.approx(min(1, middle + norm.ppf(0.975) * variance**0.5))
    runs = [sum(own) / n for own in cells]
    between = n * sum((each - mean) ** 2 for each in runs)
    residual = sum(
        (cells[s][r] - runs[s] - rows[r] + mean) ** 2 for s in range(2) for r in range(n)
    ) / (n - 1)
    both = variance + max(0, between - residual) / (2 * n)
    freedom = both**2 / ((between / (2 * n)) ** 2 + variance**2 / (n - 1))
    reach = t.ppf(0.975, max(1, freedom)) * both**0.5
    assert found["difference_over_seeds"]["high"] == pytest.approx(min(1, middle + reach))
    assert found["difference_over_seeds"]["low"] == pytest.approx(max(-1, middle - reach))


def test_values_and_weights_of_the_metric_that_counts(whole: Path) -> None:
    logs = [logs_in(whole)[f"random_seed{seed}"] for seed in (0, 1)]
    before, weights = [0.25, 0.0, 0.5, 1.0, 0.0, 0.75, 0.5, 0.0], [3.0, *[1.0] * 7]
    after = [
        [0.75, 0.5, 0.5, 1.0, 0.0, 1.0, 0.25, 0.5],
        [0.5, 0.5, 0.75, 0.5, 0.0, 1.0, 0.5, 0.5],
    ]
    for log, values_after in zip(logs, after, strict=True):
        log["params"] |= {"metric": "regex", "task.pattern": "[a-z]"}
        log["evaluation"]["chosen"] = " elected"
        test = log["evaluation"]["test"]
        for side, given in (("initial", before), ("best", values_after)):
            test[side] |= {"prompt": side, "metric": "regex", "weights": weights}
            test[side]["hits"]["regex"] = given
        own = paired_difference(before, values_after, weights)
        test["difference"]["regex"] = asdict(own)
    (one, _), record = logs, comparison({"random": logs}, BUDGET)
    found = record["methods"]["random"]
    assert found["initial"] == pytest.approx(3.5 / 10)
    assert found["best"] == pytest.approx((6 + 5.25) / 2 / 10)
    assert found["difference"]["value"] == pytest.approx(found["best"] - found["initial"])
    both, rows = found["difference_over_seeds"], found["difference"]
    assert both["value"] == pytest.approx(rows["value"])
    assert both["low"] < rows["low"] < rows["high"] < both["high"]
    first, *_ = sheets(record)
    assert "test rows by regex (pattern='[a-z]')" in first.title and "weights" in first.note
    console = Console(file=io.StringIO(), width=200)
    console.print(grids([first])[0])
    assert "pattern='[a-z]'" in console.file.getvalue()  # type: ignore[attr-defined]
    alone = comparison({"random": [one]}, BUDGET)["methods"]["random"]
    assert alone["difference"] == pytest.approx(one["evaluation"]["test"]["difference"]["regex"])


def test_runs_of_other_metrics_are_not_compared(whole: Path) -> None:
    logs = [logs_in(whole)[f"random_seed{seed}"] for seed in (0, 1)]
    logs[1]["params"]["metric"] = "flexible"
    with pytest.raises(InputError, match=r'the metric changed \(metric was "strict" and is "flex'):
        comparison({"random": logs}, BUDGET)


def test_what_methods_bring_of_their_own_is_named(
    flags: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_writers(monkeypatch)
    writes = "opro"
    logs = {
        found.entrant.name: [found.log.data]
        for found in compare(flags | {"result_prefix": tmp_path}, ("random", writes), seeds=1)
        if found.log
    }
    record = comparison(logs, BUDGET)
    assert "selection_control_weight" in record["settings"]
    assert "objective" not in record["settings"], "it was given"
    # All begin with the same prompt, which is that of the methods that write.
    starts = {own["runs"][0]["initial"] for own in record["methods"].values()}
    assert starts == {" Let's think step by step."}
    assert record["methods"][writes]["runs"][0]["requests"] > 0
    first, costs, curves = sheets(record)
    assert "The methods have their own" in first.note and "writer writes" in costs.columns
    for grid in grids([first, costs, curves]):  # on a narrow screen nothing is cut off
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(grid)
        shown = console.export_text()
        assert "\u2026" not in shown and all(name in shown for name in ("random", writes))
    assert "cannot be compared" in curves.note, "the weight of the prompt's likelihood differs"


def test_an_election_that_changed_nothing_is_a_difference_of_zero(whole: Path) -> None:
    log = logs_in(whole)["random_seed0"]
    log["evaluation"]["chosen"] = log["initial"]["prompt"]
    log["evaluation"]["test"]["best"] = log["evaluation"]["test"]["initial"]
    found = comparison({"random": [log]}, BUDGET)["methods"]["random"]
    assert found["difference"] == {"value": 0, "low": 0, "high": 0, "n": 8}
    assert found["difference_over_seeds"] is None, "one seed tells nothing of others"


def test_runs_of_other_rows_are_not_compared(whole: Path) -> None:
    logs = logs_in(whole)
    other = json.loads(json.dumps(logs["random_seed1"]))
    other["environment"]["weights"] = "another"
    with pytest.raises(InputError, match="cannot be compared, because the model's weights changed"):
        comparison({"random": [logs["random_seed0"], other]}, BUDGET)


@pytest.mark.parametrize(
    ("methods", "budget", "seeds", "changes", "message"),
    [
        (["randon"], 40, 1, {}, r"'randon' is unknown; did you mean 'random'\?"),
        ([], 40, 1, {}, "no methods; give some of .*best_of_n"),
        (["random", "random"], 40, 1, {}, "'random' is named twice"),
        (["random"], 40, 0, {}, "0 is too small; give at least 1"),
        (["random"], 0, 1, {}, "0 is too small; give at least 1"),
        (["random"], 5, 1, {}, "5 rows is below the first round of 'random', which takes 6"),
        (["best_of_n"], 40, 1, {"best_of_n.prompts": ()}, "no prompts to choose from"),
        (["random"], 40, 1, {"n_test_data": 90}, "has 41 rows left for testing"),
        (["random"], 41, 1, {}, "had other settings: max_evaluations was 40 and is 41; set them"),
        (["random"], 40, 1, {"n_test_data": 9}, "n_test_data was 8 and is 9"),
        (["random"], 40, 1, {"model_paths": "another"}, "model_paths was .* and is"),
    ],
)  # fmt: skip
def test_bad_input(
    flags: dict[str, Any], whole: Path, methods: list[str], budget: int, seeds: int,
    changes: dict[str, Any], message: str,
) -> None:  # fmt: skip
    given = values(flags | changes | {"result_prefix": whole})
    with pytest.raises(InputError, match=message):
        entrants(given, of_methods(methods), budget, seeds)


def test_the_command(flags: dict[str, Any], tmp_path: Path) -> None:
    keys = {name: value for name, value in flags.items() if name != "train_data"}
    folder = tmp_path / "comparison"

    def command(*further: str) -> subprocess.CompletedProcess[str]:
        given = [f"--config.{key}={value}" for key, value in keys.items()]
        return subprocess.run(
            [
                sys.executable, str(ROOT / "experiments" / "compare.py"),
                "--budget=40", "--seeds=1", f"--data={flags['train_data']}",
                f"--config.result_prefix={folder}",
                *given, *further,
            ],
            capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    refused = command("--methods=random", "--config.stop.max_evaluations=7")
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: a comparison sets this itself; leave it out (--config.max_evaluations)\n"
    )
    folder.mkdir()
    with RunLock(folder / "best_of_n_seed0"):
        failed = command("--methods=best_of_n,random")
    assert failed.returncode == 1, failed.stderr
    assert "best_of_n with seed 0 failed: another process works on" in failed.stdout
    assert failed.stdout.count("loading ") == 1
    assert list(json.loads((folder / "compare.json").read_text())["methods"]) == ["random"]
    done = command("--methods=best_of_n,random")
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "compare.json").read_text())
    assert list(record["methods"]) == ["best_of_n", "random"] and record["failed"] == []
    assert "Difference to the initial prompt on 8 test rows" in done.stdout
    assert (folder / "compare.svg").read_text().startswith("<svg")
    assert "(compare.svg)" in (folder / "compare.md").read_text()
