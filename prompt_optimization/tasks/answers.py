"""Does a generated text state the reference answer?

Two readings are reported side by side. *Strict*: the text starts with the answer, letter for
letter. *Flexible*: the first thing in the text that has the answer's form (a number, an option
letter, yes/no, ...) equals it. ``-50`` is never ``50``, and ``12`` is never ``1``.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
_LETTER = re.compile(r"\(?\b([A-Z])\b\)?")
_WORD_SETS = (
    {"yes", "no"},
    {"true", "false", "uncertain"},
    {"valid", "invalid"},
    {"plausible", "implausible"},
)


def strict_match(text: str, answer: str) -> bool:
    """True when ``text``, leading white space apart, begins with ``answer`` and then ends a word
    (for numbers: and no further digits follow a separator)."""
    text = text.lstrip()
    if not text.startswith(answer):
        return False
    rest = text[len(answer) :]
    if not answer[-1].isalnum():
        return True
    return not (rest[:1].isalnum() or re.match(r"[.,]\d", rest))


def flexible_match(text: str, answer: str) -> bool:
    """True when the first expression in ``text`` of the answer's own form equals ``answer``."""
    if (expected := _number(answer)) is not None:
        found = _NUMBER.search(text)
        return found is not None and _number(found.group()) == expected
    if re.fullmatch(r"[A-Z]", answer):
        letter = _LETTER.search(text)
        return letter is not None and letter.group(1) == answer
    words = _words(text)
    for options in _WORD_SETS:
        if answer.casefold() in options:
            first = next((word for word in words if word in options), None)
            return first == answer.casefold()
    expected_words = _words(answer)
    return words[: len(expected_words)] == expected_words


def _number(text: str) -> Decimal | None:
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None


def _words(text: str) -> list[str]:
    # Anything without letters and digits (brackets of dyck_languages) counts symbol by symbol.
    return re.findall(r"\w+|[^\w\s,$*.]", text.casefold())
