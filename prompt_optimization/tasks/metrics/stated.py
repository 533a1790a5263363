"""Metrics that look at one thing in a text: its answer, an option, a number, a match, a field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.answers import flexible_match, strict_match
from prompt_optimization.tasks.metrics.metric import Metric, best
from prompt_optimization.tasks.reading.labels import chosen_letter, letter_of
from prompt_optimization.tasks.reading.numerals import find_numeral
from prompt_optimization.tasks.reading.quantities import Quantity, quantity_of, stated_quantity
from prompt_optimization.tasks.reading.spelling import canonical, joined, plain

STRICT = Metric("strict", best(strict_match), reads_beginning=True)
FLEXIBLE = Metric("flexible", best(flexible_match), reads_beginning=True)

# Numbers stay as they are written.
_DECODER = json.JSONDecoder(parse_float=Decimal)
_OPENING = re.compile(r"[{\[]")
# Places in a text where JSON may begin; nobody writes more.
_TRIES = 200
_FENCED = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)


def _letter(reference: str) -> str | None:
    return letter_of(canonical(reference).strip().upper())


def _chooses(text: str, reference: str) -> bool:
    expected = _letter(reference)
    return expected is not None and chosen_letter(plain(canonical(text))) == expected


CHOICE = Metric(
    "choice",
    best(_chooses),
    reads_beginning=True,
    demand=lambda reference: None if _letter(reference) else "is not the letter of an option",
)


def _contains(text: str, reference: str) -> bool:
    """Whether the words of ``reference`` stand in ``text``, up to case and white space. A number is
    one word, with its sign and its decimals."""
    whole, part = (" ".join(canonical(each).casefold().split()) for each in (text, reference))
    at = whole.find(part)
    while at >= 0:
        end = at + len(part)
        if not joined(whole, at) and not joined(whole, end) and not _cuts_number(whole, at, end):
            return True
        at = whole.find(part, at + 1)
    return False


def _cuts_number(text: str, start: int, end: int) -> bool:
    """Whether a number stands partly within [start, end) and partly outside."""
    at = 0
    while (numeral := find_numeral(text, at)) and numeral.start < end:
        at = numeral.end
        if numeral.value is None:
            continue
        begins = numeral.start if numeral.value < 0 else numeral.first_digit
        if numeral.end > start and (begins < start or numeral.end > end):
            return True
    return False


CONTAINS = Metric("contains", best(_contains))


def number(tolerance: float) -> Metric:
    """The first number that the text states is at most ``tolerance`` away from the reference."""
    most = Fraction(str(tolerance))

    def expected(reference: str) -> Quantity | None:
        return quantity_of(plain(canonical(reference).strip()))

    def is_near(text: str, reference: str) -> bool:
        stated, wanted = stated_quantity(plain(canonical(text).strip())), expected(reference)
        if stated is None or wanted is None:
            return False
        return abs(stated.value - wanted.value) <= most

    return Metric(
        "number",
        best(is_near),
        reads_beginning=True,
        demand=lambda reference: None if expected(reference) else "is not a number",
    )


def regex(pattern: str) -> Metric:
    """What the last match of ``pattern`` holds, in its first group if it has one, is a reference.

    Raises:
        InputError: the pattern is none, or matches the empty text.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"the pattern '{pattern}' is no regular expression ({error}); correct it",
            key="task.pattern",
        ) from None
    if compiled.search(""):
        raise InputError(
            f"the pattern '{pattern}' matches the empty text, so it says nothing of an answer; "
            "give one that needs at least a character",
            key="task.pattern",
        )

    def last(text: str) -> str | None:
        matches = list(compiled.finditer(text))
        return (matches[-1][1] if compiled.groups else matches[-1][0]) if matches else None

    def states(text: str, references: Sequence[str]) -> bool:
        found = last(text)
        return found is not None and any(flexible_match(found, each) for each in references)

    return Metric("regex", states, finds=lambda text: last(text) is not None)


def json_field(path: str) -> Metric:
    """The value at ``path``, names and numbers of items with dots between, of the JSON in a text.

    Raises:
        InputError: the path is empty.
    """
    names = path.split(".")
    if not all(names):
        raise InputError(
            f"the field '{path}' names nothing in a JSON object; give its name, or names with dots "
            "between, such as 'answer' or 'result.0.name'",
            key="task.field",
        )

    def field(text: str) -> Any:
        return next((value for value in _fields(text, names) if value is not None), None)

    def states(text: str, references: Sequence[str]) -> bool:
        value = field(text)
        if isinstance(value, dict | list):
            return any(_parsed(reference) == value for reference in references)
        return value is not None and any(flexible_match(str(value), each) for each in references)

    return Metric("json_field", states, finds=lambda text: field(text) is not None)


def _fields(text: str, names: Sequence[str]) -> Iterator[Any]:
    """What stands at the path in the JSON that ``text`` is, that its fenced blocks hold, and that
    stands between its other words: the last one first."""
    for candidate in (text, *reversed(_FENCED.findall(text))):
        yield _at(_parsed(candidate), names)
    found, at = [], 0
    for _ in range(_TRIES):
        opened = _OPENING.search(text, at)
        if opened is None:
            break
        try:
            value, at = _DECODER.raw_decode(text, opened.start())
            found.append(value)
        except (ValueError, RecursionError):
            at = opened.end()
    yield from (_at(value, names) for value in reversed(found))


def _parsed(text: str) -> Any:
    """What a JSON text stands for; None where it is none."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


def _at(value: Any, names: Sequence[str]) -> Any:
    for name in names:
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value
