"""The form that the answers of a task have, and the extractor that asks for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from prompt_optimization.tasks.reading.brackets import brackets_of
from prompt_optimization.tasks.reading.labels import label_set, letter_of
from prompt_optimization.tasks.references import is_long
from prompt_optimization.tasks.registry import extractor, in_order
from prompt_optimization.tasks.table import Example

_INTEGER = re.compile(r"[-+]?\d+")
_NUMBER = re.compile(r"[-+]?\d*\.?\d+")
# Labels that an extractor can list, the words of one, and the rows that show it to be one.
MOST_LABELS = 10
LABEL_WORDS = 3
ROWS_PER_LABEL = 3


@dataclass(frozen=True)
class Form:
    """What the answers of a task look like.

    Attributes:
        name: as ``registry.extractor`` takes it.
        shown: the same in words, after "answers are".
        labels: the answers, where there are few.
    """

    name: str
    shown: str
    labels: tuple[str, ...] = ()

    def extractor(self, style: str) -> str:
        """The text that asks for an answer of this form; empty for free text."""
        return extractor(self.name, style, self.labels)


def form_of(examples: Sequence[Example]) -> Form:
    """The form that all references of ``examples`` share; that of words where there are none."""
    answers = [answer for example in examples for answer in example.references]
    distinct = set(answers)
    if not answers:
        return Form("phrase", "not given")
    if all(map(_INTEGER.fullmatch, answers)):
        return Form("integer", "whole numbers")
    if all(map(_NUMBER.fullmatch, answers)):
        return Form("number", "numbers")
    if all(map(letter_of, answers)):
        return Form("letter", "letters of options")
    if _are_labels(distinct, len(answers)):
        labels = in_order(distinct)
        return Form("labels", " or ".join(map(repr, labels)), labels)
    if all(map(brackets_of, answers)):
        return Form("brackets", "brackets")
    if sum(map(is_long, answers)) * 2 > len(answers):
        return Form("text", "whole texts")
    return Form("phrase", "words")


def _are_labels(distinct: set[str], rows: int) -> bool:
    """Whether the answers are the words of a closed set."""
    if not 2 <= len(distinct) <= MOST_LABELS:
        return False
    known = label_set(next(iter(distinct)))
    if all(answer.casefold() in known for answer in distinct):
        return True
    short = all(len(answer.split()) <= LABEL_WORDS for answer in distinct)
    return short and len(distinct) * ROWS_PER_LABEL <= rows
