"""Docstrings here explain several names in one entry; the site gives each an entry of its own."""

from __future__ import annotations

import re
from typing import Any

import griffe

# ``    one, two: text``, where names and text may go on in the next line.
ENTRY = re.compile(r"^ {4}(\w+(?:,\s+\w+)+):(.*(?:\n {8}.*)*)", re.MULTILINE)


class SeveralNames(griffe.Extension):
    """Splits the entries of ``Args`` and ``Attributes``."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = ENTRY.sub(_split, obj.docstring.value)


def _split(entry: re.Match[str]) -> str:
    return "\n".join(f"    {name}:{entry[2]}" for name in re.split(r",\s+", entry[1]))
