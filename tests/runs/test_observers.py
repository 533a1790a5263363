"""Those who watch a run see all of it and cannot break it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.runs import now_file
from prompt_optimization.runs.now_file import NowFile
from prompt_optimization.runs.observers import Begin, End, Evaluated, Observer, StepDone
from prompt_optimization.runs.session import Session
from prompt_optimization.runs.store.now import Now, read_now
from prompt_optimization.signals import Interrupted
from tests.conftest import PROMPT
from tests.runs.conftest import PROMPTS

MakeSession = Callable[..., Session]

HOOKS = ("begin", "activity", "step", "evaluated", "end")


class Watcher(Observer):
    """Remembers what it was told; of activity that a phase began."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.amounts: list[tuple[int, int]] = []

    def begin(self, event: Begin) -> None:
        self.events.append(event)

    def activity(self, phase: str, done: int, of: int) -> None:
        self.amounts.append((done, of))
        if not of:
            self.events.append(phase)

    def step(self, event: StepDone) -> None:
        self.events.append(event)

    def evaluated(self, event: Evaluated) -> None:
        self.events.append(event)

    def end(self, event: End) -> None:
        self.events.append(event)

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Doing(Observer):
    """Calls ``act`` in the hook of that name; ``calls`` counts how often."""

    def __init__(self, hook: str, act: Callable[[], Any]) -> None:
        self.calls = 0

        def called(*_: Any) -> Any:
            self.calls += 1
            return act()

        setattr(self, hook, called)


def raising(error: BaseException) -> Callable[[], Any]:
    def act() -> None:
        raise error

    return act


def found(session: Session) -> dict[str, Any]:
    """What a log holds but for times."""
    log = session.store.log.data
    steps = [
        {key: value for key, value in step.items() if key not in ("seconds", "busy")}
        for step in log["steps"]
    ]
    ledgers = {name: each | {"seconds": 0} for name, each in log["ledger"].items()}
    return {**log, "steps": steps, "ledger": ledgers, "runtimes": None, "sessions": None}


def test_every_event_is_told_in_order(make_session: MakeSession) -> None:
    watcher = Watcher()
    session = make_session(watcher, max_steps=2, max_evaluations=1000)
    result = session.run()
    log = session.store.log
    kinds = [each if isinstance(each, str) else type(each) for each in watcher.events]
    assert kinds == [
        "start", Begin, "race", StepDone, "race", StepDone,
        "dev", Evaluated, Evaluated, Evaluated, "test", Evaluated, Evaluated, End,
    ]  # fmt: skip
    assert all(0 <= done <= of for done, of in watcher.amounts) and (6, 6) in watcher.amounts
    (begin,) = watcher.told(Begin)
    assert begin.method == "best_of_n" and begin.log is None and begin.examples == 6
    assert begin.max_steps == 2 and begin.budgets == {"max_evaluations": 1000}
    assert begin.initial["prompt"] == begin.incumbent["prompt"] == PROMPT
    assert begin.progress.steps == 0 and begin.progress.evaluations == 6
    steps = watcher.told(StepDone)
    assert [step.record for step in steps] == log.data["steps"]
    assert steps[-1].best == log.data["best"]
    assert [step.progress.evaluations for step in steps] == [12, 18]
    evaluated = watcher.told(Evaluated)
    assert [(each.split, each.done, each.of) for each in evaluated] == [
        ("dev", 1, 3), ("dev", 2, 3), ("dev", 3, 3), ("test", 1, 2), ("test", 2, 2),
    ]  # fmt: skip
    for each in evaluated:
        assert result.held_out[each.split][each.result.prompt] is each.result
    (end,) = watcher.told(End)
    assert (end.status, end.data, end.log) == ("finished", log.data, None)


@pytest.mark.parametrize("hook", HOOKS)
def test_one_that_fails_is_warned_of_once_and_ends_nothing(
    make_session: MakeSession, warnings: list[str], hook: str
) -> None:
    plain = make_session(max_steps=3)
    plain.run()
    failing, watcher = Doing(hook, raising(ZeroDivisionError("a user's mistake"))), Watcher()
    session = make_session(failing, watcher, max_steps=3)
    result = session.run()
    assert failing.calls == 1 and warnings == [
        "Doing failed and is left out from now on (ZeroDivisionError: a user's mistake)"
    ]
    assert result.status == "finished" and found(session) == found(plain)
    assert len(watcher.told(StepDone)) == 3 and len(watcher.told(End)) == 1


@pytest.mark.parametrize(("hook", "steps"), [("begin", 0), ("step", 1)])
@pytest.mark.parametrize("others", [0, 1])
def test_true_ends_the_search(
    make_session: MakeSession, hook: str, steps: int, others: int
) -> None:
    watcher = Watcher()
    observers = [*[Observer()] * others, Doing(hook, lambda: True), watcher]
    session = make_session(*observers, max_steps=3)
    result = session.run()
    log = session.store.log.data
    assert len(log["steps"]) == len(watcher.told(StepDone)) == steps
    assert log["ended"] == "an observer asked for it"
    # What was found is measured all the same.
    assert result.status == watcher.told(End)[0].status == "stopped"
    assert log["status"] == "finished" and log["evaluation"]["test"] is not None


@pytest.mark.parametrize("answer", [None, False])
def test_anything_else_does_not(make_session: MakeSession, answer: bool | None) -> None:
    session = make_session(*[Doing(hook, lambda: answer) for hook in HOOKS], max_steps=3)
    assert session.run().status == "finished"
    assert len(session.store.log.data["steps"]) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted(signal.SIGTERM)])
@pytest.mark.parametrize(
    ("hook", "steps", "kept"),
    [("activity", 0, 0), ("begin", 0, 1), ("step", 1, 2), ("evaluated", 3, 2)],
)
def test_an_interruption_passes(
    make_session: MakeSession,
    warnings: list[str],
    hook: str,
    steps: int,
    kept: int,
    error: BaseException,
) -> None:
    watcher = Watcher()
    session = make_session(Doing(hook, raising(error)), watcher, max_steps=3)
    with pytest.raises(type(error)) as caught:
        session.run()
    assert caught.value is error and not warnings
    log = session.store.log.data
    assert log["status"] == watcher.told(End)[0].status == "interrupted"
    assert len(log["steps"]) == steps
    # What was found until then is there.
    assert session.result.status == "interrupted" and len(session.result.best) == kept


def test_prompts_are_told_as_the_log_holds_them(make_session: MakeSession) -> None:
    watcher = Watcher()
    make_session(watcher, max_steps=3).run()
    tried = [each["prompt"] for step in watcher.told(StepDone) for each in step.record["tried"]]
    assert tried == [*PROMPTS]


def test_what_is_being_done_stands_beside_the_log(
    make_session: MakeSession, tmp_path: Path
) -> None:
    path = tmp_path / "run.json"
    seen: list[Now | None] = []
    looking = Doing("activity", lambda: seen.append(read_now(path)))
    session = make_session(NowFile(path), looking, path=path)
    session.run()
    assert {now.phase for now in seen if now} >= {"start", "race", "dev", "test"}
    assert all(now and now.since for now in seen)
    assert read_now(path) is None and not list(tmp_path.glob("*.now"))


def test_progress_is_written_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.1, 0.5, 1.2])
    monkeypatch.setattr(now_file.time, "monotonic", lambda: next(clock))
    path, found = tmp_path / "run.json", []
    file = NowFile(path)
    for done in range(4):
        file.activity("select", done, 4)
        now = read_now(path)
        assert now is not None
        found.append(now.done)
    assert found == [0, 0, 0, 3]
