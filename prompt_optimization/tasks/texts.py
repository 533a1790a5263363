"""Texts of one line and of several: their words, and files that hold one a line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from prompt_optimization.errors import InputError
from prompt_optimization.files import read_text
from prompt_optimization.paths import user_path

# Words between the common ends of two texts, beyond which their difference is not worth its time.
MOST_WORDS = 2000


def word_changes(before: str, after: str) -> Iterator[tuple[str, str]]:
    """What leads from ``before`` to ``after``, in order: pairs (old, new) of texts, which are equal
    where nothing changed. White space counts as a word."""
    old, new = (re.findall(r"\s+|\S+", text) for text in (before, after))
    start = _shared(old, new)
    end = _shared(old[start:][::-1], new[start:][::-1])
    first, last = "".join(old[:start]), "".join(old[len(old) - end :])
    old, new = (words[start : len(words) - end] for words in (old, new))
    if first:
        yield first, first
    if max(len(old), len(new)) > MOST_WORDS:
        yield "".join(old), "".join(new)
    else:
        matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
        for _, i, j, k, n in matcher.get_opcodes():
            yield "".join(old[i:j]), "".join(new[k:n])
    if last:
        yield last, last


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words both begin with."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


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


def different_lines(file: str, key: str) -> list[str]:
    """The lines of ``read_lines``, each once; none where the user names no ``file``.

    Raises:
        InputError: see ``read_lines``.
    """
    return list(dict.fromkeys(read_lines(user_path(file), key))) if file else []
