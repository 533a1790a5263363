"""The number that a text states: its first expression that is one, read to its end."""

# Characters that look alike are what this is about.
# ruff: noqa: RUF001

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from prompt_optimization.tasks.reading.endings import CLOSED, OFFERED, OPENED, is_denied
from prompt_optimization.tasks.reading.numerals import Numeral, find_numeral, numeral_at
from prompt_optimization.tasks.reading.spelling import in_word, joined
from prompt_optimization.tasks.reading.words import AND, IS, NOT, OR, one_of

_LETTER = r"[^\W\d_]"
_WORD = rf"{_LETTER}+(?!{_LETTER})\.?(?:[/·]{_LETTER}+(?!{_LETTER}))?"
# At most two words: "fresh apples", "km/h".
_UNIT = rf"(?:[ -]?{_WORD}(?:[ -]{_WORD})?|[ ]?[°%€£¥¢])"
_NUMBER = rf"{OPENED}[€£¥]?(?:[-+]\s?)?[ (€£¥$]{{0,4}}\.?\d"
_OPERAND = rf"(?={_NUMBER}|{OPENED}(?:[-+]\s?)?{OPENED}{_LETTER}(?![\w']))"

# Between a number and a second operand. These are operators whatever follows, even at the end of a
# text that was cut off; ``-`` is prose unless an operand follows it or nothing does.
_OPERATOR = rf"(?:[+÷×±√]|\^|\*(?!\*)|(?<!{_LETTER})[xX](?![\w'])|[-/]{{1,8}}\s*$)"
_SYMBOL = r"(?:\*\*|[-/:<>≤≥≠·•&|~%])\s*"
_OPERATOR_WORD = (
    r"(?:(?<!\w)(?:plus|minus|times|over|by|multiplied by|divided by|mod|choose|point|to|through"
    r"|until|till|of|out of|mal|fois|por|bis|à|hasta|до)(?!\w)|(?:至|到|から|乘|加|减))\s*"
)
_LIST = rf"(?:(?:[,;]\s*)?(?:{one_of(AND)}|{one_of(OR)})|[,;]|\.\.+|…)\s*"
_CONTINUED = re.compile(
    rf"{CLOSED} ?(?:{_OPERATOR}|{_SYMBOL}{_OPERAND}|(?:{_OPERATOR_WORD}|{_LIST})(?={_NUMBER})"
    rf"|{_UNIT}{CLOSED} ?(?:{_OPERATOR}|(?:{_SYMBOL}|{_OPERATOR_WORD}|{_LIST})(?={_NUMBER})))",
    re.IGNORECASE,
)
# Directly after the number only.
_ATTACHED = re.compile(
    rf"!|\s+(?:squared|cubed|factorial)(?!\w)|\(\s*[-+]?\.?\d|[.,/_]\d|/[a-z](?!\w)|{OFFERED}"
    rf"|{CLOSED} (?=[-+$€£¥]{{0,2}}\.?\d)",
    re.IGNORECASE,
)
# One quantity in two units: 5 feet 3, 12 h 30.
_COMPOUND = re.compile(
    r"[ -]?(?:h|hr|hrs|hours?|m|min|mins|minutes?|days?|weeks?|months?|years?|ft|feet|foot|'|°|km|"
    r"kg|lbs?|pounds?|stone|dollars?|euros?|Uhr|heures?|点|點|时|時|分|年|月)[ ,]*(?:and )?\d",
    re.IGNORECASE,
)
_LETTERS = re.compile(rf"{_LETTER}+")
_OPENED = re.compile(rf"{OPENED}[€£¥]?")
_VARIABLE = re.compile(rf"[-+]?\s?{_LETTER}(?![\w'])")
_UNIT_LETTERS = frozenset("gshLlWV")
_ORDINAL = re.compile(r"(?:st|nd|rd|th|er|ème|ª|º)(?!\w)", re.IGNORECASE)

_EQUALS = r"(?P<about>≈|≅|~=)|==?>?|→|⇒|[-=]>|equals|is equal to|makes|gives|ergibt|macht|равно"
_SIDE_ENDS = rf"{CLOSED} ?(?:{_UNIT})?{CLOSED} ?"
_EQUATION = re.compile(rf"{_SIDE_ENDS}(?:{_EQUALS})\n?{OPENED}", re.IGNORECASE)
_RESULT = re.compile(rf"{_SIDE_ENDS}(?:{_EQUALS}|{one_of(IS)})\n?{OPENED}", re.IGNORECASE)

# What stands before a number that is not stated, and before one that is part of something else.
_DENIED = re.compile(rf"(?:{one_of(NOT)}|n't|rather than|instead of)\n?{OPENED}$", re.IGNORECASE)
_BEGUN = re.compile(
    rf"(?:{one_of(OR)}|at least|at most|(?:more|less|fewer|greater|higher|lower) than|up to"
    r"|\b(?:over|under|above|below)|[≤≥≠√∛±]|(?<![-=])[<>]"
    rf"|(?<![\w'])(?:{_LETTER}|sqrt|log|ln|sin|cos|tan|exp|abs)[(\[]"
    rf"|(?:(?<![\w']){_LETTER}|[)\]])\s*[-+*/^×·÷])\n?{OPENED}$",
    re.IGNORECASE,
)
# (3,4) is a pair, 3,4 the number that others write 3.4.
_PAIR = re.compile(r"[(\[{]\d+,\d{1,2}(?!\d)")


@dataclass(frozen=True)
class Quantity:
    """A number as it is stated; ``currency`` is the sign or code before it, else empty."""

    value: Fraction
    currency: str = ""

    def answers(self, expected: Quantity) -> bool:
        """Whether who expects ``expected`` gets it: the same value, and no other currency.

        A text may leave a dollar out, because ``$`` delimits mathematics as well, and may add a
        currency where none is expected.
        """
        return self.value == expected.value and (
            not expected.currency
            or self.currency == expected.currency
            or (expected.currency == "$" and not self.currency)
        )


def quantity_of(text: str) -> Quantity | None:
    """The number that the whole of a plain ``text`` is; None for anything else."""
    numeral = numeral_at(text, 0)
    if numeral is None or numeral.value is None or text[numeral.end :].strip(".$ "):
        return None
    return Quantity(numeral.value, numeral.currency)


def stated_quantity(text: str) -> Quantity | None:
    """The number that a plain ``text`` states; None for none.

    A number that goes on states nothing by its first part: ``15 * 5``, ``3:4``, ``10-12``,
    ``1, 2``, ``12 or 13``, ``15!``. An equation states what its plain sides agree on:
    ``15 * 5 = 75`` is 75. Percent, magnitudes and powers of ten belong to the value; a unit is
    passed over.
    """
    start = 0
    while numeral := find_numeral(text, start):
        start = numeral.end
        if _is_in_name(text, numeral.start):
            continue
        before = [text[max(0, at - 40) : at] for at in (numeral.start, numeral.first_digit)]
        if any(map(_BEGUN.search, before)) or _PAIR.match(text, max(0, numeral.start - 1)):
            return None
        if any(map(_DENIED.search, before)) or is_denied(text, numeral.end):
            continue
        return _read(text, numeral)
    return None


def _is_in_name(text: str, start: int) -> bool:
    """Whether the digits at ``start`` belong to a name or a power: ``B12``, ``F-16``, ``x^2``."""
    before, further = text[start - 1 : start], text[max(0, start - 2) : max(0, start - 1)]
    return joined(text, start) or before in ("_", "^", "/") or (before == "-" and in_word(further))


def _read(text: str, numeral: Numeral) -> Quantity | None:
    """What the expression that begins with ``numeral`` states."""
    sides: list[Numeral] = []
    is_calculated = False
    side: Numeral | None = numeral
    while side is not None:
        end, is_plain = _side(text, side)
        if is_plain:
            sides.append(side)
        is_calculated |= not is_plain
        found = (_RESULT if is_calculated else _EQUATION).match(text, end)
        if found is None:
            break
        if found["about"]:
            sides.clear()
        side = numeral_at(text, found.end())
    plain_sides = [each for each in sides if not each.is_quotient] or sides
    values = {each.value for each in plain_sides}
    if len(values) != 1:
        return None
    last = plain_sides[-1]
    return None if last.value is None else Quantity(last.value, last.currency)


def _side(text: str, numeral: Numeral) -> tuple[int, bool]:
    """Where the side of an equation that begins with ``numeral`` ends, and whether it is a number
    alone."""
    end, is_plain = numeral.end, numeral.value is not None
    while True:
        if joined(text, end):
            unit = _LETTERS.match(text, end)
            is_unit = unit is not None and (len(unit[0]) > 1 or unit[0] in _UNIT_LETTERS)
            is_plain &= is_unit and not _ORDINAL.match(text, end)
        if _COMPOUND.match(text, end):
            is_plain = False
        operator = _ATTACHED.match(text, end) or _CONTINUED.match(text, end)
        if operator is None:
            return end, is_plain
        is_plain = False
        operand = _operand(text, operator.end())
        if operand is None:
            return operator.end(), is_plain
        end = operand


def _operand(text: str, at: int) -> int | None:
    """Where the operand ends that begins at ``at``, marks before it apart; None for none."""
    opened = _OPENED.match(text, at)
    assert opened is not None
    if numeral := numeral_at(text, opened.end()):
        return numeral.end
    variable = _VARIABLE.match(text, opened.end())
    return variable.end() if variable else None
