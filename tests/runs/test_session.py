"""The loop that all methods share: what ends it, and what is left then."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.base import Entry, Step, Tried
from prompt_optimization.optimizers.best_of_n.search import BestOfN
from prompt_optimization.runs.observers import End, Observer, StepDone
from prompt_optimization.runs.session import Session
from prompt_optimization.runs.store.checkpoint import checkpoint_path, load_checkpoint
from prompt_optimization.runs.store.log import RunLog, read_log
from prompt_optimization.runs.store.store import Store
from prompt_optimization.scoring.finalists import Ensemble, Finalist, Rule, Text
from prompt_optimization.scoring.scorer import Scored
from tests.conftest import PROMPT
from tests.runs.conftest import PROMPTS

MakeSession = Callable[..., Session]


class Solved(BestOfN):
    """Every training example is right from the start."""

    def start(self, prompt: str) -> Scored:
        scored = super().start(prompt)
        self.incumbent = Entry(replace(scored, mistakes=0.0), -1)
        return scored


class Hasty(BestOfN):
    """Keeps what it has found before its step has ended."""

    def _step(self) -> Any:
        (scored,) = self.scorer.score([self.prompts[2 * self.steps]])
        self.leaderboard.add([Entry(scored, self.steps)])
        self.incumbent = Entry(scored, self.steps)
        return super()._step()


def test_a_search_in_memory(make_session: MakeSession) -> None:
    session = make_session(max_steps=2)
    result = session.run()
    log = session.store.log.data
    assert result.status == log["status"] == "finished" and log["ended"] == "2 steps"
    assert [step["tried"][0]["prompt"] for step in log["steps"]] == [*PROMPTS[:2]]
    scores = {each["prompt"]: each["objective"] for each in [log["initial"], *log["best"]]}
    assert [entry.text for entry in result.best] == sorted(scores, key=lambda p: scores[p])[:2]
    assert log["losses"] == [step["best_objective"] for step in log["steps"]]
    # Dev elects among the initial prompt and the finalists; test looks at two of them.
    names = {PROMPT, *(entry.text for entry in result.best)}
    assert {*result.held_out["dev"]} == names
    winner = min(result.held_out["dev"].values(), key=lambda each: each.rank)
    assert result.chosen is not None and result.chosen.name == winner.prompt
    assert {*result.held_out["test"]} == {PROMPT, winner.prompt}
    assert log["evaluation"]["chosen"] == winner.prompt
    ledger = log["ledger"]
    assert ledger["search"]["evaluations"] == 3 * 6
    assert ledger["held_out"]["evaluations"] == 3 * (len(names) + len({PROMPT, winner.prompt}))
    assert log["tokens"]["decoded"] == sum(each["tokens"]["decoded"] for each in ledger.values())


def test_without_dev_the_best_on_train_is_chosen(make_session: MakeSession) -> None:
    session = make_session(splits=("test",), max_steps=3)
    result = session.run()
    assert result.chosen is not None and result.chosen.name == result.best[0].text
    assert session.store.log.data["evaluation"]["dev"] is None
    nothing = make_session(splits=(), max_steps=3)
    assert nothing.run().chosen == result.chosen
    assert nothing.store.log.data["evaluation"]["test"] is None


def test_a_method_may_have_nothing_left_to_try(make_session: MakeSession) -> None:
    session = make_session(max_steps=100)
    session.run()
    log = session.store.log.data
    assert log["ended"] == "nothing is left to try" and len(log["steps"]) == 3


def test_a_search_ends_when_every_example_is_right(make_session: MakeSession) -> None:
    session = make_session(method=Solved, stop_on_success=True)
    session.run()
    log = session.store.log.data
    assert log["ended"] == "every training sample is right" and not log["steps"]
    session = make_session(method=Solved, max_steps=1)
    session.run()
    assert session.store.log.data["ended"] == "1 steps"


@pytest.mark.parametrize("budget", [6, 7, 11, 12, 13, 18, 19, 23, 24])
def test_a_budget_is_obeyed_within_a_batch(make_session: MakeSession, budget: int) -> None:
    """Batches are of two rows here, and the initial prompt's six rows are scored whatever the
    budget is."""
    session = make_session(batch=1, chunk=2, max_evaluations=budget)
    session.run()
    log = session.store.log.data
    spent = log["ledger"]["search"]["evaluations"]
    assert spent == min(24, budget + budget % 2)
    assert len(log["steps"]) == (spent - 6) // 6
    if spent < 24:
        assert log["ended"] == f"{budget} evaluations"


def test_a_step_that_is_cut_short_leaves_nothing_but_its_cost(make_session: MakeSession) -> None:
    # The budget is spent between the two batches of the first step.
    session = make_session(method=Hasty, batch=2, max_evaluations=12)
    result = session.run()
    log = session.store.log.data
    assert log["ended"] == "12 evaluations" and not log["steps"]
    assert log["ledger"]["search"]["evaluations"] == 12
    assert [each["prompt"] for each in log["best"]] == [PROMPT] == [e.text for e in result.best]
    assert session.optimizer.incumbent == session.optimizer.initial
    assert {*result.held_out["dev"]} == {PROMPT} and log["evaluation"]["chosen"] == PROMPT


def test_dev_is_looked_at_every_few_steps(make_session: MakeSession) -> None:
    session = make_session(max_steps=3)
    session.test_steps = 2
    session.run()
    log = session.store.log.data
    (test,) = log["tests"]
    assert test["step"] == 1 and test["prompt"] == log["controls"][1]
    assert test["strict"]["n"] == 3


class Last(Observer):
    """Remembers how the run ended."""

    event: End | None = None

    def end(self, event: End) -> None:
        self.event = event


def test_the_end_is_told_even_if_the_log_cannot_be_written(
    make_session: MakeSession, tmp_path: Path
) -> None:
    folder = tmp_path / "results"

    class Removing(Observer):
        def step(self, event: Any) -> None:
            shutil.rmtree(folder)
            folder.write_text("in the way")

    last = Last()
    session = make_session(Removing(), last, path=folder / "run.json", max_steps=3)
    with pytest.raises(InputError, match="cannot be written"):
        session.run()
    assert last.event is not None and last.event.status == "failed"


def test_a_log_on_disk_is_the_log_in_memory(make_session: MakeSession, tmp_path: Path) -> None:
    last = Last()
    session = make_session(last, path=tmp_path / "run.json", max_steps=2)
    session.run()
    log = session.store.log.data
    assert json.loads((tmp_path / "run.json").read_text()) == log
    outputs = tmp_path / "run.json.outputs.jsonl"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", outputs.name]
    test = log["evaluation"]["test"]
    written = [json.loads(line) for line in outputs.read_text().splitlines()]
    prompts = [test[key]["prompt"] for key in ("initial", "best")]
    assert [each["prompt"] for each in written] == 3 * prompts
    assert [each["row"] for each in written[::2]] == [13, 14, 15]
    hits = "".join(str(each["strict"]) for each in written[1::2])
    assert hits == test["best"]["hits"]["strict"] and all(each["reasoning"] for each in written)
    assert last.event is not None and last.event.log == tmp_path / "run.json"


class Trained(BestOfN):
    """A trained method in small: what it tries depends on a tensor that every step changes, and its
    finalists are a rule, an ensemble and a text."""

    def start(self, prompt: str) -> Scored:
        self.weights = torch.linspace(0, 1, len(PROMPTS))
        return super().start(prompt)

    def _step(self) -> Step:
        tried = PROMPTS[int(self.weights.argmax())]
        (scored,) = self.scorer.score([tried])
        self.weights = (self.weights * 2.5 + scored.loss) % 1
        self.leaderboard.add([Entry(scored, self.steps)])
        return Step((Tried(tried, scored),), self.incumbent, accepted=False)

    def finalists(self) -> Sequence[Finalist]:
        return [
            Rule("long questions", lambda q: PROMPTS[0] if len(q) > 50 else PROMPTS[1]),
            Ensemble(PROMPTS),
            Text(PROMPTS[2]),
        ]

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.weights = state["weights"]


def test_a_state_may_hold_tensors_and_a_finalist_need_not_be_a_text(
    make_session: MakeSession, tmp_path: Path
) -> None:
    class Interrupting(Observer):
        def step(self, event: StepDone) -> None:
            if event.record["step"] == 1:
                raise KeyboardInterrupt

    whole = make_session(method=Trained, max_steps=5)
    whole.run()
    path = tmp_path / "run.json"
    session = make_session(Interrupting(), method=Trained, path=path, max_steps=5)
    with pytest.raises(KeyboardInterrupt):
        session.run()
    log, saved = RunLog(path, read_log(path)), load_checkpoint(checkpoint_path(path))
    assert torch.equal(saved.search["optimizer"]["weights"], session.optimizer.weights)
    resumed = make_session(method=Trained, max_steps=5)
    resumed.store = Store(RunLog.resume(path, log.data, 2, []), saved)
    resumed.run()
    found, expected = resumed.store.log.data, whole.store.log.data
    assert found["controls"] == expected["controls"] and len(found["steps"]) == 5
    assert [step["tried"] for step in found["steps"]] == [s["tried"] for s in expected["steps"]]
    assert found["evaluation"] == expected["evaluation"]
    names = [each["prompt"] for each in found["evaluation"]["dev"]["best"]]
    assert names[0] == "long questions" and names[1].startswith("vote of 3:")
    kinds = {names[0]: "rule", names[1]: "ensemble"}
    chosen = found["evaluation"]["chosen"]
    assert found["evaluation"]["kind"] == kinds.get(chosen, "text")
