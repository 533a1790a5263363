"""The YAML templates of SPO's code: a prompt, what is required, and questions, perhaps answered.

A template is a task file too: its questions are the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prompt_optimization.errors import InputError

ENDINGS = (".yaml", ".yml")

# What the templates call their list of questions, in different versions.
_QUESTIONS = ("qa", "faq")


@dataclass(frozen=True)
class QaTemplate:
    """What a template says.

    Attributes:
        prompt, requirements: empty where it says none.
        words: the most words that a prompt may have; 0 for no limit.
        rows: ``question`` and ``answer`` of each question; the answer is empty where there is none.
    """

    prompt: str
    requirements: str
    words: int
    rows: tuple[dict[str, str], ...]


def read_template(path: Path, text: str) -> QaTemplate:
    """The template that ``text`` is.

    Raises:
        InputError: it is none.
    """
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise InputError(f"'{path}' is no YAML ({first}); correct it") from None
    name = next((each for each in _QUESTIONS if isinstance(found, dict) and each in found), "")
    entries = found[name] if name else None
    if not isinstance(entries, list) or not entries:
        raise InputError(
            f"'{path}' has no list 'qa' of questions, as a template of SPO has; give one that does"
        )
    rows = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not _text(entry.get("question")):
            raise InputError(f"entry {number} of '{name}' in '{path}' has no question; give it one")
        rows.append({key: _text(entry.get(key)) for key in ("question", "answer")})
    count = _text(found.get("count"))
    if count and not (count.isdecimal() and int(count)):
        raise InputError(
            f"'count' in '{path}' is '{count}', no number of words; give one, or None for no limit"
        )
    prompt, requirements = (_text(found.get(key)) for key in ("prompt", "requirements"))
    return QaTemplate(prompt, requirements, int(count or 0), tuple(rows))


def _text(value: Any) -> str:
    """A value without the white space around it; the word None, as templates write it, is none."""
    text = "" if value is None else str(value).strip()
    return "" if text == "None" else text
