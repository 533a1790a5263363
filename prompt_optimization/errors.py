"""The one exception for what a user can mend, and a hint for its message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one sentence that names the value, the place and the mend. Entry points
    print it without a traceback and exit with code 2; everything else is a programmer's error
    and keeps its traceback.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """The one of ``known`` that ``word`` was perhaps meant to be."""
    return difflib.get_close_matches(word, list(known), n=1, cutoff=0)[0]
