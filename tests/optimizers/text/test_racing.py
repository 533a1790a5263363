"""Races: what they cost, what they find, and what never happens in one."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.optimizers.text.racing import (
    Race,
    full,
    paired,
    phases,
    rejects,
    sign_test,
    ucb,
)

Kind = Callable[[Race], list[int]]
KINDS: dict[str, Kind] = {
    "full": full,
    "phases": phases,
    "rejects": rejects,
    "ucb": partial(ucb, c=0.3),
    "paired": paired,
}
every = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def race_of(
    table: Sequence[Sequence[float]], incumbent: int | None = None, **settings: float
) -> Race:
    """A race of prompts whose rows cost what ``table`` says."""

    def pull(prompts: Sequence[int], first: int, last: int) -> list[list[float]]:
        return [list(table[i][first:last]) for i in prompts]

    return Race(len(table), len(table[0]), pull, incumbent, **settings)


def cost(race: Race) -> float:
    """Against that of the full race."""
    return sum(map(len, race.costs)) / (len(race.costs) * race.rows)


# How much likelier the better prompt is right on a row, in logits, for a gain of 15 and of 25
# points over rows whose difficulty is spread as below.
GAINS = {15: 1.0, 25: 1.78}


def drawn(rng: random.Random, better: int, gain: int) -> Any:
    """16 prompts on 50 rows of shared difficulty, half of which they get right but for ``better``,
    which gets ``gain`` points more."""
    difficulty = [rng.gauss(0, 2) for _ in range(50)]

    def row(prompt: int, each: float) -> float:
        logit = each - GAINS[gain] * (prompt == better)
        return float(rng.random() < 1 / (1 + math.exp(-logit)))

    return [[row(prompt, each) for each in difficulty] for prompt in range(16)]


@pytest.mark.parametrize(
    ("name", "found", "costs"),
    [
        # For gains of 15 and 25 points: how often the better prompt wins, and at what cost.
        ("full", (0.79, 0.99), (1.0, 1.0)),
        ("phases", (0.77, 0.96), (0.49, 0.49)),
        ("rejects", (0.76, 0.98), (0.45, 0.45)),
        ("paired", (0.79, 0.99), (0.74, 0.58)),
    ],
)
def test_what_races_find(name: str, found: tuple[float, ...], costs: tuple[float, ...]) -> None:
    for gain, share, wanted in zip(GAINS, found, costs, strict=True):
        rng = random.Random(0)
        wins, spent, draws = 0, 0.0, 300
        for _ in range(draws):
            better = rng.randrange(16)
            race = race_of(drawn(rng, better, gain))
            wins += KINDS[name](race)[0] == better
            spent += cost(race)
        assert wins / draws == pytest.approx(share, abs=0.05)
        assert spent / draws == pytest.approx(wanted, abs=0.05)


tables = st.integers(1, 40).flatmap(
    lambda rows: st.lists(
        st.lists(st.sampled_from([0.0, 1.0]), min_size=rows, max_size=rows),
        min_size=1,
        max_size=12,
    )
)


@every
@given(table=tables, data=st.data())
def test_laws_of_every_race(kind: Kind, table: Any, data: Any) -> None:
    incumbent = data.draw(st.none() | st.integers(0, len(table) - 1))
    keep = data.draw(st.integers(1, 4))
    race = race_of(table, incumbent, keep=keep)
    ranked = kind(race)
    # Only prompts that ran on all rows come out, and the incumbent is among them.
    assert ranked and all(race.costs[i] == list(table[i]) for i in ranked)
    assert incumbent is None or incumbent in ranked
    assert len(ranked) >= min(keep, len(table))
    sums = [sum(table[i]) for i in ranked]
    assert sums == sorted(sums)
    # The incumbent comes before its equals, the others in their order.
    for one, other in pairwise(ranked):
        if sum(table[one]) == sum(table[other]):
            assert one == incumbent or (other != incumbent and one < other)
    # Rows are taken from the beginning.
    assert all(list(table[i][: len(costs)]) == costs for i, costs in enumerate(race.costs))


@every
def test_equal_prompts_keep_the_incumbent(kind: Kind) -> None:
    race = race_of([[1.0, 0.0] * 25] * 8, incumbent=5)
    assert kind(race)[0] == 5


@every
def test_a_single_prompt_runs_on_everything(kind: Kind) -> None:
    race = race_of([[1.0] * 7])
    assert kind(race) == [0] and cost(race) == 1


def test_costs_of_phases_and_of_rejects_are_as_planned() -> None:
    rng = random.Random(1)
    for _ in range(20):
        race = race_of(drawn(rng, 3, 15))
        phases(race)
        assert sum(map(len, race.costs)) == 10 * (16 + 10 + 6 + 4 + 3)
        race = race_of(drawn(rng, 3, 15))
        rejects(race)
        assert cost(race) <= 0.5


@pytest.mark.parametrize("name", ["rejects", "ucb"])
@pytest.mark.parametrize("budget", [100, 300])
def test_a_budget_is_kept_until_the_best_run_on_the_rest(name: str, budget: int) -> None:
    race = race_of(drawn(random.Random(1), 3, 15), keep=3, budget=budget)
    assert len(KINDS[name](race)) >= 3
    assert sum(map(len, race.costs)) <= budget + 3 * 50


def test_the_sign_test_is_exact() -> None:
    from scipy.stats import binomtest

    for losses in range(8):
        for wins in range(8):
            if losses + wins:
                exact = binomtest(losses, losses + wins, alternative="greater").pvalue
                assert sign_test(losses, wins) == pytest.approx(exact)
    assert sign_test(0, 0) == 1
    assert 0.5 < sign_test(700, 700) < 0.52  # 2**1400 is no float
