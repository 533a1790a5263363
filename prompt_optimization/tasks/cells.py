"""What one cell of a table says, as text."""

from __future__ import annotations

import math
import numbers
import re
import reprlib
from dataclasses import dataclass
from decimal import Decimal

from prompt_optimization.errors import InputError, check_characters

# A longer number is a slip, and an exponent could ask for more digits than there is memory.
MOST_DIGITS = 1000

# White space, a byte order mark, and characters of no width.
_UNSEEN = "[\\s\ufeff\u200b\u2060\u200e\u200f]+"
_AROUND = re.compile(rf"\A{_UNSEEN}|{_UNSEEN}\Z")
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


@dataclass(frozen=True)
class Repeated:
    """What a row says twice, under one name, in two ways."""

    first: object
    second: object


def text_of(value: object, what: str) -> str:
    """The text of a cell.

    Numbers are written out (``1e3`` is 1000), truth values are ``True`` and ``False``.

    Args:
        value: as a file or a data frame holds it.
        what: names the cell in messages, such as ``'answer' of row 3 of 'task.csv'``.

    Raises:
        InputError: the cell is missing or blank, holds something else than a text, a number or a
            truth value, or a character that no model reads.
    """
    if isinstance(value, Repeated):
        raise InputError(
            f"{what} is given twice, as {shown(value.first)} and {shown(value.second)}; keep one "
            "of them"
        )
    if is_missing(value):
        raise InputError(f"{what} is {value}; fill it in")
    if isinstance(value, str | bool):
        text = str(value)
    elif isinstance(value, numbers.Real | Decimal):
        text = _written_out(value, what)
    else:
        raise InputError(f"{what} is {shown(value)}; write it as a string")
    if not trimmed(text):
        raise InputError(f"{what} is empty; fill it in")
    check_characters(text, what)
    return text


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: null in JSON, not a number or not available in a data frame."""
    if isinstance(value, float | Decimal):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def is_blank(value: object) -> bool:
    """Whether a cell says nothing, as one that need not be filled in may."""
    return is_missing(value) or (isinstance(value, str) and not value.strip())


def trimmed(text: str) -> str:
    """``text`` without the white space around it, and without what cannot be seen there."""
    return _AROUND.sub("", text)


def shown(value: object) -> str:
    """A value for a message, shortened."""
    return _SHORT.repr(value)


def _written_out(value: numbers.Real | Decimal, what: str) -> str:
    """A number with all its digits and without an exponent."""
    if isinstance(value, numbers.Integral):
        number = Decimal(int(value))
    elif isinstance(value, numbers.Rational):
        return str(value)
    else:
        number = Decimal(str(value))
    if not number.is_finite() or abs(number.adjusted()) >= MOST_DIGITS:
        raise InputError(f"{what} is {number:.6e}; write it as a string")
    return f"{number:f}"
