"""Which questions fit the reward model, which stop and calibrate it, and which measure it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.oirl.outcomes import Outcomes, both_sides
from prompt_optimization.optimizers.oirl.settings import OirlSettings

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """A table cut by its rows.

    Attributes:
        table: whose rows are counted; where questions are drawn, every question stands in it once.
        fit, validation, test: row numbers, in order.
        own_test, own_repeated: rows that the table had set aside, and how many of them ask what
            one of its other rows asks.
    """

    table: Outcomes
    fit: Rows
    validation: Rows
    test: Rows
    own_test: int
    own_repeated: int

    @property
    def learnt_rows(self) -> Rows:
        """The rows that may be learnt from, in order."""
        return np.sort(np.concatenate([self.fit, self.validation]))

    @property
    def learnt(self) -> Outcomes:
        """The outcomes that may be learnt from: of training prompts, on other rows than test."""
        return self.table.rows(self.learnt_rows).learnt

    @property
    def repeated(self) -> int:
        """The test rows whose question is also learnt from."""
        test = np.zeros(len(self.table.questions), bool)
        test[self.test] = True
        return len(both_sides(self.table, test))


def parts_of(table: Outcomes, settings: OirlSettings, seed: int) -> Parts:
    """Cut ``table`` as the settings say.

    Raises:
        InputError: the table's own split has a question on both sides, and the behaviour is not
            the published one; or no question is left to fit.
    """
    repeated = both_sides(table, table.test)
    own = (int(table.test.sum()), len(repeated))
    if settings.split == "question":
        table = table.merged()
        order = np.random.default_rng(seed).permutation(len(table.questions))
        tests = _share(len(order), settings.test_share)
        test, rest = order[:tests], order[tests:]
        validations = _share(len(rest), settings.validation)
        validation, fit = rest[:validations], rest[validations:]
    else:
        if repeated and settings.behaviour != "published":
            train, held = repeated[0]
            raise InputError(
                f"of {own[0]} test rows of the table, {len(repeated)} ask what a training row asks "
                f"(row {held} and row {train}: '{table.questions[held][:60]}'); split by question, "
                "or repeat the published behaviour",
                key=("oirl.split", "oirl.behaviour"),
            )
        test = np.flatnonzero(table.test)
        rest = np.flatnonzero(~table.test)
        if not len(test):
            tests = _share(len(rest), settings.test_share)
            rest, test = rest[: len(rest) - tests], rest[len(rest) - tests :]
        cut = len(rest) - _share(len(rest), settings.validation)
        fit, validation = rest[:cut], rest[cut:]
    if not len(fit):
        raise InputError(
            f"{len(table.questions)} questions leave none to learn from; give more, or set less "
            "aside",
            key=("oirl.test_share", "oirl.validation"),
        )
    return Parts(table, np.sort(fit), np.sort(validation), np.sort(test), *own)


def _share(count: int, share: float) -> int:
    """``share`` of ``count``, at least 1 where something is asked for and there are two."""
    return min(max(round(share * count), int(share > 0)), max(0, count - 1))
