from __future__ import annotations

import random

import pytest
from scipy.stats import binomtest, norm, t

from prompt_optimization.scoring.statistics import (
    crossed_difference,
    mean_difference,
    mean_of,
    paired_difference,
    share,
    sign_flip,
    wilson,
)


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


def test_wilson_equals_scipys() -> None:
    for hits, n in ((0, 7), (3, 10), (50, 100), (204, 204)):
        expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
        found = wilson(hits / n, n)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_mean_of_shares_is_surer_than_each() -> None:
    one = wilson(0.6, 50)
    four = mean_of([one, wilson(0.5, 50), wilson(0.7, 50), wilson(0.6, 50)])
    assert four.value == pytest.approx(0.6) and four.n == 200
    assert (four.high - four.low) == pytest.approx((one.high - one.low) / 2, rel=0.02)
    assert mean_of([one]) == one


def test_fractions_of_runs_count_as_rows() -> None:
    halves = mean_difference([0.5, -0.5, 0.0, 1.0] * 10)
    wholes = mean_difference([1.0, -1.0, 0.0, 1.0] * 10)
    assert (halves.value, wholes.value) == (0.25, 0.25)
    assert halves.high - halves.low < wholes.high - wholes.low


def test_what_runs_share_is_no_component_between_them() -> None:
    rows = [1.0, 0.0, 0.0, -1.0, 1.0, 0.0] * 5
    alike, over_rows = crossed_difference([rows, rows, rows]), mean_difference(rows)
    assert alike.value == over_rows.value and alike.n == over_rows.n == 30
    ratio = (alike.high - alike.low) / (over_rows.high - over_rows.low)
    assert ratio == pytest.approx(t.ppf(0.975, 29) / norm.ppf(0.975))
    apart = crossed_difference([[1.0] * 50, [0.0] * 50])
    assert (apart.low, apart.high) == (-1, 1), "two runs that differ tell next to nothing"


def test_an_interval_over_runs_and_rows_covers() -> None:
    rng = random.Random(5)
    covered = narrow = 0
    for _ in range(300):
        runs = []
        for _ in range(3):
            gain = min(0.4, max(0.0, rng.gauss(0.2, 0.06)))
            runs.append(rng.choices([1, -1, 0], [gain, 0.1, 0.9 - gain], k=60))
        over_both = crossed_difference(runs)
        over_rows = mean_difference([sum(row) / 3 for row in zip(*runs, strict=True)])
        covered += over_both.low <= 0.1 <= over_both.high
        narrow += over_rows.low <= 0.1 <= over_rows.high
    assert covered >= 0.93 * 300 > narrow


def test_sign_flip_is_mcnemars_exact_test() -> None:
    for gained, lost in ((6, 1), (3, 3), (9, 0)):
        differences = [1.0] * gained + [-1.0] * lost + [0.0] * 30
        expected = binomtest(gained, gained + lost).pvalue
        assert sign_flip(differences) == pytest.approx(expected, abs=1e-9)
    assert sign_flip([0.0] * 9) == sign_flip([0.0, 1.0]) == 1.0
    assert sign_flip([1.0] * 30 + [-1.0] * 5) == pytest.approx(
        binomtest(30, 35).pvalue, abs=2e-3
    ), "sampled where there are too many flips"
