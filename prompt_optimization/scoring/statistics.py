"""Means over rows with intervals: shares of right rows, and means of graded values.

Rows that were drawn at random and right or wrong are Wilson's case, and pairs of them Agresti and
Min's. Where rows have weights, or a metric grades them, the variance of the mean is that of a ratio
estimator (Cochran, Sampling Techniques, 1977, section 6.4), and Student's t takes the normal's
place, with as many degrees of freedom as Kish's effective number of rows leaves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm, permutation_test, t

Z = float(norm.ppf(0.975))


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means, with its 95 % interval over ``n`` rows."""

    value: float
    low: float
    high: float
    n: int


def mean_value(
    values: Sequence[float], weights: Sequence[float] = (), graded: bool = False
) -> Estimate:
    """The mean of values between 0 and 1.

    Without weights and ungraded it is a share with Wilson's interval. Otherwise it has Wilson's of
    as many rows as would give a share the variance that this mean has (Franco et al., Journal of
    Survey Statistics and Methodology 7, 2019), which stays between 0 and 1.

    Args:
        values: of each row.
        weights: of each row; empty, or all the same, where all count alike.
        graded: the values of single rows may lie between 0 and 1.
    """
    weights = _unequal(weights)
    if not weights and not graded:
        return wilson(sum(values) / len(values), len(values))
    value, variance, rows = _weighted(values, weights)
    if variance:
        rows = value * (1 - value) / variance
    found = wilson(value, rows * (Z / _quantile(values, weights)) ** 2)
    return replace(found, n=len(values))


def is_graded(values: Iterable[float]) -> bool:
    """Whether some of ``values`` are neither 0 nor 1."""
    return any(value not in (0, 1) for value in values)


def wilson(value: float, n: float) -> Estimate:
    """A share of ``n`` rows with Wilson's score interval, which stays sensible near 0 and 1."""
    total = n + Z**2
    centre = (n * value + Z**2 / 2) / total
    reach = Z * math.sqrt(n * value * (1 - value) + Z**2 / 4) / total
    return Estimate(value, max(0.0, centre - reach), min(1.0, centre + reach), int(n))


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent shares, each counted alike.

    The interval squares and adds the distances to each share's own limits (Zou and Donner,
    Statistics in Medicine 27, 2008).
    """
    count = len(estimates)
    value = sum(each.value for each in estimates) / count
    down = math.sqrt(sum((each.value - each.low) ** 2 for each in estimates)) / count
    up = math.sqrt(sum((each.high - each.value) ** 2 for each in estimates)) / count
    return Estimate(value, value - down, value + up, sum(each.n for each in estimates))


def paired_difference(
    before: Sequence[float], after: Sequence[float], weights: Sequence[float] = ()
) -> Estimate:
    """Mean of ``after`` minus mean of ``before`` on the same rows."""
    differences = [float(a) - float(b) for b, a in zip(before, after, strict=True)]
    return mean_difference(differences, weights, is_graded([*before, *after]))


def mean_difference(
    differences: Sequence[float], weights: Sequence[float] = (), graded: bool = False
) -> Estimate:
    """The mean of one difference a row, each between -1 and 1.

    Without weights and ungraded the interval is Agresti and Min's (Statistics in Medicine 24,
    2005): half a row is added to each cell of the paired table, and Wald's interval taken of that.
    It has no zero width when no row changes. Where several runs answered a row, its difference may
    be a fraction. Otherwise it is Student's of the weighted differences, unless all of them are
    the same, which tells nothing of their variance.

    Args:
        weights, graded: see ``mean_value``.
    """
    weights = _unequal(weights)
    if weights or graded:
        value, variance, _ = _weighted(differences, weights)
        if variance:
            reach = _quantile(differences, weights) * math.sqrt(variance)
            return _around(value, value, reach, len(differences))
    centre, variance = _adjusted(differences)
    value = sum(differences) / len(differences)
    return _around(value, centre, Z * math.sqrt(variance), len(differences))


def crossed_difference(
    runs: Sequence[Sequence[float]], weights: Sequence[float] = (), graded: bool = False
) -> Estimate:
    """The mean of one difference a run and row, each between -1 and 1, where all runs answered the
    same rows. The interval is for other rows and other runs.

    Rows and runs are crossed random effects: the two-way analysis of variance with one value a
    cell, as for several readers of the same cases (Hillis, Statistics in Medicine 26, 2007). The
    variance is that of ``mean_difference``, over rows, and the component between runs divided by
    their number. The mean squares estimate that component; it is at least 0. Student's t has
    Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946), at least those of the runs.

    Args:
        weights, graded: see ``mean_value``.
    """
    cells = np.array(runs, dtype=float)
    count, n = cells.shape
    assert count > 1 and n > 1, "a variance takes two runs and two rows"
    weights = _unequal(weights)
    differences = cells.mean(axis=0).tolist()
    value, over_rows, rows = _weighted(differences, weights)
    centre = value
    if not over_rows or not (weights or graded):
        value, rows = sum(differences) / n, n
        centre, over_rows = _adjusted(differences)
    if weights:
        # As the ratio estimator has them: a run's mean over these cells is its weighted one.
        cells = value + np.array(weights) / np.mean(weights) * (cells - value)
    by_run, by_row = cells.mean(axis=1, keepdims=True), cells.mean(axis=0)
    between = n * float(by_run.var(ddof=1))
    residuals = cells - by_run - by_row + cells.mean()
    residual = float((residuals**2).sum()) / ((count - 1) * (n - 1))
    variance = over_rows + max(0.0, between - residual) / cells.size
    freedom = variance**2 / ((between / cells.size) ** 2 / (count - 1) + over_rows**2 / (rows - 1))
    reach = float(t.ppf(0.975, max(count - 1, freedom))) * math.sqrt(variance)
    return _around(value, centre, reach, n)


def _adjusted(differences: Sequence[float]) -> tuple[float, float]:
    """The mean of ``differences`` and its variance, as Agresti and Min adjust them."""
    total = len(differences) + 2
    centre = sum(differences) / total
    variance = (sum(d * d for d in differences) + 1) / total - centre**2
    return centre, variance / total


def _around(value: float, centre: float, reach: float, n: int) -> Estimate:
    return Estimate(value, max(-1.0, centre - reach), min(1.0, centre + reach), n)


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided p-value of no difference: how often flipping rows at random gives as much.

    For one run it is McNemar's question; all flips are tried when there are few rows.
    """
    values = np.array([d for d in differences if d], dtype=float)
    if len(values) < 2:
        return 1.0  # one row alone is as likely to go either way
    result = permutation_test(
        (values,),
        lambda x, axis: np.sum(x, axis=axis),
        permutation_type="samples",
        n_resamples=9999,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def _unequal(weights: Sequence[float]) -> Sequence[float]:
    """``weights``; none where all rows count alike."""
    return weights if len({*weights}) > 1 else ()


def _weighted(values: Sequence[float], weights: Sequence[float]) -> tuple[float, float, float]:
    """The weighted mean, its variance with Bessel's correction, and Kish's effective number of
    rows."""
    x = np.array(values, dtype=float)
    w = np.array(weights or [1.0] * len(x), dtype=float)
    w /= w.sum()
    value = float(w @ x)
    rows = float(1 / (w @ w))
    variance = float(w**2 @ (x - value) ** 2) * rows / (rows - 1) if np.ptp(x) else 0.0
    return value, variance, rows


def _quantile(values: Sequence[float], weights: Sequence[float]) -> float:
    """Student's, in the place of ``Z``."""
    *_, rows = _weighted(values, weights)
    return float(t.ppf(0.975, max(1.0, rows - 1)))
