"""Which attempts of the trajectory a step of GPO shows: each rule takes ``count``, best first."""

from __future__ import annotations

from collections.abc import Sequence

from prompt_optimization.models.embedder import Embedder
from prompt_optimization.optimizers.text.trajectory import Attempt, Trajectory


def by_recency(trajectory: Trajectory, count: int) -> list[Attempt]:
    """The newest ones."""
    return trajectory.attempts[: -count - 1 : -1]


def by_importance(trajectory: Trajectory, count: int) -> list[Attempt]:
    """The ones with the best scores; among equals the earlier ones are better."""
    return trajectory.best(count)[::-1]


def by_relevance(
    attempts: Sequence[Attempt], current: str, count: int, embedder: Embedder
) -> list[Attempt]:
    """The ones whose texts are most alike ``current``, which is one of them and comes first."""
    vectors = embedder.embed([attempt.text for attempt in attempts])
    here = next(i for i, attempt in enumerate(attempts) if attempt.text == current)
    alike = vectors @ vectors[here]
    order = sorted(range(len(attempts)), key=lambda i: (i != here, -alike[i], i))
    return [attempts[i] for i in order[:count]]
