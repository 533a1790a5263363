"""How many prompts PE2 expands, and what the writer sees of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from prompt_optimization.keys import key
from prompt_optimization.optimizers.pe2.metaprompts import ANALYSE, REWRITE, SUMMARISE
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.optimizers.text.settings import TextSettings


@dataclass(frozen=True)
class Pe2Settings(TextSettings, group="pe2"):
    """The beam, the expansion of its prompts, and the requests."""

    reads_answers = True
    metaprompts: ClassVar[Mapping[str, MetaPrompt]] = {
        "analyse": ANALYSE,
        "rewrite": REWRITE,
        "summarise": SUMMARISE,
    }
    chosen_on_dev: ClassVar[bool] = True

    rounds: int = key(3, "steps of the search", low=1, source="code")
    beam: int = key(4, "prompts that a step expands, the best ones", low=1, source="code")
    expand: int = key(4, "new prompts that are made of each of them", low=1, source="code")
    batch: int = key(
        2, "wrong answers that the writer examines for a new prompt", low=1, source="code"
    )
    max_words: int = key(
        50, "words that a new prompt is asked to have at most", low=1, source="code"
    )
    backtrack: bool = key(
        True,
        "choose the beam from all prompts so far; False: from those of the latest step",
        source="code",
    )
    chunk: int = key(
        None,
        "training questions, in an order drawn once, that are searched for wrong answers at a "
        "time, until there are half as many as the requests show; 0: all",
        low=0,
        by_behaviour={"sound": 0, "published": 10},
    )
    stop_when_right: bool = key(
        None,
        "end the search once a prompt answers every training question rightly; False: expand the "
        "next best ones",
        by_behaviour={"sound": False, "published": True},
    )
    history: int = key(
        0,
        "earlier versions of a prompt that the writer is shown, with their scores and what was "
        "changed; more than 0 asks for a summary of every change",
        low=0,
        source="code",
    )
    analyse_file: str = key(
        "",
        "a file with a meta-prompt in place of the examination's own; its slots are {prompt}, "
        "{template} (what the model reads) and {examples}",
    )
    rewrite_file: str = key(
        "",
        "a file with a meta-prompt in place of the new prompt's own; its slots are {prompt}, "
        "{template}, {examples}, {analysis}, {history} and {length} (how many words)",
    )
    summarise_file: str = key(
        "",
        "a file with a meta-prompt in place of the summary's own; its slots are {before} and "
        "{after}, the prompts",
    )


SETTINGS = Pe2Settings
