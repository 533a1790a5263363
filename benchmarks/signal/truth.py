"""What the edits do under fresh reasonings, and how much of that is more than noise.

A table has one row a candidate and one column a question; its cells are means over draws. The
two-way analysis of variance without repetition separates what the candidates differ in from what
depends on the question (Hoyt, Psychometrika 6, 1941).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from prompt_optimization.optimizers.greater.likelihood_ratio import Array

# A position below it says nothing.
RELIABLE = 0.7

# A variance that is no more than this is none.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Spread:
    """How far candidates differ.

    Attributes:
        effects: standard deviation of their true effects, as estimated.
        noise: standard error of a candidate's mean over these questions.
        reliability: the share of the observed variance that is not noise; Cronbach's alpha, and the
            correlation to be expected with as many other questions. Below 0 where the candidates
            differ less than noise would have them.
    """

    effects: float
    noise: float
    reliability: float


def spread(table: Array) -> Spread:
    """How far the candidates of ``table`` [candidates, questions] differ."""
    candidates, questions = table.shape
    means = table.mean(1)
    residuals = table - means[:, None] - table.mean(0) + table.mean()
    residual = float((residuals**2).sum()) / ((candidates - 1) * (questions - 1))
    between = questions * float(means.var(ddof=1))
    variance = (between - residual) / questions
    effects = math.sqrt(variance) if variance > ROUNDING else 0.0
    reliability = 1 - residual / between if between else 0.0
    return Spread(effects, math.sqrt(residual / questions), reliability)


def questions_needed(effects: float, residual: float, reliability: float = RELIABLE) -> int | None:
    """How many questions give ``reliability``; None where no number does.

    Args:
        effects: standard deviation of the true effects.
        residual: of a cell of the table, beyond candidate and question.
    """
    if effects <= 0:
        return None
    return math.ceil(reliability / (1 - reliability) * (residual / effects) ** 2)


def plan(effects: list[float], flips: list[float]) -> list[list[int | None]]:
    """Fresh reasonings a candidate that a reliability of ``RELIABLE`` takes.

    Args:
        effects: spreads of true effects, as shares of the questions.
        flips: shares of the questions on which two candidates differ in one draw. Half of that is
            the variance of a single answer beyond its question.
    """
    return [[questions_needed(effect, math.sqrt(flip / 2)) for flip in flips] for effect in effects]
