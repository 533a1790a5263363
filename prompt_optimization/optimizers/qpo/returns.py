"""What a prompt is worth on a question, and the digit that asks for as much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prompt_optimization.optimizers.oirl.arrays import Floats
from prompt_optimization.optimizers.oirl.outcomes import Outcomes
from prompt_optimization.optimizers.qpo.settings import QpoSettings

# The policy is asked for one of the digits from 0 to this.
HIGHEST = 9


@dataclass(frozen=True)
class Pair:
    """A prompt that was tried on a question.

    Attributes:
        value: its return, or its advantage over the question's other prompts.
        right: the rate of right answers.
        level: the digit that asks for as much.
    """

    question: str
    prompt: str
    value: float
    right: float
    level: int = 0


class Returns:
    """The returns of a table.

    The return of a pair is ``correct`` times its rate plus ``prompt_mean`` times the prompt's rate
    over the questions that are learnt from. The advantage is the return less its mean over the
    prompts that were tried on that question.
    """

    def __init__(self, table: Outcomes, learnt: NDArray[np.bool_], own: QpoSettings) -> None:
        """
        Args:
            table: questions that stand in it once.
            learnt: [questions], those that prompts' rates are taken from.
        """
        self.table = table
        self.own = own
        self.means: Floats = table.rows(np.flatnonzero(learnt)).means
        self.values: Floats = own.correct * table.rates + own.prompt_mean * self.means
        self.bases: NDArray[np.float64] = np.zeros(len(table.questions))
        if own.returns == "advantage":
            tried = ~np.isnan(self.values)
            self.bases = np.nansum(self.values, 1) / np.maximum(tried.sum(1), 1)

    def pairs(self, row: int) -> list[Pair]:
        """The prompts that were tried on a question."""
        question, rates = self.table.questions[row], self.table.rates[row]
        return [
            Pair(question, prompt, float(self.values[row, column] - self.bases[row]), float(rate))
            for column, (prompt, rate) in enumerate(zip(self.table.prompts, rates, strict=True))
            if not np.isnan(rate)
        ]

    def written(self, row: int, prompt: str, right: float, mean: float) -> Pair:
        """A prompt that the policy wrote.

        Args:
            right: the rate of the question's answers under it.
            mean: its rate over other questions.
        """
        value = self.own.correct * right + self.own.prompt_mean * mean - self.bases[row]
        return Pair(self.table.questions[row], prompt, float(value), right)


class Levels:
    """Digits for values: the share of a table's pairs that are worth less, from 0 to ``HIGHEST``.

    Equal values have one digit. The lowest value has 0 and the highest one ``HIGHEST``.
    """

    def __init__(self, values: Sequence[float]) -> None:
        distinct, counts = np.unique(np.round(values, 9), return_counts=True)
        middle = counts.cumsum() - counts / 2
        self.values = distinct
        spread = middle[-1] - middle[0]
        self.places = HIGHEST * (middle - middle[0]) / (spread or 1)

    @property
    def alike(self) -> bool:
        """All values are the same, so there is nothing to ask for."""
        return len(self.values) < 2

    def of(self, pairs: Sequence[Pair]) -> list[Pair]:
        """``pairs`` with their digits; values beyond the table's have those of its ends."""
        places = np.interp([pair.value for pair in pairs], self.values, self.places)
        return [
            replace(pair, level=round(float(place)))
            for pair, place in zip(pairs, places, strict=True)
        ]


def kept(pairs: Sequence[Pair], keep: str, least: float | None = None) -> list[Pair]:
    """Those of ``pairs`` that are learnt from.

    Args:
        keep: ``all`` or ``above``.
        least: of written prompts, the value that is exceeded under ``above``; None for the table.
    """
    if keep == "all":
        return list(pairs)
    if least is None:
        return [pair for pair in pairs if pair.right > 0]
    return [pair for pair in pairs if pair.value > least]


def shuffled(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """``pairs`` whose digits are dealt anew, so that they say nothing."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    return [
        replace(pair, level=pairs[other].level) for pair, other in zip(pairs, order, strict=True)
    ]
