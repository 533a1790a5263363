"""Does a generated text state the reference answer?

Two readings are reported side by side. *Strict*: the text starts with the answer, letter for
letter, and goes on with nothing that would make it another one. *Flexible*: the first thing in
the text that has the answer's form (a number, an option's letter, yes/no, a sequence of words or
brackets) equals it. ``-50`` is never ``50``, and ``12`` is never ``1``.
"""

from __future__ import annotations

import re
from decimal import Decimal

BRACKETS = "()[]{}<>"

# A sign counts even before a currency or a space; thousands are grouped by threes.
_NUMBER = re.compile(r"(?:(?<!\w)([-+])\s*)?[$€£]?\s*((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)")
_GOES_ON = re.compile(r"[,./-]\d")
_LETTER = re.compile(
    r"\((?P<bracketed>[A-Za-z])\)"
    # "A" and "I" are words as well.
    r"|\b(?:(?P<word>[AI])\b(?!'|\s+[a-z])|(?P<plain>[B-HJ-Z])\b)"
)
_FALLBACK_LETTER = re.compile(r"^\W*([a-z])\b(?!'|\s+[a-z])|\b([A-Z])\b")
_WORD_SETS = (
    {"yes", "no"},
    {"true", "false", "uncertain"},
    {"valid", "invalid"},
    {"plausible", "implausible"},
)
_NEGATIONS = {"not", "non", "isn't"}
# Characters as typesetters write them.
_PLAIN = str.maketrans({"\N{MINUS SIGN}": "-", "\N{RIGHT SINGLE QUOTATION MARK}": "'"})
_ITEM_MARK = re.compile(r"(?m)^\s*(?:\d+[.)]|[-*•])\s+")
_END_OF_LIST = re.compile(r"\$|\*\*|\n\s*\n|\.(?:\s|$)")


def strict_match(text: str, answer: str) -> bool:
    """True when ``text``, leading white space apart, begins with ``answer`` and what follows
    neither lengthens its last word or number nor adds an item to a sequence."""
    text = text.lstrip()
    if not text.startswith(answer):
        return False
    rest = text[len(answer) :]
    following = rest.lstrip(" ,")[:1]
    if answer[-1] in BRACKETS:
        return following == "" or following not in BRACKETS
    if rest[:1].isalnum() or _GOES_ON.match(rest):
        return False
    is_sequence = len(answer.split()) > 1
    return not (is_sequence and following.isalnum())


def flexible_match(text: str, answer: str) -> bool:
    """True when the first expression in ``text`` of the answer's own form equals ``answer``."""
    text, answer = text.translate(_PLAIN), answer.translate(_PLAIN)
    if (expected := _number(answer)) is not None:
        found = _NUMBER.search(text)
        if found is None or _GOES_ON.match(text[found.end() :]):
            return False
        return _number(found.group()) == expected
    if re.fullmatch(r"[A-Z]", answer):
        return _letter(text) == answer
    if answer and answer.strip(BRACKETS + " ") == "":
        return _brackets(text) == answer.replace(" ", "")
    for options in _WORD_SETS:
        if answer.casefold() in options:
            return _option(text, options) == answer.casefold()
    words = _words(answer)
    return [word for word in _listed(text) if word != "and" or word in words] == words


def _number(text: str) -> Decimal | None:
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        return None
    sign, digits = found.groups()
    return Decimal((sign or "") + digits.replace(",", ""))


def _letter(text: str) -> str | None:
    """The option that ``text`` names first."""
    if found := _LETTER.search(text):
        return str(found.group(found.lastgroup or 0)).upper()
    found = _FALLBACK_LETTER.search(text)
    return (found.group(1) or found.group(2)).upper() if found else None


def _option(text: str, options: set[str]) -> str | None:
    """The first of ``options`` in ``text``; None when it is negated."""
    words = re.findall(r"[\w']+", text.casefold())
    for before, word in zip(["", *words], words, strict=False):
        if word in options:
            return None if before in _NEGATIONS else word
    return None


def _brackets(text: str) -> str:
    """The brackets at the beginning of ``text``, whatever stands between and around them."""
    run = re.match(rf"[\s,'\"`{re.escape(BRACKETS)}]*", text.split("\n\n")[0])
    assert run is not None
    return "".join(character for character in run.group() if character in BRACKETS)


def _listed(text: str) -> list[str]:
    """The words of a list, in order, without its marks."""
    text = _ITEM_MARK.sub("", text)
    end = _END_OF_LIST.search(text)
    return _words(text[: end.start()] if end else text)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
