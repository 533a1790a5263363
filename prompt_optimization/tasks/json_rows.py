"""The rows of JSON lines, and of a JSON document that holds a list of them."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.cells import MOST_DIGITS, shown
from prompt_optimization.tasks.columns import ANSWER_COLUMNS, QUESTION_COLUMNS, row_of

# What documents usually call their list of rows.
_LISTS = ("examples", "data", "rows")
# No other character ends a line: strings may hold the separators of Unicode.
_LINE_END = re.compile(r"\r\n|\n|\r")


def json_rows(path: Path, text: str, lines: bool) -> list[dict[str, object]]:
    """The rows of a file of JSON.

    Args:
        path: for messages.
        lines: whether the file's name says that it holds JSON lines.

    Raises:
        InputError: it is malformed, or holds no list of objects.
    """
    try:
        document = _parsed(text, f"'{path}'")
    except json.JSONDecodeError as error:
        if not lines and not _first_line_is_object(path, text):
            raise InputError(
                f"'{path}' starts like JSON but is not (line {error.lineno}: {error.msg}); correct "
                "that line or save the file as CSV"
            ) from None
        return _lines(path, text)
    if lines:
        return document if _are_objects(document) else _lines(path, text)
    rows = _listed(path, document)
    if not _are_objects(rows):
        raise InputError(
            f"'{path}' holds no list of examples; write one object per line, or a list of objects "
            'as {"examples": [...]}'
        )
    wrapped = [row.get("row") for row in rows]
    return wrapped if _are_objects(wrapped) else rows


def _lines(path: Path, text: str) -> list[dict[str, object]]:
    rows = []
    for number, line in enumerate(_LINE_END.split(text), start=1):
        if not line.strip():
            continue
        place = f"line {number} of '{path}'"
        try:
            row = _parsed(line, place)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{place} is not JSON ({error.msg}); write one object per line"
            ) from None
        if not isinstance(row, dict):
            raise InputError(f"{place} is not a JSON object; write one per line")
        rows.append(row)
    return rows


def _listed(path: Path, document: Any) -> Any:
    """What may be the list of rows in a document: a list with a usual name or without another one
    beside it, or the document itself, if it is a list or a single row."""
    if not isinstance(document, dict):
        return document
    for name in _LISTS:
        if _are_objects(document.get(name)):
            return document[name]
    columns = [name for name in (*QUESTION_COLUMNS, *ANSWER_COLUMNS) if name in document]
    # The answer alone may be a list: several references of a single row.
    if columns and isinstance(document[columns[0]], list | dict):
        raise InputError(
            f"'{path}' holds its columns one after the other (the first is "
            f"{shown(document[columns[0]])}); write it row by row, in pandas with orient='records'"
        )
    if columns:
        return [document]
    lists = [value for value in document.values() if _are_objects(value)]
    return lists[0] if len(lists) == 1 else None


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _first_line_is_object(path: Path, text: str) -> bool:
    first = _LINE_END.split(text.lstrip(), maxsplit=1)[0]
    try:
        return isinstance(_parsed(first, f"'{path}'"), dict)
    except json.JSONDecodeError:
        return False


def _parsed(text: str, place: str) -> Any:
    """What ``text`` stands for, with numbers as exact as they are written."""
    try:
        return json.loads(text, object_pairs_hook=row_of, parse_float=_decimal, parse_int=_integer)
    except RecursionError:
        raise InputError(f"{place} is nested too deeply; write one flat object per row") from None


def _integer(digits: str) -> int | Decimal:
    # Python refuses to read very long ones.
    return int(digits) if len(digits) <= MOST_DIGITS else Decimal(digits)


def _decimal(digits: str) -> Decimal | float:
    try:
        return Decimal(digits)
    except InvalidOperation:
        return float(digits)  # an exponent beyond all measure: infinite, or zero
