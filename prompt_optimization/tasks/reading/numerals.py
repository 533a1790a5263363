"""One number as people of several countries and typesetters write it, and its value."""

# Characters that look alike are what this is about.
# ruff: noqa: RUF001

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from prompt_optimization.tasks.reading.spelling import UNSPACED

# Longer ones are no numbers that anybody states, and cost time.
LONGEST = 100

_CURRENCIES = "$€£¥₹₽₩₺₴₦₫₱₪฿₡₵¢"
_SIGN_WORDS = "minus|negative|moins|menos|meno|минус|负|負|マイナス"
_HEAD = re.compile(
    rf"(?P<sign>(?:(?<![\w)\]])[-+]|(?<!\w)(?i:{_SIGN_WORDS})(?!\w))\s*)?"
    rf"(?P<currency>(?<!\w)(?:[A-Z]{{0,3}}[{_CURRENCIES}]|USD|EUR|GBP|CHF|JPY|INR|CNY|Rs\.?)\s*)?"
    r"(?P<inner>[-+]\s*)?(?=\.?\d)"
)
_RUN = re.compile(r"\.?\d(?:[.,'_ ]?\d)*")
_MIXED = re.compile(r"(\d+) (\d+)/(\d+)(?![\d/])(?![.,]\d)")
_FRACTION = re.compile(r"(\d+)/(\d+)(?![\d/])(?![.,]\d)")
# How whole numbers are grouped and decimals set off: pattern, mark of the groups, decimal mark.
_STYLES = [
    (re.compile(pattern), group, point)
    for pattern, group, point in (
        (r"\d+|\d*\.\d+", "", "."),
        (r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", ",", "."),
        # Lakhs and crores: 1,00,000.
        (r"[1-9]\d?(?:,\d{2})+,\d{3}(?:\.\d+)?", ",", "."),
        (r"[1-9]\d{0,2}(?: \d{3})+(?:\.\d+)?", " ", "."),
        (r"[1-9]\d{0,2}(?:'\d{3})+(?:\.\d+)?", "'", "."),
        (r"[1-9]\d{0,2}(?:_\d{3})+(?:\.\d+)?", "_", "."),
        (r"[1-9]\d{0,2}(?: \d{3})+,\d+", " ", ","),
        (r"[1-9]\d{0,2}(?:'\d{3})+,\d+", "'", ","),
        (r"[1-9]\d{0,2}(?:\.\d{3})+,\d+", ".", ","),
        (r"[1-9]\d{0,2}(?:\.\d{3}){2,}", ".", ","),
        # Three digits after one comma are a group, unless a nought stands before it.
        (r"\d+,\d{1,2}|0,\d+", "", ","),
    )
]
_EXPONENT = re.compile(r"[eE]([-+]?\d{1,3})(?!\w)|\s?[×x*·]\s?10\^\(?([-+]?\d{1,3})\)?(?![\w.]\d)")
_POWER_OF_TEN = re.compile(r"\^\(?([-+]?\d{1,3})\)?(?![\w.]\d)")
_LETTER_SCALES = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_WORD_SCALES: dict[str, Fraction] = {
    word: Fraction(scale)
    for words, scale in (
        ("hundred hundreds 百 백", 100),
        ("thousand thousands tausend mille mila mil тысяча тысячи тысяч 千 천 हज़ार ألف", 10**3),
        ("万 萬 만", 10**4),
        ("lakh lakhs लाख", 10**5),
        ("mn mln mio million millions millionen millón millones milione milioni", 10**6),
        ("milhão milhões миллион миллиона миллионов млн مليون", 10**6),
        ("crore crores करोड़", 10**7),
        ("亿 億 억", 10**8),
        ("bn billion billions milliard milliards milliarde milliarden mrd", 10**9),
        ("miliardo miliardi миллиард миллиарда миллиардов млрд", 10**9),
        ("tn trillion trillions 兆 조", 10**12),
        ("dozen", 12),
        ("third thirds", Fraction(1, 3)),
        ("fifth fifths", Fraction(1, 5)),
        ("tenth tenths", Fraction(1, 10)),
        ("hundredth hundredths % percent pct prozent", Fraction(1, 100)),
        ("thousandth thousandths ‰", Fraction(1, 1000)),
    )
    for word in words.split()
}
_SCALE = re.compile(
    r"\s?(?:(?P<letter>[kKMBT])(?!\w)"
    rf"|(?P<word>per cent(?!\w)|(?:{'|'.join(sorted(_WORD_SCALES, key=len, reverse=True))})"
    rf"(?:(?<=[{UNSPACED}%‰])|(?!\w))))",
    re.IGNORECASE,
)
_HALF = re.compile(r"\s+and (?:a|one) half(?!\w)", re.IGNORECASE)


@dataclass(frozen=True)
class Numeral:
    """A number in a text.

    Attributes:
        value: None where digits stand together that are no one number: ``1.2.3``, ``12 34``.
        is_quotient: whether it is written as a fraction.
        currency: the sign or code before it, else empty.
        start, end: where it stands, with its sign and currency.
        first_digit: where it stands without them.
    """

    value: Fraction | None
    is_quotient: bool
    currency: str
    start: int
    first_digit: int
    end: int


def find_numeral(text: str, start: int) -> Numeral | None:
    """The first number in a plain ``text`` from ``start`` on; None where there is no digit."""
    head = _HEAD.search(text, start)
    return None if head is None else _numeral(text, head)


def numeral_at(text: str, at: int) -> Numeral | None:
    """The number that begins at ``at`` in a plain ``text``, with its sign and currency."""
    head = _HEAD.match(text, at)
    return None if head is None else _numeral(text, head)


def _numeral(text: str, head: re.Match[str]) -> Numeral:
    number = unsigned_at(text, head.end())
    value = number.value
    for sign in (head["sign"], head["inner"]):
        if value is not None and (sign or "+").strip() != "+":
            value = -value
    currency = (head["currency"] or "").strip()
    return Numeral(value, number.is_quotient, currency, head.start(), head.end(), number.end)


def unsigned_at(text: str, at: int) -> Numeral:
    """The number whose first digit (or decimal point) is at ``at`` in a plain ``text``."""
    is_quotient = False
    value: Fraction | None
    if (mixed := _MIXED.match(text, at)) and _is_short(mixed) and int(mixed[3]):
        value, end = int(mixed[1]) + Fraction(int(mixed[2]), int(mixed[3])), mixed.end()
    elif (quotient := _FRACTION.match(text, at)) and _is_short(quotient) and int(quotient[2]):
        value, end = Fraction(int(quotient[1]), int(quotient[2])), quotient.end()
        is_quotient = True
    else:
        run = _RUN.match(text, at)
        assert run is not None, text[at : at + 10]
        value, end = _written(run[0]), run.end()
        if value is not None and (exponent := _EXPONENT.match(text, end)):
            value, end = value * Fraction(10) ** int(exponent[1] or exponent[2]), exponent.end()
        elif value == 10 and (power := _POWER_OF_TEN.match(text, end)):
            value, end = Fraction(10) ** int(power[1]), power.end()
    if value is not None and (half := _HALF.match(text, end)):
        value, end = value + Fraction(1, 2), half.end()
    while value is not None and (scale := _SCALE.match(text, end)):
        factor = _scale(scale)
        if factor is None:
            break
        value, end = value * factor, scale.end()
    return Numeral(value, is_quotient, "", at, at, end)


def _is_short(found: re.Match[str]) -> bool:
    return len(found[0]) <= LONGEST


def _written(run: str) -> Fraction | None:
    """The value of digits with marks between them."""
    if len(run) > LONGEST:
        return None
    for style, group, point in _STYLES:
        if style.fullmatch(run):
            digits = run.replace(group, "") if group else run
            return Fraction(digits.replace(point, "."))
    return None


def _scale(found: re.Match[str]) -> Fraction | None:
    if letter := found["letter"]:
        scale = _LETTER_SCALES.get(letter)
        return None if scale is None else Fraction(scale)
    return Fraction(1, 100) if " " in found["word"] else _WORD_SCALES[found["word"].lower()]
