"""Prompts raced by what a scorer says of them."""

from __future__ import annotations

from collections.abc import Sequence

from prompt_optimization.optimizers.text.racing import Kind, Race
from prompt_optimization.scoring.scorer import Row, Scored, Scorer


def compete(
    scorer: Scorer,
    texts: Sequence[str],
    rows: Sequence[Row],
    kind: Kind,
    *,
    keep: int = 1,
    budget: float = 0,
) -> list[Scored]:
    """Race ``texts``, the first of which is the incumbent, over ``rows`` in their order; the scores
    of those that ran on all rows, best first.

    Raises:
        As ``Scorer.score``.
    """
    chosen, _ = run_race(scorer, texts, rows, kind, keep=keep, budget=budget)
    return scorer.score([texts[i] for i in chosen], rows)


def run_race(
    scorer: Scorer,
    texts: Sequence[str],
    rows: Sequence[Row],
    kind: Kind,
    *,
    keep: int = 1,
    budget: float = 0,
) -> tuple[list[int], Race]:
    """The same race, as it was run: those that ran on all rows, by number and best first, and the
    race.

    Raises:
        As ``Scorer.score``.
    """

    def pull(prompts: Sequence[int], first: int, last: int) -> list[list[float]]:
        some = rows[first:last]
        running = [texts[i] for i in prompts]
        scorer.score(running, some)  # Side by side; what follows is known then.
        return [weighted_costs(scorer, text, some) for text in running]

    race = Race(len(texts), len(rows), pull, 0, keep=keep, budget=budget)
    return kind(race), race


def weighted_costs(scorer: Scorer, text: str, rows: Sequence[Row]) -> list[float]:
    """As ``Scorer.costs``, each times the row's weight, so that their sums rank prompts as
    objectives do."""
    weights = scorer.weights(rows)
    costs = scorer.costs(text, rows)
    return [weight * cost for weight, cost in zip(weights, costs, strict=True)]
