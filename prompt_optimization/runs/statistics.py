"""Accuracies with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest, norm


@dataclass(frozen=True)
class Estimate:
    """A share or a difference of shares, with its 95 % interval over ``n`` rows."""

    value: float
    low: float
    high: float
    n: int


def share(hits: Sequence[bool]) -> Estimate:
    """Share of hits with Wilson's score interval, which stays sensible near 0 and 1."""
    n = len(hits)
    interval = binomtest(sum(hits), n).proportion_ci(0.95, method="wilson")
    return Estimate(sum(hits) / n, float(interval.low), float(interval.high), n)


def paired_difference(before: Sequence[bool], after: Sequence[bool]) -> Estimate:
    """Share of ``after`` minus share of ``before`` on the same rows.

    The interval is Agresti and Min's (Statistics in Medicine 24, 2005): half a row is added to
    each cell of the paired table, and Wald's interval taken of that. It has no zero width when no
    row changes.
    """
    assert len(before) == len(after)
    n = len(before)
    gained = sum(b and not a for a, b in zip(before, after, strict=True))
    lost = sum(a and not b for a, b in zip(before, after, strict=True))
    up, down, total = gained + 0.5, lost + 0.5, n + 2
    centre = (up - down) / total
    deviation = math.sqrt((up + down) / total - centre**2) / math.sqrt(total)
    reach = float(norm.ppf(0.975)) * deviation
    return Estimate((gained - lost) / n, max(-1.0, centre - reach), min(1.0, centre + reach), n)
