"""The population of EvoPrompt, and how it evolves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from prompt_optimization.keys import key
from prompt_optimization.optimizers.evoprompt.metaprompts import DE, GA
from prompt_optimization.optimizers.text.induction import (
    INDUCE,
    INDUCTION_FILE,
    PARAPHRASE,
    PARAPHRASE_FILE,
)
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.optimizers.text.settings import TextSettings

# Differential evolution changes a prompt by two others that differ from it and from each other.
LEAST = 4


@dataclass(frozen=True)
class EvoPromptSettings(TextSettings, group="evoprompt"):
    """The start population, the operators and the selection."""

    metaprompts: ClassVar[Mapping[str, MetaPrompt]] = {
        "induction": INDUCE,
        "paraphrase": PARAPHRASE,
        "de": DE,
        "ga": GA,
    }

    algorithm: str = key(
        "de",
        "de: differential evolution, a child competes with the prompt it would replace; ga: a "
        "genetic algorithm, all of them compete",
        choices=("de", "ga"),
        source="paper",
        variant=False,
        named={"ga": "GA"},
    )
    population: int = key(
        10,
        "prompts in the population; the first ones are the best of twice as many",
        low=LEAST,
        source="paper",
    )
    generations: int = key(
        10, "generations after the start population", low=0, limit=True, source="paper", free=True
    )
    demos: int = key(
        5,
        "training questions, with answers, in a request for a prompt of the start population",
        low=1,
    )
    selection: str = key(
        "wheel",
        "how ga draws parents: wheel: in proportion to their scores; tournament: the better of "
        "two; random",
        choices=("wheel", "tournament", "random"),
        source="paper",
    )
    one_wave: bool = key(
        None,
        "de writes all children of a generation at once, with the best prompt of the generation "
        "before; otherwise one after the other, with the best prompt so far",
        by_behaviour={"sound": True, "published": False},
    )
    induction_file: str = key("", INDUCTION_FILE)
    paraphrase_file: str = key("", PARAPHRASE_FILE)
    de_file: str = key(
        "",
        "a file with a meta-prompt in place of de's own; its slots are {first}, {second}, {best} "
        "and {old}",
    )
    ga_file: str = key(
        "",
        "a file with a meta-prompt in place of ga's own; its slots are {first} and {second}",
    )


SETTINGS = EvoPromptSettings
