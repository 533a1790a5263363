"""Meta-prompts: what a writer is asked, as texts with slots."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from prompt_optimization.errors import InputError
from prompt_optimization.files import read_text

_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class MetaPrompt:
    """A text in which ``{slot}`` stands for what a request fills in.

    Attributes:
        slots: the names that have to stand in it. Other braces are text.
    """

    text: str
    slots: tuple[str, ...]

    def __post_init__(self) -> None:
        assert not self.missing(self.text), self.missing(self.text)

    def missing(self, text: str) -> list[str]:
        """The slots that ``text`` lacks."""
        there = set(_SLOT.findall(text))
        return [slot for slot in self.slots if slot not in there]

    def fill(self, **values: str) -> str:
        """The text with ``values`` in its slots. What is filled in is not searched for slots."""
        assert values.keys() == set(self.slots), (values.keys(), self.slots)
        return _SLOT.sub(lambda found: values.get(found[1], found[0]), self.text)

    def replaced_by(self, path: Path, key: str) -> MetaPrompt:
        """The meta-prompt with the text of a file.

        Args:
            key: the setting that names the file.

        Raises:
            InputError: the file cannot be read, or lacks a slot.
        """
        text = read_text(path, key)
        if missing := self.missing(text):
            needed = ", ".join(f"{{{slot}}}" for slot in missing)
            raise InputError(
                f"the meta-prompt in '{path}' lacks {needed}; write it where it belongs", key=key
            )
        return MetaPrompt(text.strip(), self.slots)
