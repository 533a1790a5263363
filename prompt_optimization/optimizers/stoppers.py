"""When does a search end? Each stopper looks at the progress and gives its reason or None."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prompt_optimization.keys import Settings, key
from prompt_optimization.paths import user_path

# The keys that limit what a search costs.
BUDGETS = (
    "max_seconds",
    "max_decoded_tokens",
    "max_evaluations",
    "max_requests",
    "max_written_tokens",
)


@dataclass(frozen=True)
class StopSettings(Settings, group="stop"):
    """What ends a search; whichever comes first, and the log says which one it was."""

    max_steps: int = key(
        105, "steps", flat="n_steps", library="rounds", low=0, source="paper", free=True
    )
    max_seconds: float = key(
        0.0,
        "seconds spent in the search",
        flat="max_seconds",
        low=0.0,
        limit=True,
        free=True,
        variant=False,
    )
    max_decoded_tokens: int = key(
        0, "tokens decoded", flat="max_decoded_tokens", low=0, limit=True, free=True, variant=False
    )
    max_evaluations: int = key(
        0,
        "reasonings, one a prompt, example and model",
        flat="max_evaluations",
        low=0,
        limit=True,
        free=True,
        variant=False,
    )
    max_requests: int = key(
        0,
        "requests to the writer",
        flat="max_requests",
        low=0,
        limit=True,
        free=True,
        variant=False,
    )
    max_written_tokens: int = key(
        0,
        "tokens that the writer wrote",
        flat="max_written_tokens",
        low=0,
        limit=True,
        free=True,
        variant=False,
    )
    stop_objective: float = key(
        0.0, "best objective below this", flat="stop_objective", low=0.0, free=True, variant=False
    )
    stop_plateau: int = key(
        0, "steps without a better prompt", flat="stop_plateau", low=0, free=True, variant=False
    )
    stop_on_success: bool = key(
        False,
        "every training example is right",
        flat="stop_on_success",
        source="code",
        free=True,
        variant=False,
    )
    stop_file: str = key("", "a file that exists", flat="stop_file", free=True, variant=False)

    def stoppers(self) -> tuple[Stopper, ...]:
        """One for each key that is set."""
        made: list[Stopper] = []
        if self.stop_objective:
            made.append(objective_below(self.stop_objective))
        if self.stop_plateau:
            made.append(plateau(self.stop_plateau))
        if self.stop_on_success:
            made.append(solved())
        return (*self.budgets(), *made, max_steps(self.max_steps))

    def budgets(self) -> tuple[Stopper, ...]:
        """Those that may end a search within a step, too."""
        made: list[Stopper] = []
        if self.max_seconds:
            made.append(max_seconds(self.max_seconds))
        if self.max_decoded_tokens:
            made.append(max_decoded(self.max_decoded_tokens))
        if self.max_evaluations:
            made.append(max_evaluations(self.max_evaluations))
        if self.max_requests:
            made.append(max_requests(self.max_requests))
        if self.max_written_tokens:
            made.append(max_written(self.max_written_tokens))
        if self.stop_file:
            made.append(stop_file(user_path(self.stop_file)))
        return tuple(made)


@dataclass(frozen=True)
class Progress:
    """How far a search has come.

    Attributes:
        steps: steps finished.
        seconds: time spent in the search, over all sessions of a run.
        decoded: tokens decoded.
        evaluations: reasonings, one a prompt, example and model.
        requests: requests to the writer.
        written: tokens that the writer wrote.
        objective: of the best prompt on all training rows; infinite while some are unused.
        since_best: steps since the best prompt was found or rows were added.
        solved: every training example is answered rightly.
    """

    steps: int
    seconds: float
    decoded: int
    evaluations: int
    requests: int
    written: int
    objective: float
    since_best: int
    solved: bool


Stopper = Callable[[Progress], str | None]


def max_steps(limit: int) -> Stopper:
    return lambda progress: f"{limit} steps" if progress.steps >= limit else None


def max_seconds(limit: float) -> Stopper:
    return lambda progress: f"{limit:g} seconds" if progress.seconds >= limit else None


def max_decoded(limit: int) -> Stopper:
    return lambda progress: f"{limit} decoded tokens" if progress.decoded >= limit else None


def max_evaluations(limit: int) -> Stopper:
    return lambda progress: f"{limit} evaluations" if progress.evaluations >= limit else None


def max_requests(limit: int) -> Stopper:
    return lambda progress: f"{limit} requests" if progress.requests >= limit else None


def max_written(limit: int) -> Stopper:
    return lambda progress: f"{limit} written tokens" if progress.written >= limit else None


def objective_below(limit: float) -> Stopper:
    return lambda progress: f"objective below {limit:g}" if progress.objective < limit else None


def plateau(steps: int) -> Stopper:
    return lambda progress: (
        f"{steps} steps without a better prompt" if progress.since_best >= steps else None
    )


def solved() -> Stopper:
    return lambda progress: "every training sample is right" if progress.solved else None


def stop_file(path: Path) -> Stopper:
    return lambda progress: f"stop file '{path}'" if os.path.exists(path) else None


def first_reason(stoppers: Sequence[Stopper], progress: Progress) -> str | None:
    """The reason of the first stopper that has one."""
    return next((reason for stop in stoppers if (reason := stop(progress))), None)
