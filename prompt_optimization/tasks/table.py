"""What a task consists of: examples, where they come from, and when two of them ask the same."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Example:
    """One question with its reference answer.

    ``row`` counts the table's rows from 0, without the header, for messages and logs.
    """

    question: str
    answer: str
    row: int


@dataclass(frozen=True)
class Table:
    """A task file as read.

    Attributes:
        sha256: the hash of the file's bytes.
        notes: what its user should know about how it was read, a sentence each.
    """

    path: Path
    sha256: str
    examples: tuple[Example, ...]
    notes: tuple[str, ...] = ()


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
