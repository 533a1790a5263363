"""Where the prompts come from, and how many are raced together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from prompt_optimization.errors import InputError
from prompt_optimization.keys import Settings, key
from prompt_optimization.tasks.texts import different_lines


@dataclass(frozen=True)
class BestOfNSettings(Settings, group="best_of_n"):
    """The prompts and the race."""

    takes_masked: ClassVar[bool] = True

    prompts: tuple[str, ...] = key((), "the prompts")
    file: str = key("", "a text file with further prompts, one a line")
    batch: int = key(8, "prompts that are raced in a step", low=1)
    chunk: int = key(
        8, "examples between two looks at which prompts can still win; 0: all at once", low=0
    )

    def check(self) -> None:
        if not self.texts():
            raise InputError(
                "no prompts to choose from; give some",
                key=("best_of_n.prompts", "best_of_n.file"),
            )

    def texts(self) -> list[str]:
        """All prompts, each once, as they were given.

        Raises:
            InputError: the file cannot be read.
        """
        lines = different_lines(self.file, "best_of_n.file")
        return list(dict.fromkeys([*self.prompts, *lines]))


SETTINGS = BestOfNSettings
