"""Means over rows with intervals: shares of right rows, and means of graded values.

Rows that were drawn at random and right or wrong are Wilson's case, and pairs of them Agresti and
Min's. Where rows have weights, or a metric grades them, the variance of the mean is that of a ratio
estimator (Cochran, Sampling Techniques, 1977, section 6.4), and Student's t takes the normal's
place, with as many degrees of freedom as Kish's effective number of rows leaves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# The standard normal's quantile at 0.975.
Z = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means, with its 95 % interval over ``n`` rows."""

    value: float
    low: float
    high: float
    n: int


def in_points(estimate: Mapping[str, Any]) -> str:
    """A difference of shares in words; ``estimate`` is an ``Estimate`` as logs hold it."""
    value, low, high = (100 * estimate[name] for name in ("value", "low", "high"))
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"


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
    share = Z / _quantile(rows)
    if variance:
        rows = value * (1 - value) / variance
    found = wilson(value, rows * share**2)
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
    spread = _spread(differences, weights, graded)
    quantile = _quantile(spread.rows) if spread.weighted else Z
    return spread.around(quantile * math.sqrt(spread.variance))


def crossed_difference(
    runs: Sequence[Sequence[float]], weights: Sequence[float] = (), graded: bool = False
) -> Estimate:
    """The mean of one difference a run and row, each between -1 and 1, where all runs answered the
    same rows. The interval is for other rows and other runs.

    Rows and runs are crossed random effects: the two-way analysis of variance with one value a
    cell, as for several readers of the same cases (Hillis, Statistics in Medicine 26, 2007). The
    variance is that of ``mean_difference``, over rows, and the component between runs divided by
    their number. That component is the variance of the runs' means beyond what the residuals
    explain; it is at least 0. Where rows have weights, the means are weighted, and so is the
    variance that residuals give a mean. Student's t has Satterthwaite's degrees of freedom
    (Biometrics Bulletin 2, 1946), at least those of the runs or the rows, whichever are fewer.

    Args:
        weights, graded: see ``mean_value``.
    """
    spread, variance, freedom = _crossed(runs, weights, graded)
    return spread.around(_student(freedom) * math.sqrt(variance))


@dataclass(frozen=True)
class Stratified:
    """A mean over strata, such as tasks, which all count alike.

    Attributes:
        mean: with its interval; ``n`` counts the rows of all strata.
        error: the standard error of the mean.
        freedom: Student's degrees of freedom.
    """

    mean: Estimate
    error: float
    freedom: float

    @property
    def detectable(self) -> float:
        """The smallest true difference whose interval leaves out 0 four times in five."""
        return self.error * (_student(self.freedom) + _student(self.freedom, 0.8))


def stratified_difference(strata: Sequence[Sequence[Sequence[float]]]) -> Stratified:
    """The mean over strata of ``crossed_difference`` with one stratum's runs and rows each. The
    interval is for other rows and other runs of the same strata.

    The variances of independent means add up, and Satterthwaite's degrees of freedom follow from
    those of the strata. A stratum of a single run tells its variance over rows only.
    """
    found = [
        _crossed(runs, graded=True) if len(runs) > 1 else _rows_alone(runs[0]) for runs in strata
    ]
    count = len(found)
    value = sum(spread.value for spread, _, _ in found) / count
    variance = sum(each for _, each, _ in found) / count**2
    parts = sum((each / count**2) ** 2 / freedom for _, each, freedom in found)
    freedom = variance**2 / parts if parts else math.inf
    reach = _student(freedom) * math.sqrt(variance)
    rows = sum(spread.n for spread, _, _ in found)
    mean = Estimate(value, value - reach, value + reach, rows)
    return Stratified(mean, math.sqrt(variance), freedom)


def _rows_alone(differences: Sequence[float]) -> tuple[_Spread, float, float]:
    """See ``_crossed``, of one run."""
    spread = _spread(differences, (), graded=True)
    return spread, spread.variance, spread.rows - 1


def _crossed(
    runs: Sequence[Sequence[float]], weights: Sequence[float] = (), graded: bool = False
) -> tuple[_Spread, float, float]:
    """See ``crossed_difference``: the spread over rows, the variance of the mean over rows and
    runs, and its degrees of freedom."""
    cells = np.array(runs, dtype=float)
    count, n = cells.shape
    assert count > 1 and n > 1, "a variance takes two runs and two rows"
    weights = _unequal(weights)
    w = _shares(n, weights)
    by_run, by_row = cells @ w, cells.mean(axis=0)
    spread = _spread(by_row.tolist(), weights, graded)
    between = float(by_run.var(ddof=1))
    residuals = cells - by_run[:, None] - by_row + by_run.mean()
    correction = 1 / (1 - float(w @ w)) / (count - 1)
    residual = float((residuals**2 @ w**2).sum()) * correction
    variance = spread.variance + max(0.0, between - residual) / count
    freedom = variance**2 / (
        (between / count) ** 2 / (count - 1) + spread.variance**2 / (spread.rows - 1)
    )
    fewest = max(1.0, min(count, spread.rows) - 1)
    return spread, variance, max(fewest, freedom)


@dataclass(frozen=True)
class _Spread:
    """The mean of one difference a row, and how sure it is.

    Attributes:
        value: the mean over the ``n`` rows.
        centre: of its interval.
        variance: of the mean.
        rows: how many tell the variance; Kish's effective number where rows have weights.
        weighted: the variance is that of weighted or graded rows, not Agresti and Min's.
    """

    value: float
    centre: float
    variance: float
    rows: float
    n: int
    weighted: bool

    def around(self, reach: float) -> Estimate:
        low, high = max(-1.0, self.centre - reach), min(1.0, self.centre + reach)
        return Estimate(self.value, low, high, self.n)


def _spread(differences: Sequence[float], weights: Sequence[float], graded: bool) -> _Spread:
    """See ``mean_difference``."""
    n, weights = len(differences), _unequal(weights)
    if weights or graded:
        value, variance, rows = _weighted(differences, weights)
        if variance:
            return _Spread(value, value, variance, rows, n, weighted=True)
    total = n + 2
    centre = sum(differences) / total
    variance = ((sum(d * d for d in differences) + 1) / total - centre**2) / total
    return _Spread(sum(differences) / n, centre, variance, n, n, weighted=False)


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided p-value of no difference: how often flipping rows at random gives as much.

    For one run it is McNemar's question; all flips are tried when there are few rows.
    """
    values = np.array([d for d in differences if d], dtype=float)
    if len(values) < 2:
        return 1.0  # one row alone is as likely to go either way
    from scipy.stats import permutation_test

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


def _shares(n: int, weights: Sequence[float]) -> np.ndarray:
    """What each of ``n`` rows is of the whole."""
    w: np.ndarray = np.array(weights or [1.0] * n, dtype=float)
    w /= w.sum()
    return w


def _weighted(values: Sequence[float], weights: Sequence[float]) -> tuple[float, float, float]:
    """The weighted mean, its variance with Bessel's correction, and Kish's effective number of
    rows."""
    x = np.array(values, dtype=float)
    w = _shares(len(x), weights)
    value = float(w @ x)
    rows = float(1 / (w @ w))
    variance = float(w**2 @ (x - value) ** 2) * rows / (rows - 1) if np.ptp(x) else 0.0
    return value, variance, rows


def _quantile(rows: float) -> float:
    """Student's, in the place of ``Z``."""
    return _student(max(1.0, rows - 1))


def _student(freedom: float, at: float = 0.975) -> float:
    """Student's quantile."""
    # Only now, because scipy takes half a second to load and a run begins without it.
    from scipy.stats import t

    return float(t.ppf(at, freedom))
