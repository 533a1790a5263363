"""Which of several prompts is the best, without running all of them on all rows.

The rows have one order. A prompt always runs on the first ones of it, so that prompts are compared
on the rows that they share. Only prompts that ran on all rows come out of a race, and at least as
many as are to be kept. The incumbent takes part, is never dropped, and comes before its equals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

# (prompts by number, first row, row after the last) -> for each prompt the cost of each row.
Pull = Callable[[Sequence[int], int, int], Sequence[Sequence[float]]]

# Prompts in a race at most: fewer than the scorer remembers.
MOST = 200

BLOCKS = 5
SHARE = 0.6
# The share of the full race's cost that `rejects` and `ucb` may spend.
BUDGET = 0.5
UCB_ROWS = 5
EXPLORATION = 0.3
PAIRED_ROWS = 10
ALPHA = 0.05


class Race:
    """Prompts by number, and what their rows cost so far.

    Attributes:
        costs: of each prompt, its rows in their order.
        keep: how many are to come out.
        budget: rows that `rejects` and `ucb` may spend before those that are kept run on the rest.
    """

    def __init__(
        self,
        prompts: int,
        rows: int,
        pull: Pull,
        incumbent: int | None = None,
        *,
        keep: int = 1,
        budget: float = 0,
    ) -> None:
        assert prompts and rows and keep
        self.rows = rows
        self.incumbent = incumbent
        self.keep = keep
        self.budget = budget or BUDGET * prompts * rows
        self.costs: list[list[float]] = [[] for _ in range(prompts)]
        self._pull = pull

    @property
    def prompts(self) -> list[int]:
        return list(range(len(self.costs)))

    def run(self, prompts: Sequence[int], rows: int) -> None:
        """Have ``prompts`` run on the first ``rows`` rows."""
        rows = min(rows, self.rows)
        starts = sorted({len(self.costs[i]) for i in prompts if len(self.costs[i]) < rows})
        for start in starts:
            group = [i for i in prompts if len(self.costs[i]) == start]
            for i, costs in zip(group, self._pull(group, start, rows), strict=True):
                self.costs[i] += costs

    def ranked(self, prompts: Sequence[int]) -> list[int]:
        """``prompts`` by their mean cost over the rows that all of them ran on, best first."""
        shared = min(len(self.costs[i]) for i in prompts)
        return sorted(prompts, key=lambda i: (sum(self.costs[i][:shared]), i != self.incumbent, i))

    def with_incumbent(self, prompts: Sequence[int]) -> list[int]:
        """``prompts``, the incumbent among them."""
        return sorted({*prompts} | ({self.incumbent} if self.incumbent is not None else set()))

    def finished(self) -> list[int]:
        """The prompts that ran on all rows, best first."""
        return self.ranked([i for i in self.prompts if len(self.costs[i]) == self.rows])


# The prompts, by number, that a race leaves.
Kind = Callable[[Race], list[int]]


def full(race: Race) -> list[int]:
    """Every prompt runs on every row."""
    race.run(race.prompts, race.rows)
    return race.finished()


def phases(race: Race) -> list[int]:
    """After each of five equal blocks of rows, the best three fifths go on."""
    running = race.prompts
    for block in range(1, BLOCKS + 1):
        race.run(running, -(-race.rows * block // BLOCKS))
        if block < BLOCKS:
            kept = race.ranked(running)[: max(race.keep, math.ceil(SHARE * len(running)))]
            running = race.with_incumbent(kept)
    return race.finished()


def rejects(race: Race) -> list[int]:
    """Successive rejects (Audibert and Bubeck, COLT 2010): one prompt is dropped a phase. The
    phases are as long as the budget allows."""
    running, count = race.prompts, len(race.costs)
    share = 0.5 + sum(1 / i for i in range(2, count + 1))
    for left in range(count, race.keep, -1):
        race.run(running, max(1, math.ceil((race.budget - count) / (share * left))))
        worst = [i for i in race.ranked(running) if i != race.incumbent][-1]
        running = [i for i in running if i != worst]
    race.run(running, race.rows)
    return race.finished()


def ucb(race: Race, c: float = EXPLORATION) -> list[int]:
    """Upper confidence bounds: the prompt that may be the best runs on the next rows, until the
    budget is spent."""
    race.run(race.prompts, UCB_ROWS)
    pulls = [1] * len(race.costs)
    while sum(map(len, race.costs)) < race.budget:
        able = [i for i in race.prompts if len(race.costs[i]) < race.rows]
        if not able:
            break
        total = math.log(sum(pulls))

        def bound(i: int, total: float = total) -> float:
            costs = race.costs[i]
            return sum(costs) / len(costs) - c * math.sqrt(total / pulls[i])

        chosen = min(able, key=lambda i: (bound(i), i))
        race.run([chosen], len(race.costs[chosen]) + UCB_ROWS)
        pulls[chosen] += 1
    means = [sum(costs) / len(costs) for costs in race.costs]
    best = sorted(race.prompts, key=lambda i: (means[i], i))[: race.keep]
    race.run(race.with_incumbent(best), race.rows)
    return race.finished()


def paired(race: Race) -> list[int]:
    """After every block of ten rows a prompt is out when as many others as are to be kept beat it:
    by a one-sided exact sign test on the rows where they differ, or because it cannot catch up."""
    running = race.prompts
    for rows in range(PAIRED_ROWS, race.rows + PAIRED_ROWS, PAIRED_ROWS):
        race.run(running, rows)
        left = race.rows - min(rows, race.rows)
        if left:
            beaten = {i: sum(_beaten(race, i, j, left) for j in running) for i in running}
            running = race.with_incumbent([i for i in running if beaten[i] < race.keep])
    return race.finished()


def _beaten(race: Race, one: int, other: int, left: int) -> bool:
    """Whether prompt ``one`` is worse than ``other``, with ``left`` rows to come."""
    differences = [a - b for a, b in zip(race.costs[one], race.costs[other], strict=True)]
    if sum(differences) > left:  # A row costs one at most.
        return True
    losses = sum(difference > 0 for difference in differences)
    return sign_test(losses, sum(difference < 0 for difference in differences)) <= ALPHA


def sign_test(one: int, other: int) -> float:
    """The probability that one of two outcomes comes ``one`` times or more often, where they came
    ``one`` and ``other`` times and were equally likely."""
    count = one + other
    # Whole numbers up to the division: from 1024 rows on 2**count is too large for a float.
    return sum(math.comb(count, k) for k in range(one, count + 1)) / (1 << count)


def least(kind: Kind, prompts: int, rows: int, *, keep: int, stays: bool = True) -> int:
    """Rows that a race takes, besides those of the incumbent, which are known: of a race that is
    decided early, because the prompts that are kept are right on all rows, and the rest on none.

    Args:
        prompts: the incumbent among them.
        stays: the incumbent is one of those that are kept; otherwise it is dropped first, and
            others run in its place.
    """
    wrong = [float(i >= keep) for i in range(prompts)]
    if not stays:
        wrong = [2.0, *(float(i > keep) for i in range(1, prompts))]
    spent = 0

    def pull(running: Sequence[int], first: int, last: int) -> list[list[float]]:
        nonlocal spent
        spent += sum(i != 0 for i in running) * (last - first)
        return [[wrong[i]] * (last - first) for i in running]

    kind(Race(prompts, rows, pull, 0, keep=keep))
    return spent


# What a setting says of them.
MEANING = (
    "how prompts are compared: full: on all training questions; phases: the best three fifths go "
    "on after each fifth of the questions; rejects: one is dropped at a time; ucb: upper "
    "confidence bounds; paired: sign tests"
)

RACES: dict[str, Kind] = {
    "full": full,
    "phases": phases,
    "rejects": rejects,
    "ucb": ucb,
    "paired": paired,
}
