"""Does what stands after an expression make it another one?"""

from __future__ import annotations

import re
import unicodedata

from prompt_optimization.tasks.reading.spelling import in_word, joined
from prompt_optimization.tasks.reading.words import IS, OR, WRONG, one_of

# Marks that open and close an expression; nobody writes more of them together.
OPENED = r"[ \"'`(\[{$*]{0,8}"
CLOSED = r"(?:\*\*|[\"'`)\]}$]){0,8}"

_CLOSING = re.compile(CLOSED)
OFFERED = rf"(?:{CLOSED} ?[,;]?\n? ?\(?)(?:{one_of(OR)}|vs\.)"
_OFFER = re.compile(rf"{OFFERED}|{CLOSED} ?[/|]", re.IGNORECASE)
_DENIAL = re.compile(
    rf"{CLOSED} ?(?:(?:{one_of(IS)}|'s)\s+(?:{one_of(WRONG)})"
    r"|(?:is|was|are|were|wo|ca|does|did)n't\b|(?:cannot|can't|does not|did not)\b)",
    re.IGNORECASE,
)
# Attached, these are part of what they are attached to; other punctuation ends it.
_BINDING = frozenset("#&@%\\/\u2030\u2031_-([{")


def lengthened(text: str, at: int) -> bool:
    """Whether the character at ``at`` belongs to the expression that ends before it.

    ``A+``, ``A-B``, ``f(x)``, ``x_1``, ``Node.js`` and ``12:30`` go on; a full stop, a closing mark
    and an emoji end what they follow.
    """
    if joined(text, at):
        return True
    if not 0 < at < len(text) or text[at].isspace():
        return False
    before, here, after = text[at - 1], text[at], text[at + 1 : at + 2]
    if here == ".":
        is_initial = after.isupper() and not text[at + 2 : at + 3].islower()
        return after.isdigit() or after.islower() or is_initial
    if here == ",":
        return before.isdigit() and after.isdigit()
    if here == ":":
        return in_word(after)
    if here == "'":
        # Closes a quotation, or is a prime or an apostrophe.
        is_symbol = not in_word(text[at - 2 : at - 1])
        return in_word(after) or (is_symbol and "'" not in text[:at])
    if text.startswith(("--", "**"), at):
        return text[at + 2 : at + 3].isdigit()
    if here in _BINDING:
        return True
    category = unicodedata.category(here)
    if here in "$`" or (category == "So" and in_word(before) and here != "\N{DEGREE SIGN}"):
        return False
    return category[0] == "S" or here == "*"


def after_closing(text: str, at: int) -> int:
    """Where the marks that close an expression (quotes, brackets, ``**``, ``$``) end."""
    found = _CLOSING.match(text, at)
    assert found is not None
    return found.end()


def is_offered(text: str, at: int) -> bool:
    """Whether another choice is offered after ``at``: ``or``, its like in other languages, a slash
    or a bar."""
    return _OFFER.match(text, at) is not None


def is_denied(text: str, at: int) -> bool:
    """Whether what ends at ``at`` is said to be wrong: ``A is not``, ``B is wrong``."""
    return _DENIAL.match(text, at) is not None
