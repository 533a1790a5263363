"""How candidates fared, and what is learnt from that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from prompt_optimization.optimizers.text.racing import RACES, Kind, Race
from prompt_optimization.scoring.scorer import ROUNDING
from prompt_optimization.scoring.statistics import paired_difference

# Rows that all prompts run on, further rows of the better ones, and the share of these.
FIRST, MORE, SHARE = 8, 16, 0.25


def halving(race: Race) -> list[int]:
    """Successive halving: all prompts run on the first rows, the best quarter on more, and the best
    of these on all."""
    race.run(race.prompts, FIRST)
    better = race.ranked(race.prompts)[: max(race.keep, math.ceil(SHARE * len(race.prompts)))]
    race.run(race.with_incumbent(better), FIRST + MORE)
    race.run(race.with_incumbent(race.ranked(better)[: race.keep]), race.rows)
    return race.finished()


def kind_of(name: str) -> Kind:
    """The race of that name."""
    return RACES.get(name, halving)


@dataclass(frozen=True)
class Raced:
    """A race between an original and its candidates.

    Attributes:
        prompts: the original first.
        costs: by prompt, what each row cost, in an order that all share.
        ranked: prompts that ran on all rows, by number, best first; the original is one of them.
    """

    prompts: tuple[str, ...]
    costs: tuple[tuple[float, ...], ...]
    ranked: tuple[int, ...]

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Raced:
        """What ``asdict`` made, as JSON holds it."""
        costs = tuple(tuple(each) for each in state["costs"])
        return cls(tuple(state["prompts"]), costs, tuple(state["ranked"]))

    @property
    def winner(self) -> str:
        return self.prompts[self.ranked[0]]

    def better(self, most: int) -> list[str]:
        """At most ``most`` candidates that cost less than the original on all rows, best first."""
        limit = sum(self.costs[0]) - ROUNDING
        return [self.prompts[i] for i in self.ranked if sum(self.costs[i]) < limit][:most]

    def preferences(self, most: int) -> list[tuple[str, str]]:
        """At most ``most`` pairs of a better and a worse prompt: those whose paired difference, on
        the rows that both ran on, has an interval of 95 % above zero. The largest come first."""
        return [(self.prompts[one], self.prompts[other]) for one, other in self._leads[:most]]

    @cached_property
    def _leads(self) -> list[tuple[int, int]]:
        found = []
        for one, other in combinations(range(len(self.prompts)), 2):
            shared = min(len(self.costs[one]), len(self.costs[other]))
            costs = {i: self.costs[i][:shared] for i in (one, other)}
            if sum(costs[one]) > sum(costs[other]):
                one, other = other, one
            lead = paired_difference(costs[one], costs[other])
            if lead.low > 0:
                found.append((-lead.value, one, other))
        return [(one, other) for _, one, other in sorted(found)]
