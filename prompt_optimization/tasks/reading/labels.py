"""Which option does a text choose: a letter, or a word of a closed set such as yes and no?"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prompt_optimization.tasks.reading.endings import (
    CLOSED,
    OPENED,
    is_denied,
    is_offered,
    lengthened,
)
from prompt_optimization.tasks.reading.spelling import in_word, joined
from prompt_optimization.tasks.reading.words import AND, GOES_ON_ABOUT, NOT, OR, one_of

LABEL_SETS = (
    frozenset({"yes", "no"}),
    frozenset({"true", "false", "uncertain"}),
    frozenset({"true", "false", "unknown"}),
    frozenset({"valid", "invalid"}),
    frozenset({"plausible", "implausible"}),
    frozenset({"positive", "negative", "neutral"}),
    frozenset({"subjective", "objective"}),
    frozenset({"entailment", "contradiction", "neutral"}),
    frozenset({"world", "sports", "business", "technology"}),
    frozenset({"description", "entity", "abbreviation", "human", "location", "number"}),
)

# Letters that are words as well; in small print all are, or may be.
_ONE_LETTER_WORDS = "AIO\u0410\u0412\u0418\u041a\u041e\u0421\u0423\u042f"
_RANGE = frozenset({"to", "through", "bis"})
_BRACKETED = re.compile(r"[(\[{]\s*([^\W\d_])\s*[)\]}]")
_NEXT_WORD = re.compile(r"\s+([^\W\d_]+)")
_NEGATED = re.compile(
    rf"(?:{one_of(NOT)}|n't\b|rather than|instead of|[\u00ac!~])\n?{OPENED}"
    rf"(?:(?!(?:but|sondern|mais|sino|но)(?!\w))[^\W\d_]+(?![^\W\d_]) ?{OPENED}){{0,2}}$",
    re.IGNORECASE,
)
_JOINED = re.compile(rf"(?:{one_of(OR | AND)}|(?<=[^\W_] )[/|&]) ?{OPENED}$", re.IGNORECASE)
_BETWEEN = r"[\s,;:&=<>\u2192\u2194\u21d2+\"'`()\[\]{}$*\u2022\u00b7-]*"
_OPERATION = re.compile(
    rf"{CLOSED} +(?:[+\u00d7\u00f7/^&|<>\u2227\u2228\u2295\u2264\u2265\u2260]|\*(?!\*))"
)
_ADDED = re.compile(
    rf"{_BETWEEN}(?:{one_of(AND | _RANGE)}|&){_BETWEEN}(?:{one_of(NOT)}{_BETWEEN})*", re.IGNORECASE
)
_LISTED = re.compile(_BETWEEN)
_DONE = re.compile(rf"{CLOSED}\s*(?:$|[,;.!?/|\n]|\$|\*\*)")
_BLANK_LINE = re.compile(r"\n\s*\n")
_ITEM_MARK = re.compile(r"[)\].:]")
_NO_CHOICE_BETWEEN = re.compile(
    rf"[.!?] |\n\s*\n|{one_of(NOT)}|n't\b|{one_of(GOES_ON_ABOUT)}", re.IGNORECASE
)


@dataclass(frozen=True)
class Mention:
    """Where a text names a label, and which."""

    start: int
    end: int
    label: str


def letter_of(text: str) -> str | None:
    """The option's letter that the whole of ``text`` is, in brackets or not; None for others."""
    found = re.fullmatch(r"\(([^\W\d_])\)|([^\W\d_])", text)
    letter = (found[1] or found[2]) if found else ""
    return letter if letter.isupper() else None


def chosen_letter(text: str) -> str | None:
    """The letter of the option that a plain ``text`` chooses.

    Capitals, letters in brackets, and a small letter that opens the text. ``A`` and ``I`` before
    a word are words themselves. None when several are named as choices, or the first is denied.
    """
    mentions = list(_letters(text))
    return None if _is_list_of_options(text, mentions) else _chosen(text, mentions)


def label_set(text: str) -> frozenset[str]:
    """Every label that stands beside ``text`` in a set of labels; empty where it is in none."""
    return frozenset().union(*(labels for labels in LABEL_SETS if text.casefold() in labels))


def chosen_label(text: str, labels: frozenset[str]) -> str | None:
    """The one of ``labels`` that a plain ``text`` chooses; None when it is none or several."""
    found = re.finditer("|".join(sorted(labels, key=len, reverse=True)), text, re.IGNORECASE)
    mentions = [Mention(word.start(), word.end(), word[0].casefold()) for word in found]
    return _chosen(text, [mention for mention in mentions if _stands_alone(text, mention)])


def _chosen(text: str, mentions: Sequence[Mention]) -> str | None:
    """The first label that is stated: not denied, and not as one of several or of an expression."""
    for at, mention in enumerate(mentions):
        if is_offered(text, mention.end):
            return None
        before = text[max(0, mention.start - 60) : mention.start]
        if lengthened(text, mention.end) or _NEGATED.search(before) or is_denied(text, mention.end):
            continue
        if (
            _JOINED.search(before)
            or _OPERATION.match(text, mention.end)
            or _has_others(text, mentions[at : at + 3])
        ):
            return None
        return mention.label
    return None


def _has_others(text: str, mentions: Sequence[Mention]) -> bool:
    """Whether the second of ``mentions`` is named in the same breath as the first."""
    if len(mentions) < 2:
        return False
    one, other, *third = mentions
    between = text[one.end : other.start]
    if _BLANK_LINE.search(between):
        return False
    if _ADDED.fullmatch(between):
        return True
    if one.label == other.label or not _LISTED.fullmatch(between):
        return False
    goes_on = any(_LISTED.fullmatch(text, other.end, more.start) for more in third)
    return goes_on or _DONE.match(text, other.end) is not None


def _letters(text: str) -> Iterator[Mention]:
    at = 0
    while at < len(text):
        if found := _BRACKETED.match(text, at):
            mention = Mention(at, found.end(), found[1].upper())
        else:
            mention = Mention(at, at + 1, text[at].upper())
        at = mention.end
        if not (found or text[mention.start].isalpha()) or not _stands_alone(text, mention):
            continue
        if found is None:
            opens = not any(map(in_word, text[: mention.start]))
            if not (text[mention.start].isupper() or opens) or _is_word(text, mention):
                continue
        yield mention


def _is_word(text: str, mention: Mention) -> bool:
    """Whether a letter without brackets is a word of a sentence."""
    letter = text[mention.start]
    following = _NEXT_WORD.match(text, mention.end)
    if following is None or not following[1][0].islower():
        return False
    return (letter in _ONE_LETTER_WORDS or letter.islower()) and following[
        1
    ] not in GOES_ON_ABOUT | OR | AND | _RANGE


def _stands_alone(text: str, mention: Mention) -> bool:
    """Whether a mention is no part of a word, a name or an expression that begins before it."""
    start = mention.start
    if joined(text, mention.end) or joined(text, start):
        return False
    before, further = text[max(0, start - 1) : start], text[max(0, start - 2) : max(0, start - 1)]
    if text[start] in "([{":
        return not in_word(before) and before not in tuple("-+/^")
    if in_word(further) and (before in "-/&@#^_\\|.%*'([{" or _is_operator(before)):
        return False
    return before == "" or not (before in "-/&@#^_\\|" or _is_operator(before))


def _is_operator(character: str) -> bool:
    return unicodedata.category(character) == "Sm" and character not in "=>\u00ac~"


def _is_list_of_options(text: str, mentions: Sequence[Mention]) -> bool:
    """Whether ``text`` only repeats the options: one letter after the other, each as an item."""
    if len(mentions) < 2:
        return False
    one, two = mentions[:2]
    starts = []
    for mention in (one, two):
        mark = _ITEM_MARK.match(text, mention.end)
        if mark is None and text[mention.start] not in "([{":
            return False
        starts.append(mark.end() if mark else mention.end)
    between = text[starts[0] : two.start]
    is_next = len(one.label + two.label) == 2 and ord(two.label) == ord(one.label) + 1
    return is_next and _NO_CHOICE_BETWEEN.search(between) is None
