"""How well one order of the candidates predicts another, over one position and over several."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from scipy.stats import bootstrap, spearmanr

from prompt_optimization.optimizers.greater.likelihood_ratio import Array
from prompt_optimization.scoring.statistics import Estimate


def rank_correlation(one: Array, other: Array) -> float:
    """Spearman's; not a number where one of them is the same for all candidates."""
    if len(set(one.tolist())) < 2 or len(set(other.tolist())) < 2:
        return math.nan
    return float(spearmanr(one, other).statistic)


def over_positions(correlations: Sequence[float], seed: int = 0) -> Estimate | None:
    """Their mean with a 95 % bootstrap interval over positions; None where there is none.

    Positions without a correlation are left out. One position has no interval.
    """
    known = [each for each in correlations if not math.isnan(each)]
    if not known:
        return None
    mean = sum(known) / len(known)
    if len(known) < 2:
        return Estimate(mean, math.nan, math.nan, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal correlations have an interval without width
        found = bootstrap(
            (known,), np.mean, method="percentile", rng=np.random.default_rng(seed)
        ).confidence_interval
    return Estimate(mean, float(found.low), float(found.high), len(known))
