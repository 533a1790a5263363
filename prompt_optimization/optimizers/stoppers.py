"""When does a search end? Each stopper looks at the progress and gives its reason or None."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prompt_optimization.keys import Settings, key
from prompt_optimization.paths import user_path
from prompt_optimization.scoring.ledger import work_of

# The keys that limit what a search costs: which part of its progress, and what that counts.
BUDGETS = {
    "max_seconds": ("seconds", "seconds"),
    "max_decoded_tokens": ("decoded", "decoded tokens"),
    "max_work": ("work", "tokens of work"),
    "max_evaluations": ("evaluations", "evaluations"),
    "max_requests": ("requests", "requests"),
    "max_written_tokens": ("written", "written tokens"),
}


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
    max_work: int = key(
        0,
        "tokens of work: those that scorer, writer and judge read, and those that they decode and "
        "differentiate, which count decode_weight and gradient_weight each",
        flat="max_work",
        low=0,
        limit=True,
        free=True,
        variant=False,
    )
    decode_weight: float = key(
        2.0,
        "work of a decoded token beside one that is read; about 2 on a CPU, 10 to 30 on a GPU",
        above=0.0,
        variant=False,
    )
    gradient_weight: float = key(
        3.0,
        "work of a differentiated token beside one that is read",
        above=0.0,
        variant=False,
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
        "requests to writer and judge",
        flat="max_requests",
        low=0,
        limit=True,
        free=True,
        variant=False,
    )
    max_written_tokens: int = key(
        0,
        "tokens that writer and judge wrote",
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
        return (*self.budgets(), *made, spent("steps", self.max_steps, "steps"))

    def work(self, tokens: Mapping[str, int]) -> float:
        """What ``max_work`` limits, of a ledger's ``tokens``."""
        return work_of(tokens, self.decode_weight, self.gradient_weight)

    def budgets(self) -> tuple[Stopper, ...]:
        """Those that may end a search within a step, too."""
        made = [
            spent(counted, limit, words)
            for name, (counted, words) in BUDGETS.items()
            if (limit := getattr(self, name))
        ]
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
        work: see ``StopSettings.max_work``, with that of what the method owes.
        evaluations: reasonings, one a prompt, example and model, with those that the method owes.
        requests: requests to writer and judge.
        written: tokens that writer and judge wrote.
        objective: of the best prompt on all training rows; infinite while some are unused.
        since_best: steps since the best prompt was found or rows were added.
        solved: every training example is answered rightly.
    """

    steps: int
    seconds: float
    decoded: int
    work: float
    evaluations: int
    requests: int
    written: int
    objective: float
    since_best: int
    solved: bool


Stopper = Callable[[Progress], str | None]


def spent(counted: str, limit: float, words: str) -> Stopper:
    """Ends a search once the attribute ``counted`` of its progress has reached ``limit``."""
    shown = f"{limit:g}" if isinstance(limit, float) else str(limit)
    return lambda progress: f"{shown} {words}" if getattr(progress, counted) >= limit else None


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
