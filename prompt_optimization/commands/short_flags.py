"""Flags without ``--config.``, which are enough for a task of one's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from prompt_optimization.errors import InputError


@dataclass(frozen=True)
class Short:
    """A flag, the setting that it sets, and what it is."""

    key: str
    value: str
    meaning: str


SHORT = {
    "model": Short("model_paths", "NAME", "the model: a hub name, a folder or a GGUF file"),
    "data": Short(
        "train_data",
        "FILE",
        "the task: a table of questions and answers, or hf:OWNER/NAME/CONFIG@SPLIT of the Hugging "
        "Face Hub. Splits, extractor and the folder of results are chosen from its rows where "
        "nothing else sets them",
    ),
    "prompt": Short("control_init", "TEXT", "the prompt to begin with"),
    "method": Short("method", "NAME", "the method"),
    "extractor": Short(
        "extractor_text", "TEXT", "the text after the reasoning that asks for the answer"
    ),
}
FOR_RUNS = tuple(SHORT)


def take(arguments: Sequence[str], names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The values of short flags, and the other arguments.

    Both ``--data=FILE`` and ``--data FILE`` are read. Of a flag that comes twice the last counts.

    Args:
        names: of the flags that the command has.

    Raises:
        InputError: one has no value.
    """
    found: dict[str, str] = {}
    others: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        flag = re.fullmatch(r"--?(\w+)(?:=(.*))?", argument, re.DOTALL)
        if flag is None or flag[1] not in names:
            others.append(argument)
        elif flag[2] is not None:
            found[flag[1]] = flag[2]
        elif left and not left[0].startswith("--"):
            found[flag[1]] = left.pop(0)
        else:
            raise InputError(
                f"flag --{flag[1]} has no value; give --{flag[1]}={SHORT[flag[1]].value}"
            )
    return found, others
