"""The one exception for what a user can fix, hints for its message, and what no text may hold."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

# Characters of a message.
LONGEST = 1000

_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one sentence that names the value, the place and the fix. The settings that the
    fix is about are named by their keys, because only a front door knows what its user calls them:
    a flag on the command line, an argument in Python. Entry points print the message without a
    traceback and exit with code 2. Everything else is a programmer's error and keeps its traceback.

    Attributes:
        problem: the sentence without the settings' names.
        keys: the settings.
    """

    def __init__(self, problem: str, *, key: str | Iterable[str] = ()) -> None:
        super().__init__(problem)
        self.problem = problem
        self.keys = (key,) if isinstance(key, str) else tuple(key)

    def worded(self, name: Callable[[str], str]) -> str:
        """The message, in which ``name`` says what the user calls a setting."""
        names = " and ".join(dict.fromkeys(map(name, self.keys)))
        return _in_a_line(f"{self.problem} ({names})" if names else self.problem)

    def __str__(self) -> str:
        return self.worded(lambda key: f"setting {key}")


@contextmanager
def reworded(name: Callable[[str], str]) -> Iterator[None]:
    """A front door that prints nothing: settings are called what ``name`` calls them."""
    try:
        yield
    except InputError as error:
        raise InputError(error.worded(name)) from error.__cause__


class Malformed(ValueError):
    """A file does not hold what it should; whoever reads it says which file."""


def check_characters(text: str, what: str, key: str | Iterable[str] = ()) -> None:
    """Refuse characters that no tokenizer takes and no file of ours holds.

    Programs that cut text by units of UTF-16 leave half of an emoji. A NUL character is a sign of
    text that was read in a wrong encoding. Other control characters are taken as they are.

    Args:
        what: names the text in the message.
        key: the setting that holds it.

    Raises:
        InputError: there is one.
    """
    found = _UNUSABLE.search(text)
    if found is None:
        return
    kind = "a NUL character" if found.group() == "\0" else f"half a character ({found.group()!a})"
    raise InputError(
        f"{what} holds {kind} at position {found.start()}, in "
        f"{text[max(0, found.start() - 20) : found.start() + 20]!a}; write the whole text again or "
        "leave it out",
        key=key,
    )


def _in_a_line(sentence: str) -> str:
    """``sentence`` where the values that it names hold line breaks and control characters, which
    are written out, or are very long; what went wrong and the fix stand at its ends."""
    sentence = _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], sentence)
    if len(sentence) <= LONGEST:
        return sentence
    return f"{sentence[: LONGEST // 2]}...{sentence[-LONGEST // 2 :]}"


def require(condition: object) -> None:
    """Check what a file holds; unlike ``assert`` also under ``python -O``.

    Raises:
        Malformed: ``condition`` is not true.
    """
    if not condition:
        raise Malformed


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that ``word`` was probably meant to be; None when none is like it."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """How a sentence about an unknown ``word`` ends: with the nearest of ``known``, or all."""
    known = list(known)
    meant = nearest(word, known)
    return f"did you mean '{meant}'?" if meant else f"choose one of {', '.join(known)}"


def check_names(given: Sequence[str], known: Sequence[str], what: str, key: str) -> None:
    """Refuse a list of names that is empty, or holds one that is not ``known``.

    Args:
        what: they name, in a word.
        key: the setting that holds them.

    Raises:
        InputError: it is, or does.
    """
    if not given:
        raise InputError(f"no {what} is named; name one or more of {', '.join(known)}", key=key)
    for name in given:
        if name not in known:
            several = f"write several as ('{known[0]}','{known[1]}')"
            hint = several if "," in name else did_you_mean(name, known)
            raise InputError(f"there is no {what} '{name}'; {hint}", key=key)
