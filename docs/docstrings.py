"""Two habits of the docstrings here, in the form that the site's parser knows.

An entry that explains several names becomes an entry for each. A section that only refers to
another function becomes a sentence.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

# ``    one, two: text``, where names and text may go on in the next line.
ENTRY = re.compile(r"^ {4}(\w+(?:,\s+\w+)+):(.*(?:\n {8}.*)*)", re.MULTILINE)
REFERENCE = re.compile(r"^Raises:\n {4}As (``\w+``)\.$", re.MULTILINE)


class Habits(griffe.Extension):
    """Rewrites docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            text = REFERENCE.sub(r"Raises what \1 raises.", obj.docstring.value)
            obj.docstring.value = ENTRY.sub(_split, text)


def _split(entry: re.Match[str]) -> str:
    return "\n".join(f"    {name}:{entry[2]}" for name in re.split(r",\s+", entry[1]))
