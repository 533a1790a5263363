"""Who watches a run: the screen, a progress bar, the user's callbacks.

All of them get the same events. One that fails is reported once and ends nothing; one that returns
True ends the search after the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompt_optimization.optimizers.stoppers import Progress
from prompt_optimization.scoring.held_out import HeldOut


@dataclass(frozen=True)
class Begin:
    """A run begins or is resumed.

    Attributes:
        method: its name.
        log: the log's file, where there is one.
        max_steps: the search makes at most this many steps.
        budgets: the limits that are set, by setting.
        examples: training examples.
        initial, incumbent: scored prompts, as the log holds them.
        progress: how far the search has come already.
    """

    method: str
    log: Path | None
    max_steps: int
    budgets: dict[str, float]
    examples: int
    initial: dict[str, Any]
    incumbent: dict[str, Any]
    progress: Progress


@dataclass(frozen=True)
class StepDone:
    """A step was made and is in the log.

    Attributes:
        record: as the log holds it.
        best: the best prompts so far, as the log holds them.
        progress: how far the search has come.
    """

    record: dict[str, Any]
    best: list[dict[str, Any]]
    progress: Progress


@dataclass(frozen=True)
class Evaluated:
    """A finalist was scored on held-out rows.

    Attributes:
        split: ``dev``, ``test`` or, for other models, their names.
        result: what came out.
        done, of: finalists on this split.
    """

    split: str
    result: HeldOut
    done: int
    of: int


@dataclass(frozen=True)
class End:
    """The run has ended.

    Attributes:
        status: ``finished``, ``stopped``, ``interrupted`` or ``failed``.
        data: the log's content.
        log: its file, where there is one.
    """

    status: str
    data: dict[str, Any]
    log: Path | None


class Observer:
    """Derive from it and override what you need."""

    def begin(self, event: Begin) -> bool | None:
        """Before the first step of a session."""
        return None

    def activity(self, phase: str, done: int, of: int) -> None:
        """Within a step or during held-out scoring: ``done`` of ``of`` pieces of the phase's work;
        ``of`` is 0 where the amount is not known."""

    def step(self, event: StepDone) -> bool | None:
        """After every step."""
        return None

    def evaluated(self, event: Evaluated) -> bool | None:
        """After every held-out score."""
        return None

    def end(self, event: End) -> None:
        """When the run has ended, however it ended."""


class Observers:
    """Several observers as one.

    Attributes:
        stop: one of them wants the search to end.
    """

    def __init__(self, observers: Sequence[Observer], warn: Callable[[str], None]) -> None:
        """
        Args:
            warn: told once of every observer that fails.
        """
        self._observers = list(observers)
        self._warn = warn
        self.stop = False

    def begin(self, event: Begin) -> None:
        self._each(lambda observer: observer.begin(event))

    def activity(self, phase: str, done: int, of: int) -> None:
        self._each(lambda observer: observer.activity(phase, done, of))

    def step(self, event: StepDone) -> None:
        self._each(lambda observer: observer.step(event))

    def evaluated(self, event: Evaluated) -> None:
        self._each(lambda observer: observer.evaluated(event))

    def end(self, event: End) -> None:
        self._each(lambda observer: observer.end(event))

    def _each(self, notify: Callable[[Observer], bool | None]) -> None:
        for observer in list(self._observers):
            try:
                wish = notify(observer)
            except Exception as error:
                self._observers.remove(observer)
                reason = f"{type(error).__name__}: {error}"
                self._warn(
                    f"{type(observer).__name__} failed and is left out from now on ({reason})"
                )
                continue
            self.stop |= bool(wish)
