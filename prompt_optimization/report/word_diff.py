"""Two prompts, word by word: what stayed, what is gone and what is new."""

from __future__ import annotations

from typing import NamedTuple

from prompt_optimization.tasks.texts import word_changes

SAME, GONE, NEW = "same", "gone", "new"


class Piece(NamedTuple):
    """A part of two texts; ``kind`` is ``same``, ``gone`` (in the first only) or ``new`` (in the
    second only)."""

    kind: str
    text: str


def word_diff(before: str, after: str) -> list[Piece]:
    """The pieces of both prompts, in order, what is gone before what came in its place.

    The pieces that are not new make ``before``, and those that are not gone make ``after``. White
    space at the ends of a prompt means nothing and is left out.
    """
    found: list[Piece] = []
    for old, new in word_changes(before.strip(), after.strip()):
        if old == new:
            found.append(Piece(SAME, old))
            continue
        found += [Piece(kind, text) for kind, text in ((GONE, old), (NEW, new)) if text]
    return found
