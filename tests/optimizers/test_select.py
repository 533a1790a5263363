from __future__ import annotations

import math
import random

import pytest

from prompt_optimization.optimizers.greater.noise import PairedNoise
from prompt_optimization.optimizers.greater.select import (
    accepts,
    choose,
    shortlist,
    until_period,
)


def test_shortlist_is_most_negative_first() -> None:
    gradient = [0.5, -0.2, -0.9, 0.1]
    rng = random.Random(0)
    assert shortlist("gradient", gradient, [10, 11, 12, 13], 3, rng) == [12, 11, 13]
    assert shortlist("gradient", gradient, [10, 11, 12, 13], 9, rng) == [12, 11, 13, 10]
    assert rng.random() == random.Random(0).random(), "nothing was drawn"


def test_what_the_gradient_is_compared_with() -> None:
    gradient = [0.5, -0.2, -0.9, 0.1]
    tokens = [10, 11, 12, 13]
    assert shortlist("proposal", gradient, tokens, 2, random.Random(0)) == [10, 11]
    drawn = [shortlist("random", gradient, tokens, 2, random.Random(seed)) for seed in range(200)]
    assert all(len(set(pair)) == 2 and set(pair) <= set(tokens) for pair in drawn)
    assert {token for pair in drawn for token in pair} == set(tokens)
    assert sorted(shortlist("random", gradient, tokens, 9, random.Random(0))) == tokens


def test_ties() -> None:
    assert choose([0.5, 0.3, 0.3], "first") == 1
    assert choose([0.5, 0.3, 0.3], "last") == 2


def test_period_rule_holds_in_the_second_half_only() -> None:
    assert until_period([False, True, True], 4, 10) is None
    assert until_period([False, True, True], 5, 10) == 1
    assert until_period([False, False], 9, 10) is None


def test_acceptance() -> None:
    rng = random.Random(0)
    assert accepts("always", 9.0, 0, 10, rng)
    assert accepts("improve", -1e-9, 0, 10, rng)
    assert not accepts("improve", 0.0, 0, 10, rng)
    assert accepts("anneal", 0.0, 9, 10, rng)
    assert not any(accepts("anneal", 1e-6, 9, 10, rng) for _ in range(100)), "T is 0 at the end"


def test_the_temperature_has_a_unit() -> None:
    rng = random.Random(0)
    taken = sum(accepts("anneal", 0.05, 0, 2, rng, 0.1) for _ in range(20_000)) / 20_000
    assert taken == pytest.approx(math.exp(-1), abs=0.012)
    assert not any(accepts("anneal", 1e-6, 0, 10, rng, 0.0) for _ in range(100))
    assert accepts("anneal", 0.0, 0, 10, rng, 0.0)


def test_the_noise_is_that_of_a_mean_difference() -> None:
    rng = random.Random(0)
    noise = PairedNoise()
    assert noise.standard_error == 0
    for _ in range(2000):
        # Of 50 rows, 14 % change sides.
        noise.add([rng.choices((-1, 0, 1), (0.07, 0.86, 0.07))[0] for _ in range(50)], [1.0] * 50)
    assert noise.standard_error == pytest.approx(math.sqrt(0.14 / 50), rel=0.02)
    weighted, doubled = PairedNoise(), PairedNoise()
    weighted.add([1.0, 0.0, -1.0, 0.0], [2.0, 2.0, 2.0, 2.0])
    doubled.add([1.0, 0.0, -1.0, 0.0], [1.0] * 4)
    assert weighted.standard_error == pytest.approx(doubled.standard_error)
    before = noise.standard_error
    noise.add([1.0], [1.0])
    assert noise.standard_error == before


@pytest.mark.parametrize(("step", "delta"), [(0, 0.5), (4, 0.5), (8, 0.05)])
def test_annealing_probability(step: int, delta: float) -> None:
    rng = random.Random(1)
    taken = sum(accepts("anneal", delta, step, 10, rng) for _ in range(20_000)) / 20_000
    assert taken == pytest.approx(math.exp(-delta / (1 - (step + 1) / 10)), abs=0.012)
