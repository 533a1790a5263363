"""How much of a difference between two prompts is luck: the temperature's unit under annealing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from prompt_optimization.scoring.scorer import Row, Scored, Scorer


@dataclass
class PairedNoise:
    """The standard error of the mean difference of two prompts on the same rows.

    Attributes:
        variances: sum over the pairs seen so far of the variance of their mean difference.
        count: of these pairs.
    """

    variances: float = 0.0
    count: int = 0

    def add(self, differences: Sequence[float], weights: Sequence[float]) -> None:
        """See a pair of prompts.

        Args:
            differences: of the two, row by row.
            weights: how much each row counts.
        """
        rows = len(differences)
        if rows < 2:
            return  # one row does not tell how much rows differ
        total = sum(weights)
        shares = [weight / total for weight in weights]
        mean = sum(w * d for w, d in zip(shares, differences, strict=True))
        spread = sum((w * (d - mean)) ** 2 for w, d in zip(shares, differences, strict=True))
        self.variances += spread * rows / (rows - 1)
        self.count += 1

    def measure(
        self, scorer: Scorer, rows: Sequence[Row], incumbent: Scored, found: Sequence[Scored]
    ) -> None:
        """Learn from how each of ``found`` differs from the incumbent on ``rows``."""
        weights = scorer.weights(rows)
        before = scorer.parts(incumbent, rows)
        for scored in found:
            parts = scorer.parts(scored, rows)
            self.add([now - then for now, then in zip(parts, before, strict=True)], weights)

    @property
    def standard_error(self) -> float:
        """Of a pair like those seen so far; 0 before the first."""
        return math.sqrt(self.variances / self.count) if self.count else 0.0
