"""What became of questions under prompts: the table that is learnt from.

A cell counts: of ``draws`` answers to a question under a prompt, together worth ``right``. So a
table holds rates, not bits: two draws of one pair often differ. ``draws`` of 0 is a pair that was
never tried.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prompt_optimization.errors import InputError, require
from prompt_optimization.optimizers.artifacts import Artifacts, made_from
from prompt_optimization.optimizers.oirl.arrays import (
    DAMAGED,
    Counts,
    Flags,
    Floats,
    arrays_of,
    npz,
)
from prompt_optimization.tasks.table import question_key

FORMAT = 1
NAME = "table.npz"


@dataclass(frozen=True)
class Outcomes:
    """The table.

    Attributes:
        questions: one a row; the same question may come again.
        answers: the references, one a row; empty where they are not known.
        prompts: one a column, in ``Layout.normalise``'s form.
        names: of the prompts, a word or the text itself.
        heldout: [prompts], those that nothing is to be learnt from.
        test: [questions], those that whoever made the table has set aside.
        right: [questions, prompts], the sum of what the answers are worth, each from 0 to 1.
        draws: [questions, prompts], the answers.
        source: where it comes from, as JSON can hold it.
    """

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    prompts: tuple[str, ...]
    names: tuple[str, ...]
    heldout: Flags
    test: Flags
    right: Floats
    draws: Counts
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def rates(self) -> Floats:
        """[questions, prompts], not a number where a pair was never tried."""
        with np.errstate(invalid="ignore"):
            return self.right / self.draws

    @property
    def means(self) -> Floats:
        """[prompts]: the share of right answers over all rows; 0 where there is no answer."""
        found: Floats = self.right.sum(0) / np.maximum(self.draws.sum(0), 1)
        return found

    @property
    def keys(self) -> tuple[str, ...]:
        """Of each question, what the same questions have in common."""
        return tuple(question_key(question) for question in self.questions)

    @property
    def repeats(self) -> int:
        """The rows whose question stands in an earlier row."""
        return len(self.questions) - len({*self.keys})

    def merged(self) -> Outcomes:
        """The same with every question once; a question of both parts is one of training."""
        first: dict[str, int] = {}
        places = np.array([first.setdefault(each, len(first)) for each in self.keys], np.int64)
        kept = list({place: row for row, place in reversed([*enumerate(places)])}.values())
        rows = sorted(kept, key=lambda row: int(places[row]))
        shape = (len(first), len(self.prompts))
        right, draws = np.zeros(shape), np.zeros(shape, np.int64)
        np.add.at(right, places, self.right)
        np.add.at(draws, places, self.draws)
        trained = np.zeros(len(first), bool)
        np.logical_or.at(trained, places, ~self.test)
        return replace(self.rows(rows), right=right, draws=draws, test=~trained)

    @property
    def learnt(self) -> Outcomes:
        """The prompts that something may be learnt from."""
        return self.columns(np.flatnonzero(~self.heldout))

    def rows(self, chosen: Sequence[int] | NDArray[Any]) -> Outcomes:
        """Some of the rows."""
        numbers = [int(row) for row in chosen]
        return replace(
            self,
            questions=tuple(self.questions[row] for row in numbers),
            answers=tuple(self.answers[row] for row in numbers),
            test=self.test[numbers],
            right=self.right[numbers],
            draws=self.draws[numbers],
        )

    def columns(self, chosen: Sequence[int] | NDArray[Any]) -> Outcomes:
        """Some of the prompts."""
        numbers = [int(column) for column in chosen]
        return replace(
            self,
            prompts=tuple(self.prompts[column] for column in numbers),
            names=tuple(self.names[column] for column in numbers),
            heldout=self.heldout[numbers],
            right=self.right[:, numbers],
            draws=self.draws[:, numbers],
        )

    def to_bytes(self) -> bytes:
        """As an npz, which ``of_bytes`` reads."""
        texts = {
            "format": FORMAT,
            "questions": self.questions,
            "answers": self.answers,
            "prompts": self.prompts,
            "names": self.names,
            "source": self.source,
        }
        return npz(
            {
                "texts": np.frombuffer(json.dumps(texts, ensure_ascii=False).encode(), np.uint8),
                "heldout": self.heldout,
                "test": self.test,
                "right": self.right,
                "draws": self.draws,
            }
        )

    @classmethod
    def of_bytes(cls, data: bytes) -> Outcomes:
        """The table that ``to_bytes`` wrote.

        Raises:
            ``DAMAGED``: ``data`` holds none.
        """
        arrays = arrays_of(data)
        texts = json.loads(arrays["texts"].tobytes())
        require(texts["format"] == FORMAT)
        lists = {name: texts[name] for name in ("questions", "answers", "prompts", "names")}
        for each in lists.values():
            require(isinstance(each, list) and all(isinstance(text, str) for text in each))
        made = cls(
            **{name: tuple(each) for name, each in lists.items()},
            heldout=arrays["heldout"].astype(bool),
            test=arrays["test"].astype(bool),
            right=arrays["right"].astype(np.float64),
            draws=arrays["draws"].astype(np.int64),
            source=dict(texts["source"]),
        )
        rows, columns = len(made.questions), len(made.prompts)
        require(len(made.answers) == rows and len(made.names) == columns)
        require(made.test.shape == (rows,) and made.heldout.shape == (columns,))
        require(made.right.shape == made.draws.shape == (rows, columns))
        require((made.draws >= 0).all() and (made.right >= 0).all())
        require((made.right <= made.draws + 1e-6).all())
        require(all(text.strip() for text in (*made.questions, *made.prompts)))
        return made


def read_outcomes(path: Path, key: str) -> Outcomes:
    """The table in a file.

    Args:
        key: the setting that names it.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        return Outcomes.of_bytes(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"table '{path}' does not exist; give an existing one", key=key) from None
    except DAMAGED:
        raise InputError(
            f"'{path}' is no table of outcomes; give the table.npz of a run, or make one with "
            "greater import-table",
            key=key,
        ) from None


def keep_table(table: Outcomes, artifacts: Artifacts) -> None:
    """Keep ``table`` as it is, under the name ``NAME``.

    Raises:
        InputError: it cannot be written.
    """
    data = table.to_bytes()
    artifacts.put(NAME, made_from(data), data)


def check_table(table: Outcomes, key: str = "oirl.table") -> None:
    """Refuse a table that nothing can be learnt from.

    Raises:
        InputError: it has one prompt, no question, or outcomes that are all alike.
    """
    if len(table.prompts) < 2:
        raise InputError(
            f"the table has {len(table.prompts)} prompt to choose from; give at least two", key=key
        )
    learnt = table.learnt
    if not learnt.prompts or not learnt.draws.any():
        raise InputError("the table holds no outcome to learn from; give some", key=key)
    if problem := all_alike(learnt):
        raise InputError(f"{problem}; give outcomes that differ", key=key)


def all_alike(table: Outcomes) -> str | None:
    """A sentence where every answer of the table is worth the same."""
    tried = table.draws > 0
    rates = table.rates[tried]
    if not len(rates) or np.ptp(rates) > 0:
        return None
    what = {0.0: "is wrong", 1.0: "is right"}.get(float(rates[0]), "is worth the same")
    return f"every one of {int(table.draws.sum())} answers {what}, so nothing can be learnt"


def both_sides(table: Outcomes, test: Flags) -> list[tuple[int, int]]:
    """The rows of ``test`` whose question a training row asks: pairs (training row, test row)."""
    keys = table.keys
    first = {each: row for row, each in reversed([*enumerate(keys)]) if not test[row]}
    return [(first[keys[row]], int(row)) for row in np.flatnonzero(test) if keys[row] in first]
