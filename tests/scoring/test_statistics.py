from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, t

from prompt_optimization.scoring.statistics import (
    crossed_difference,
    is_graded,
    mean_difference,
    mean_of,
    mean_value,
    paired_difference,
    sign_flip,
    stratified_difference,
    wilson,
)


def test_share_is_wilsons() -> None:
    # Worked value: 10 of 100, z = 1.96.
    estimate = mean_value([True] * 10 + [False] * 90)
    assert (estimate.value, estimate.n) == (0.1, 100)
    assert (estimate.low, estimate.high) == pytest.approx((0.0552, 0.1744), abs=1e-3)
    assert mean_value([False] * 20).low == 0 and mean_value([False] * 20).high > 0.1


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


def test_a_mean_over_strata_covers_other_runs_and_rows() -> None:
    """Two tasks, three runs each on the same 40 rows; runs differ in how good they are."""
    rng = np.random.default_rng(5)
    covered, detected, true = 0, 0, 0.1
    found = None
    for _ in range(400):
        strata = []
        for _ in range(2):
            row = rng.normal(0, 0.3, 40)
            runs = true + rng.normal(0, 0.1, (3, 1)) + row + rng.normal(0, 0.2, (3, 40))
            strata.append(runs.clip(-1, 1).tolist())
        found = stratified_difference(strata)
        covered += found.mean.low <= true <= found.mean.high
        detected += found.mean.low > 0
    assert 0.93 <= covered / 400 <= 0.99
    assert found is not None and found.mean.n == 80
    # What can be told from 0 four times in five is more than what is told less often.
    assert detected / 400 < 0.8 and found.detectable > true


def test_one_stratum_is_a_crossed_difference() -> None:
    rng = np.random.default_rng(1)
    runs = rng.choice([-1.0, -0.5, 0.0, 1.0], (3, 30)).tolist()
    alone, crossed = stratified_difference([runs]).mean, crossed_difference(runs, graded=True)
    assert (alone.value, alone.low, alone.high) == pytest.approx(
        (crossed.value, crossed.low, crossed.high)
    )
    (row,) = runs[:1]
    single = stratified_difference([[row]]).mean
    by_row = mean_difference(row, graded=True)
    assert (single.low, single.high) == pytest.approx((by_row.low, by_row.high))


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


@pytest.mark.parametrize(
    ("weighted", "graded"), [(False, False), (True, False), (False, True), (True, True)]
)
def test_an_interval_over_runs_and_rows_covers(weighted: bool, graded: bool) -> None:
    rng = np.random.default_rng(5)
    covered = narrow = 0
    for _ in range(300):
        weights = list(rng.uniform(0.5, 3, 60)) if weighted else []
        # The prompts of a run share their gain, and all runs share how hard a row is.
        gains, rows = rng.normal(0.1, 0.06, (3, 1)), rng.normal(0, 0.05, 60)
        if graded:
            runs = gains + rows + rng.normal(0, 0.1, (3, 60))
        else:
            drawn, up = rng.random((3, 60)), np.clip(gains + 0.1, 0, 0.4)
            runs = (drawn < up) - 1.0 * (drawn > 0.9)
        over_both = crossed_difference(runs.tolist(), weights, graded)
        over_rows = mean_difference(runs.mean(axis=0).tolist(), weights, graded)
        assert over_both.value == pytest.approx(over_rows.value)
        covered += over_both.low <= 0.1 <= over_both.high
        narrow += over_rows.low <= 0.1 <= over_rows.high
    assert covered >= 0.91 * 300 > narrow


def test_weights_that_are_alike_change_no_interval_over_runs_and_rows() -> None:
    runs = np.random.default_rng(1).uniform(-1, 1, (3, 20)).tolist()
    one, other = (crossed_difference(runs, w, graded=True) for w in ([], [2.0] * 20))
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))
    heavy = crossed_difference(runs, [100.0, *[1.0] * 19], graded=True)
    assert heavy.high - heavy.low > 1.5 * (one.high - one.low), "one row is little evidence"


def test_sign_flip_is_mcnemars_exact_test() -> None:
    for gained, lost in ((6, 1), (3, 3), (9, 0)):
        differences = [1.0] * gained + [-1.0] * lost + [0.0] * 30
        expected = binomtest(gained, gained + lost).pvalue
        assert sign_flip(differences) == pytest.approx(expected, abs=1e-9)
    assert sign_flip([0.0] * 9) == sign_flip([0.0, 1.0]) == 1.0
    assert sign_flip([1.0] * 30 + [-1.0] * 5) == pytest.approx(
        binomtest(30, 35).pvalue, abs=2e-3
    ), "sampled where there are too many flips"


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [12, 80])
def test_intervals_of_graded_and_weighted_rows_cover(n: int, weighted: bool) -> None:
    """The interval of a mean, and that of a paired difference, in about 95 of 100 repetitions."""
    rng = np.random.default_rng(n)
    means = differences = shares = 0
    for _ in range(500):
        weights = list(rng.uniform(0.5, 3, n)) if weighted else []
        before = rng.beta(2, 5, n)
        after = before + rng.normal(0.05, 0.1, n)
        mean = mean_value(list(before), weights, graded=True)
        means += mean.low <= 2 / 7 <= mean.high
        difference = mean_difference(list(after - before), weights, graded=True)
        differences += difference.low <= 0.05 <= difference.high
        share = mean_value([float(hit) for hit in rng.random(n) < 0.3], weights)
        shares += share.low <= 0.3 <= share.high
    assert all(0.92 <= covered / 500 <= 0.985 for covered in (means, differences, shares))


def test_a_weight_says_how_much_a_row_counts() -> None:
    assert mean_value([1, 0, 0.5], [2, 1, 1], graded=True).value == pytest.approx(0.625)
    assert paired_difference([0, 1], [1, 1], [3, 1]).value == pytest.approx(0.75)
    doubled = mean_value([1, 0, 0.5], [4, 2, 2], graded=True)
    assert doubled == mean_value([1, 0, 0.5], [2, 1, 1], graded=True)
    # One row that counts for nearly all of them is little evidence.
    few, many = ([100.0, *[1.0] * 49], [1.01, *[1.0] * 49])
    values = [1.0, 0.0] * 25
    widths = [(e.high - e.low) for w in (few, many) for e in [mean_value(values, w)]]
    assert widths[0] > 2 * widths[1]


@given(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=2, max_size=9), st.floats(0.01, 99))
def test_rows_that_all_count_alike_have_no_weights(values: list[float], weight: float) -> None:
    weights, half = [weight] * len(values), values[::-1]
    graded = is_graded(values)
    assert mean_value(values, weights, graded) == mean_value(values, (), graded)
    assert paired_difference(half, values, weights) == paired_difference(half, values)
    runs = [values, [value / 2 for value in half]]
    alike = crossed_difference(runs, weights, graded)
    assert alike == crossed_difference(runs, (), graded)


def test_what_weighted_runs_share_is_no_component_between_them() -> None:
    weights = [1.0, 2.0, 0.5, 3.0, 1.0] * 4
    rows = [0.2, 0.5, -0.1, 0.0, 0.3] * 4
    over_both = crossed_difference([rows, rows, rows], weights, graded=True)
    over_rows = mean_difference(rows, weights, graded=True)
    found = (over_both.value, over_both.low, over_both.high)
    assert found == pytest.approx((over_rows.value, over_rows.low, over_rows.high))
    apart = [rows, [value + 0.3 for value in rows]]
    wide = crossed_difference(apart, weights, graded=True)
    assert wide.value == pytest.approx(over_rows.value + 0.15)
    assert wide.high - wide.low > 2 * (over_rows.high - over_rows.low)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_rows_that_are_all_alike_leave_doubt(value: float) -> None:
    for weights in ([], [1.0, 2.0, 3.0]):
        found = mean_value([value] * 3, weights, graded=True)
        assert 0 <= found.low <= value <= found.high <= 1 and found.high - found.low > 0.3
        same = paired_difference([value] * 3, [value] * 3, weights)
        assert same.low < 0 == same.value < same.high


def test_graded_rows_vary_less_than_right_and_wrong_ones() -> None:
    graded = mean_value([0.4, 0.5, 0.6] * 20, graded=True)
    assert graded.high - graded.low < 0.06 < 0.2 < 2 * (wilson(0.5, 60).high - 0.5)
