"""Rows that a program gives: a list of dicts, or a data frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from prompt_optimization.errors import InputError, did_you_mean
from prompt_optimization.tasks.columns import (
    ANSWER_COLUMNS,
    CONTEXT_COLUMNS,
    FURTHER,
    GROUP,
    GUESSED,
    QUESTION_COLUMNS,
    WEIGHT,
    Columns,
    Row,
    column_name,
    row_of,
)

_KNOWN = {
    *(WEIGHT, GROUP, *QUESTION_COLUMNS, *ANSWER_COLUMNS, *CONTEXT_COLUMNS),
    *(name for names in GUESSED.values() for name in names),
}


@runtime_checkable
class Frame(Protocol):
    """A data frame of pandas, or what has the same methods."""

    @property
    def columns(self) -> Any: ...
    def itertuples(self, *args: Any, **kwargs: Any) -> Any: ...


Entries = Iterable[Mapping[str, object]] | Frame


def rows_of_entries(given: Entries, what: str, also: Sequence[str], columns: Columns) -> list[Row]:
    """The rows of a list of dicts or of a data frame.

    Args:
        what: names it in messages.
        also: names that a dict may have besides those that every row may have. A data frame may
            have any, as a file may, because it was not made for this purpose.
        columns: further such names.

    Raises:
        InputError: it is none, or an entry is no dict or has an unknown name.
    """
    if isinstance(given, Frame):
        names = list(given.columns)
        return [
            row_of(zip(names, cells, strict=True))
            for cells in given.itertuples(index=False, name=None)
        ]
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise InputError(
            f"{what} is a {type(given).__name__}; give a list of dicts or a data frame"
        )
    named = tuple(map(column_name, (*columns.question, *columns.answer)))
    return [
        _row(entry, f"entry {number} of {what}", (*also, *named))
        for number, entry in enumerate(given)
    ]


def _row(entry: Any, where: str, also: Sequence[str]) -> Row:
    """The row of a dict, or of what has items like one, such as a row of a data frame."""
    if not hasattr(entry, "items"):
        raise InputError(
            f"{where} is a {type(entry).__name__}; give a dict with question, prompt and answer"
        )
    found = row_of(entry.items())
    for name in found:
        if name not in (*also, *_KNOWN) and not FURTHER.fullmatch(name):
            raise InputError(f"{where} has the unknown key '{name}'; {did_you_mean(name, also)}")
    return found
