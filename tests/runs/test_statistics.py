from __future__ import annotations

import random

import pytest

from prompt_optimization.runs.statistics import paired_difference, share


def test_share_is_wilsons() -> None:
    # Worked value: 10 of 100, z = 1.96.
    estimate = share([True] * 10 + [False] * 90)
    assert (estimate.value, estimate.n) == (0.1, 100)
    assert (estimate.low, estimate.high) == pytest.approx((0.0552, 0.1744), abs=1e-3)
    assert share([False] * 20).low == 0 and share([False] * 20).high > 0.1


def test_paired_difference_counts_pairs() -> None:
    before = [True] * 30 + [False] * 70
    after = [True] * 25 + [False] * 5 + [True] * 15 + [False] * 55
    estimate = paired_difference(before, after)
    assert estimate.value == pytest.approx(0.10) and estimate.n == 100
    assert estimate.low < 0.10 < estimate.high
    swapped = paired_difference(after, before)
    assert (swapped.value, swapped.low) == pytest.approx((-estimate.value, -estimate.high))
    assert paired_difference(before, before).low < 0 < paired_difference(before, before).high


def test_paired_interval_covers() -> None:
    """The interval holds the true difference in about 95 of 100 repetitions."""
    rng = random.Random(3)
    covered = 0
    for _ in range(600):
        pairs = rng.choices(
            [(True, True), (False, True), (True, False), (False, False)], [30, 25, 10, 35], k=80
        )
        estimate = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
        covered += estimate.low <= 0.15 <= estimate.high
    assert 0.93 <= covered / 600 <= 0.98
