"""What a task consists of: examples, where they come from, and when two of them ask the same."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Example:
    """One question with what is a right answer to it.

    Attributes:
        answer: the reference; what teacher forcing makes the model write; empty where none is
            known.
        row: counts the table's rows from 0, without the header, for messages and logs.
        alternatives: further references, which are as right.
        weight: how much the row counts in a mean, beside 1 for a row without one.
        group: results are shown for each group by itself; empty where there are none.
    """

    question: str
    answer: str
    row: int
    alternatives: tuple[str, ...] = ()
    weight: float = 1.0
    group: str = ""

    @property
    def labelled(self) -> bool:
        """Whether an answer is known."""
        return bool(self.answer)

    @property
    def references(self) -> tuple[str, ...]:
        """All that is right."""
        return (self.answer, *self.alternatives)

    @property
    def content(self) -> list[Any]:
        """Question and answer, or all answers, and what else there is; as JSON can hold it."""
        answer = list(self.references) if self.alternatives else self.answer
        more: dict[str, Any] = {"weight": self.weight} if self.weight != 1 else {}
        more |= {"group": self.group} if self.group else {}
        return [self.question, answer, *([more] if more else [])]


@dataclass(frozen=True)
class Table:
    """A task file as read.

    Attributes:
        path: of the file, or the name of a data set on a hub.
        sha256: the hash of the file's bytes, or of a data set's rows.
        notes: what its user should know about how it was read, a sentence each.
        commit: of a data set on a hub; empty for a file.
    """

    path: Path
    sha256: str
    examples: tuple[Example, ...]
    notes: tuple[str, ...] = ()
    commit: str = ""


@dataclass(frozen=True)
class Rows:
    """The rows of a table, cell by name of the column; the rest as of ``Table``."""

    path: Path
    cells: list[dict[str, object]]
    sha256: str
    notes: tuple[str, ...] = ()
    commit: str = ""


@dataclass(frozen=True)
class Source:
    """Where rows come from, for messages: the file ``'task.csv'`` has rows, a list has entries."""

    name: str
    unit: str = "row"

    def row(self, number: int) -> str:
        return f"{self.unit} {number} of {self.name}"


def question_key(question: str) -> str:
    """What questions that count as the same have in common.

    They may differ in white space, in how Unicode composes a character, and in the case of their
    first and last letter.
    """
    words = " ".join(unicodedata.normalize("NFC", question).split())
    first, others = words[:1], words[1:]
    return first.casefold() + others[:-1] + others[-1:].casefold()
