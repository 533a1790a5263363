"""Texts of one line and of several: words that stay in them, and files that hold one a line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from prompt_optimization.errors import InputError
from prompt_optimization.files import read_text


def lacking_words(text: str, keep: Sequence[str]) -> str | None:
    """The first of ``keep`` that ``text`` does not hold as whole words; None when it holds all."""
    for words in keep:
        if not re.search(rf"(?<!\w){re.escape(words.strip())}(?!\w)", text):
            return words.strip()
    return None


def one_line(text: str) -> str:
    """``text`` with its line breaks written as ``\\n``."""
    # A backslash that would be read as part of such a mark is doubled.
    return re.sub(r"\\(?=[n\\\n])", r"\\\\", text).replace("\n", r"\n")


def of_one_line(line: str) -> str:
    """The text that ``one_line`` wrote as ``line``."""
    return re.sub(r"\\([n\\])", lambda mark: {"n": "\n"}.get(mark[1], mark[1]), line)


def read_lines(path: Path, key: str) -> list[str]:
    """The lines of a UTF-8 file that are not blank, with ``\\n`` read as a line break.

    Args:
        key: the setting that names the file.

    Raises:
        InputError: it cannot be read, or holds no text.
    """
    lines = [line for line in read_text(path, key).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"file '{path}' holds no text; give one with a text a line", key=key)
    return [of_one_line(line) for line in lines]
