"""Accuracies with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, permutation_test

Z = float(norm.ppf(0.975))


@dataclass(frozen=True)
class Estimate:
    """A share, or a mean or difference of shares, with its 95 % interval over ``n`` rows."""

    value: float
    low: float
    high: float
    n: int


def share(hits: Sequence[bool]) -> Estimate:
    """Share of hits with Wilson's interval."""
    return wilson(sum(hits) / len(hits), len(hits))


def wilson(value: float, n: int) -> Estimate:
    """A share of ``n`` rows with Wilson's score interval, which stays sensible near 0 and 1."""
    total = n + Z**2
    centre = (n * value + Z**2 / 2) / total
    reach = Z * math.sqrt(n * value * (1 - value) + Z**2 / 4) / total
    return Estimate(value, max(0.0, centre - reach), min(1.0, centre + reach), n)


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


def paired_difference(before: Sequence[bool], after: Sequence[bool]) -> Estimate:
    """Share of ``after`` minus share of ``before`` on the same rows."""
    return mean_difference([a - b for b, a in zip(before, after, strict=True)])


def mean_difference(differences: Sequence[float]) -> Estimate:
    """The mean of one difference a row, each between -1 and 1.

    The interval is Agresti and Min's (Statistics in Medicine 24, 2005): half a row is added to
    each cell of the paired table, and Wald's interval taken of that. It has no zero width when no
    row changes. Where several runs answered a row, its difference may be a fraction.
    """
    n, total = len(differences), len(differences) + 2
    centre = sum(differences) / total
    variance = (sum(d * d for d in differences) + 1) / total - centre**2
    reach = Z * math.sqrt(variance / total)
    value = sum(differences) / n
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
