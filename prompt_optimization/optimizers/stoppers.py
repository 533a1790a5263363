"""Budgets: when does a search end? Each stopper looks at the progress and gives its reason or None.

Any optimizer that reports ``Progress`` can be stopped by any combination of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Progress:
    """How far a search has come.

    Attributes:
        steps: steps finished.
        seconds: time spent in steps, over all sessions of a run.
        decoded: tokens decoded.
        evaluations: reasonings evaluated, one a prompt and sample.
        objective: of the best prompt on all training samples; infinite while some are unused.
        since_best: steps since the best prompt was found or samples were added.
        solved: every training sample is answered rightly.
    """

    steps: int
    seconds: float
    decoded: int
    evaluations: int
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


def objective_below(limit: float) -> Stopper:
    return lambda progress: f"objective below {limit:g}" if progress.objective < limit else None


def plateau(steps: int) -> Stopper:
    return lambda progress: (
        f"{steps} steps without a better prompt" if progress.since_best >= steps else None
    )


def solved() -> Stopper:
    return lambda progress: "every training sample is right" if progress.solved else None


def stop_file(path: Path) -> Stopper:
    return lambda progress: f"stop file '{path}'" if path.exists() else None


def first_reason(stoppers: Sequence[Stopper], progress: Progress) -> str | None:
    """The reason of the first stopper that has one."""
    return next((reason for stop in stoppers if (reason := stop(progress))), None)
