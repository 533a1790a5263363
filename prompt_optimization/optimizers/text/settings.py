"""What the settings of all methods share that ask a writer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from prompt_optimization.keys import Settings, key
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.paths import user_path


@dataclass(frozen=True)
class TextSettings(Settings):
    """Base class of the settings of a method that asks a writer.

    Attributes:
        metaprompts: the method's own, by name. ``<name>_file`` is the key of the file that may
            take the place of one.
        chosen_on_dev: the released code chooses prompts by dev rows, here the training ones do.
    """

    writes: ClassVar[bool] = True
    #: A whole sentence stands after the question, and is judged by what the model then writes.
    defaults: ClassVar[Mapping[str, Any]] = {
        "objective": "answers",
        "selection_control_weight": 0.0,
        "connector": "",
        "control_init": " Let's think step by step.",
        "max_prompt_tokens": 256,
    }
    metaprompts: ClassVar[Mapping[str, MetaPrompt]] = {}
    chosen_on_dev: ClassVar[bool] = False

    behaviour: str = key(
        "sound",
        "sound, or published for the constants and rules of the released code; it sets the keys "
        "below that say so, where they are not set by themselves",
        choices=("sound", "published"),
        variant=False,
        named={"published": "published behaviour"},
    )

    @property
    def warnings(self) -> list[str]:
        if self.behaviour == "published" and self.chosen_on_dev:
            return [
                f"{self.group}.behaviour=published chooses prompts by the training questions; the "
                "released code chooses them by dev rows"
            ]
        return []

    def check(self) -> None:
        self.texts()

    def texts(self) -> dict[str, MetaPrompt]:
        """The meta-prompts, with those that a file replaces.

        Raises:
            InputError: a file cannot be read, or lacks a slot.
        """
        found = dict(self.metaprompts)
        for name, own in self.metaprompts.items():
            if path := getattr(self, f"{name}_file"):
                found[name] = own.replaced_by(user_path(path), f"{self.group}.{name}_file")
        return found
