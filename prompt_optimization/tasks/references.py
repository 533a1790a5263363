"""Reference answers, out of what the answer column holds.

A reference is what a model shall write, letter for letter. Many files hold something longer or
something that a table program has changed. It is put right where the whole column says how.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.cells import MOST_DIGITS, shown, trimmed
from prompt_optimization.tasks.reading.latex import closing_brace
from prompt_optimization.tasks.table import Source

_GSM8K = re.compile(r"(?s).*####[ \t]*([^\n]+)\Z")
_TAGGED = re.compile(r"(?is).*<answer>(.+)</answer>\s*\Z")
_SAID = re.compile(r"(?is).*\b(?:answer is:?|answer:)[ \t]*([^\n]+?)\.?\s*\Z")
_GROUPED = re.compile(r"\A[-+]?\$?\d{1,3}(?:,\d{3})+(?:\.\d+)?\Z")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?")
_BRACKETED_LETTER = re.compile(r"\A\(([A-Z])\)\Z")
# The words of a list or the brackets of a sequence are many as well, but no sentence.
_SENTENCE = re.compile(r"[.:=\n]")
_MOST_WORDS = 8


def reference_answers(
    cells: Sequence[Sequence[str]], source: Source, texts_are_meant: bool = False
) -> tuple[list[tuple[str, ...]], list[str]]:
    """The references of a column of answers; a row may have several.

    - Solutions that end in a marked answer: the answer, where all of them have the same mark.
      Commas between its thousands go, because models write none.
    - ``12.0`` among whole numbers only: 12.
    - ``(A)``: A, because extractors ask for the bare letter, as in the released code.

    Args:
        cells: the texts of every row.
        source: where they come from, for messages.
        texts_are_meant: no note says that a model would have to repeat whole solutions.

    Returns:
        each row's references without repetition, and notes on what was done.

    Raises:
        InputError: some of the answers are marked and others are not.
    """
    rows = [number for number, row in enumerate(cells) for _ in row]
    texts, notes = _marked([trimmed(cell) for row in cells for cell in row], rows, source)
    if not notes and not texts_are_meant and are_solutions(texts):
        notes.append(
            f"the answers of {source.name} look like whole solutions ({source.unit} 0: "
            f"{shown(texts[0])}), which a model would have to repeat word for word; put short "
            "answers into a column 'final_answer'"
        )
    texts, more = _whole(texts, rows, source)
    notes += more
    if "nan" in texts:
        notes.append(
            f"the answer of {source.row(rows[texts.index('nan')])} is 'nan', as table programs "
            "write an empty cell; fill it in"
        )
    found: Iterator[str] = (_BRACKETED_LETTER.sub(r"\1", text) for text in texts)
    return [tuple(dict.fromkeys(next(found) for _ in row)) for row in cells], notes


def are_solutions(cells: Sequence[object]) -> bool:
    """Whether most of a column's cells are sentences with more than a few words."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    long = [text for text in texts if is_long(text) and _SENTENCE.search(text)]
    return len(long) * 2 > len(cells)


def is_long(text: str) -> bool:
    """Whether a text has more words than an answer should."""
    return len(text.split()) > _MOST_WORDS


def _marked(texts: list[str], rows: Sequence[int], source: Source) -> tuple[list[str], list[str]]:
    """What stands at the mark, when there is one; ``rows`` says whose text each is."""
    for mark, find in _MARKS.items():
        found = [find(text) for text in texts]
        answers = [answer for answer in found if answer is not None]
        if answers and len(answers) == len(texts):
            note = (
                f"the answers of {source.name} are taken from their mark '{mark}' ({source.unit} "
                f"0: {shown(answers[0])})"
            )
            return [_GROUPED.sub(_without_commas, answer) for answer in answers], [note]
        if answers and mark in _SURE:
            bare = found.index(None)
            raise InputError(
                f"the answer of {source.row(rows[bare])} is {shown(texts[bare])}, without the "
                f"'{mark}' that others have; write all answers in one form"
            )
    return texts, []


def _gsm8k(text: str) -> str | None:
    return _group(_GSM8K.match(text))


def _boxed(text: str) -> str | None:
    """The content of the last ``\\boxed{...}``, whose brackets may hold others."""
    start = text.rfind("\\boxed{") + len("\\boxed{")
    if start < len("\\boxed{"):
        return None
    end = closing_brace(text, start)
    return None if end is None else text[start:end].strip() or None


def _tagged(text: str) -> str | None:
    return _group(_TAGGED.match(text))


def _said(text: str) -> str | None:
    return _group(_SAID.match(text))


def _group(found: re.Match[str] | None) -> str | None:
    return (found.group(1).strip(" \t\n*") or None) if found else None


_MARKS: dict[str, Callable[[str], str | None]] = {
    "####": _gsm8k,
    "\\boxed{}": _boxed,
    "<answer>": _tagged,
    "answer is": _said,
}
# Nothing else than a mark, so that a row without it is a slip.
_SURE = ("####", "\\boxed{}", "<answer>")


def _without_commas(number: re.Match[str]) -> str:
    return number.group().replace(",", "")


def _whole(texts: list[str], rows: Sequence[int], source: Source) -> tuple[list[str], list[str]]:
    """Whole numbers that a table program has written as decimals, as whole numbers again.

    It does so with a whole column when one of its cells is empty.
    """
    values = {number: Decimal(text) for number, text in enumerate(texts) if _NUMBER.fullmatch(text)}
    whole = {
        number
        for number, value in values.items()
        if value.adjusted() < MOST_DIGITS and value == value.to_integral_value()
    }
    changed = {number for number in whole if not texts[number].lstrip("+-").isdigit()}
    if not changed:
        return texts, []
    first = min(changed)
    said = f"answers such as {shown(texts[first])} ({source.row(rows[first])})"
    if len(whole) < len(values):
        other = min(values.keys() - whole)
        return texts, [
            f"{said} keep their form, because others such as {shown(texts[other])} are no whole "
            f"numbers; write {int(values[first])} where that is meant"
        ]
    written = [
        str(int(values[number])) if number in changed else text for number, text in enumerate(texts)
    ]
    return written, [f"{said} are read as {written[first]}, because all numbers there are whole"]
