"""How GEPA chooses what to change, and what a change has to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from prompt_optimization.keys import key
from prompt_optimization.optimizers.gepa.metaprompts import REFLECT
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.optimizers.text.settings import TextSettings


@dataclass(frozen=True)
class GepaSettings(TextSettings, group="gepa"):
    """The pool, the minibatches and the reflection."""

    reads_answers = True
    metaprompts: ClassVar[Mapping[str, MetaPrompt]] = {"reflect": REFLECT}

    parents: int = key(
        None,
        "prompts of the pool that a step draws; one may be drawn twice",
        low=1,
        by_behaviour={"sound": 2, "published": 1},
    )
    mutations: int = key(
        None,
        "changes of each of them that a step asks for, each with a minibatch of its own",
        low=1,
        by_behaviour={"sound": 2, "published": 1},
    )
    minibatch: int = key(
        3,
        "training questions that the writer is shown, and on which its prompt has to be better "
        "before it is scored on all",
        low=1,
        source="paper",
    )
    select: str = key(
        "pareto",
        "the prompts to change: pareto: draw those that no others beat on some question, in "
        "proportion to the number of these questions; best: take the best one",
        choices=("pareto", "best"),
        source="paper",
    )
    accept: str = key(
        "better",
        "a new prompt is scored on all questions if it is better than its parent on their "
        "minibatch, or also if it is equal",
        choices=("better", "equal"),
        source="paper",
    )
    reflect_file: str = key(
        "",
        "a file with a meta-prompt in place of the method's own; its slots are {prompt} and "
        "{examples}",
    )


SETTINGS = GepaSettings
