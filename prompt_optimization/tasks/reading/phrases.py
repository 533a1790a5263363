"""Does a text state an answer of no particular form: words, a list, a formula, sentences?"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from prompt_optimization.tasks.reading.endings import (
    after_closing,
    is_denied,
    is_offered,
    lengthened,
)
from prompt_optimization.tasks.reading.latex import closing_brace
from prompt_optimization.tasks.reading.numerals import unsigned_at
from prompt_optimization.tasks.reading.spelling import in_word, joined, plain
from prompt_optimization.tasks.reading.words import AND, GOES_ON_ABOUT, IS, one_of

# Abbreviations whose full stop may be left out and ends no sentence.
_TITLES = frozenset("st dr mr mrs ms mt prof jr sr".split())
_DELIMITERS = ("$", "**")

_LEAD = re.compile(
    r"[^.!?\n]{0,60}?(?<!\w)(?:answer|result|solution|antwort|lösung|ergebnis|réponse|résultat"
    r"|respuesta|resultado|risposta|resposta|ответ|الإجابة|الجواب|उत्तर)(?!\w)"
    rf"[^.!?\n]{{0,40}}?(?:{one_of(IS)}|[:=])"
    r"|[^.!?\n]{0,20}?(?:答案|答え|答|정답|답)[は은:]?\s*[是为為:]?",
    re.IGNORECASE,
)
# Marks within marks; nobody writes more.
_NESTED = 8
_OPENING = re.compile(r"[\"'`*$\u201c\u201e\u00ab\u2018\u300c]|\\[(\[]|<[A-Za-z]\w*>")
_BOX = re.compile(r"\\(?:boxed|fbox|text|textbf|mathrm|mathbf)\s*\{")
_ITEM_MARK = re.compile(r"(?m)^[ ]*(?:\d+[.)]|[-*\u2022])[ ]+(?=\S)")

_ADDED_IN_MARKS = re.compile(rf"[ ]*{one_of(AND)}[ ]*[\"'`$(*]", re.IGNORECASE)
_SEPARATED = re.compile(rf"[ ]*[,;][ ]*(?:{one_of(AND)}[ ]*)?", re.IGNORECASE)
_END_OF_ITEM = re.compile(rf"\s*$|[]).,;!?}}\"'`\n]|[ ]+{one_of(AND)}", re.IGNORECASE)
_ADDED_TO_LIST = re.compile(r"[ ]*[,;]\s*[^\W_]")
_GAP = re.compile(r"\s*")
_OPERAND = re.compile(r"-(?:>|\s*(?:\.?\d|[^\W\d_](?!\w)))")


@dataclass(frozen=True)
class Token:
    """A word in lower case, the value of a number, or a symbol, and where it stands."""

    value: str | Fraction
    start: int
    end: int

    @property
    def is_word(self) -> bool:
        return isinstance(self.value, str) and self.value[:1].isalpha()


def statements(text: str, *, in_brackets: bool) -> Iterator[str]:
    """The rests of a canonical ``text`` with which a statement may begin: all of it, what follows
    "the answer is" and its like, and what stands within each mark that is opened there.

    ``in_brackets``: whether brackets are such marks.
    """
    lead = _LEAD.match(text)
    yield from _within_marks(text, in_brackets)
    if lead:
        after = text[lead.end() :]
        for start in (after, after.lstrip(" :")):
            yield from _within_marks(start, in_brackets)


def is_stated(text: str, answer: str) -> bool:
    """Whether a canonical ``text`` begins with ``answer``, up to case, spacing, separators and
    typesetting, and does not go on to be another one.

    Commas and semicolons only separate. Where ``answer`` consists of words, so do marks of items
    and an added "and", and brackets around all of it are marks; in formulas they count.
    """
    shown = plain(answer)
    # A tag alone, for one, is all marks.
    is_readable = any(map(in_word, shown)) or not any(map(in_word, answer))
    expected = _without_ends(_tokens(shown)) if is_readable else []
    is_words = all(token.is_word for token in expected)
    for statement in statements(text, in_brackets=is_words or len(expected) == 1):
        if statement.startswith(answer):
            rest = plain(statement[len(answer) :])
            if not _goes_on(answer + rest, len(answer), len(expected), by_lines=False):
                return True
        if expected and _begins_with(plain(statement), expected, is_words):
            return True
    return False


def _within_marks(text: str, in_brackets: bool) -> Iterator[str]:
    text = text.strip()
    for _ in range(_NESTED):
        yield text
        if box := _BOX.match(text):
            for end in {closing_brace(text, box.end()), text.rfind("}")} - {None, -1}:
                yield from _within_marks(text[box.end() : end], in_brackets)
            return
        opening = _OPENING.match(text)
        if opening is None and not (in_brackets and text[:1] in tuple("([{")):
            return
        text = text[opening.end() if opening else 1 :].strip()


def _begins_with(text: str, expected: list[Token], is_words: bool) -> bool:
    marks = 0
    is_list = all(token.is_word or isinstance(token.value, Fraction) for token in expected)
    if is_words:
        text, marks = _ITEM_MARK.subn("", text)
    matched: list[Token] = []
    for token in _tokens(text):
        if token.value == expected[len(matched)].value:
            matched.append(token)
            if len(matched) == len(expected):
                break
        elif not (matched and is_list and token.value in AND):
            return False
    if len(matched) < len(expected):
        return False
    by_lines = marks > 1 or "\n" in text[matched[0].start : matched[-1].end]
    return not _goes_on(text, matched[-1].end, len(expected), by_lines)


def _goes_on(text: str, at: int, parts: int, by_lines: bool) -> bool:
    """Whether what ends at ``at`` goes on to be another answer."""
    if lengthened(text, at) or is_offered(text, at) or is_denied(text, at):
        return True
    word = _last_word(text[:at])
    if text.startswith("!", at) and len(word) < 2:
        return True
    if text.startswith(". ", at) and word.casefold() in _TITLES:
        return True
    closed = after_closing(text, at)
    if closed > at:
        rest = text[closed:]
        return (
            in_word(rest[:1])
            or _ADDED_IN_MARKS.match(rest) is not None
            or _is_operator(rest.lstrip(" "))
        )
    if _ADDED_TO_LIST.match(text, at) if parts > 1 else _is_first_item(text, at):
        return True
    rest = text[at:].lstrip(" ")
    if by_lines and re.match(r"\n[ ]*[^\W_]", rest):
        return True
    if in_word(rest[:1]):
        return _tokens(rest)[0].value not in GOES_ON_ABOUT
    return _is_operator(rest)


def _last_word(text: str) -> str:
    """The word that ``text`` ends with; empty where it ends otherwise."""
    start = len(text)
    while start and in_word(text[start - 1]):
        start -= 1
    return text[start:]


def _is_first_item(text: str, at: int) -> bool:
    """Whether one more word is separated from what ends at ``at``, and then no sentence follows."""
    found = _SEPARATED.match(text, at)
    start = end = found.end() if found else len(text)
    while end < len(text) and in_word(text[end]):
        end += 1
    return end > start and _END_OF_ITEM.match(text, end) is not None


def _is_operator(rest: str) -> bool:
    """Whether ``rest`` begins with a symbol that joins it to an expression before it."""
    if not rest:
        return False
    first = rest[0]
    if first == "-":
        return _OPERAND.match(rest) is not None
    if first in "&%^/" or (first == "*" and not rest.startswith("**")):
        return True
    return unicodedata.category(first) in ("Sm", "Sk")


def _tokens(text: str) -> list[Token]:
    """The words, numbers and symbols of a plain ``text``; separators and quotation marks apart."""
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        token = _token(text, at)
        at = token.end
        after_title = tokens and token.value == "." and tokens[-1].value in _TITLES
        if token.value != "" and not after_title:
            tokens.append(token)
    return tokens


def _token(text: str, at: int) -> Token:
    """The token at ``at``; an empty one for what says nothing."""
    here, after = text[at], text[at + 1 : at + 2]
    if here.isspace():
        gap = _GAP.match(text, at)
        assert gap is not None
        return Token("\n\n" if gap[0].count("\n") > 1 else "", at, gap.end())
    if here.isdecimal() or (here == "." and after.isdecimal() and not joined(text, at)):
        number = unsigned_at(text, at)
        value = text[at : number.end] if number.value is None else number.value
        return Token(value, at, number.end)
    if in_word(here):
        end = at + 1
        while joined(text, end):
            end += 1
        return Token(text[at:end].casefold(), at, end)
    if here in ',;"`' or (here == "'" and _is_quotation(text, at)):
        return Token("", at, at + 1)
    end = at + 2 if text.startswith("**", at) else at + 1
    return Token(text[at:end], at, end)


def _is_quotation(text: str, at: int) -> bool:
    """Whether the mark at ``at`` belongs to a quotation; else it is a prime or an apostrophe."""
    opens = not in_word(text[at - 1 : at]) and not (text[at + 1 : at + 2] or " ").isspace()
    closes = "'" in text[:at] and not in_word(text[at + 1 : at + 2])
    return opens or closes


def _without_ends(tokens: list[Token]) -> list[Token]:
    """``tokens`` without the marks round about that end or delimit a statement."""
    start, end = 0, len(tokens)
    while start < end and tokens[start].value in _DELIMITERS:
        start += 1
    while end > start and (
        tokens[end - 1].value in (*_DELIMITERS, ".", "?")
        or (tokens[end - 1].value == "!" and len(str(tokens[end - 2].value)) > 1)
    ):
        end -= 1
    return tokens[start:end]
