"""The one exception for what a user can fix, and a hint for its message."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable


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
        return f"{self.problem} ({names})" if names else self.problem

    def __str__(self) -> str:
        return self.worded(lambda key: f"setting {key}")


class Malformed(ValueError):
    """A file does not hold what it should; whoever reads it says which file."""


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
