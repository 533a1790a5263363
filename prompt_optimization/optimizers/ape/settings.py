"""How many prompts APE asks for, and how they are raced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from prompt_optimization.errors import InputError
from prompt_optimization.keys import key
from prompt_optimization.optimizers.text.induction import (
    INDUCE,
    INDUCTION_FILE,
    PARAPHRASE,
    PARAPHRASE_FILE,
)
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.optimizers.text.racing import MEANING, MOST, RACES
from prompt_optimization.optimizers.text.settings import TextSettings


@dataclass(frozen=True)
class ApeSettings(TextSettings, group="ape"):
    """The induction, the resampling and the race."""

    metaprompts: ClassVar[Mapping[str, MetaPrompt]] = {
        "induction": INDUCE,
        "paraphrase": PARAPHRASE,
    }

    variant: str = key(
        "induction",
        "induction: the paper's APE; paraphrase: the one of PE2's code, which stands in GReaTer's "
        "Table 1 and only varies the initial prompt",
        choices=("induction", "paraphrase"),
        variant=False,
        named={"paraphrase": "PE2's"},
    )
    subsamples: int = key(
        None,
        "requests of the first step, each with other training questions; 0 leaves the induction "
        "out",
        low=0,
        by_behaviour={"sound": 10, "published": 3},
        by_variant={"paraphrase": 0},
    )
    demos: int = key(
        5, "training questions, with answers, in a request of the first step", low=1, source="code"
    )
    draws: int = key(
        None,
        "replies to a request of the first step",
        low=1,
        by_behaviour={"sound": 5, "published": 30},
    )
    rounds: int = key(
        None,
        "steps after it, in which the best prompts are paraphrased",
        free=True,
        low=0,
        by_behaviour={"sound": 3, "published": 0},
        by_variant={"paraphrase": 3},
    )
    top: int = key(
        None,
        "prompts that are paraphrased, the best ones",
        low=1,
        by_behaviour={"sound": 5, "published": 5},
        by_variant={"paraphrase": 4},
    )
    paraphrases: int = key(
        None,
        "paraphrases of each of them",
        low=1,
        by_behaviour={"sound": 5, "published": 5},
        by_variant={"paraphrase": 4},
    )
    race: str = key(
        None,
        f"{MEANING}; sample: on race_rows questions",
        choices=("sample", *RACES),
        by_behaviour={"sound": "phases", "published": "sample"},
        by_variant={"paraphrase": "full"},
    )
    race_rows: int = key(20, "rows on which race=sample compares the prompts", low=1, source="code")
    induction_file: str = key("", INDUCTION_FILE)
    paraphrase_file: str = key("", PARAPHRASE_FILE)

    def check(self) -> None:
        super().check()
        if not self.subsamples and not self.rounds:
            raise InputError(
                "neither an induction nor a round of paraphrases is asked for; give at least 1 "
                "subsample or 1 round",
                key=("ape.subsamples", "ape.rounds"),
            )
        racing = self.top + max(self.subsamples * self.draws, self.top * self.paraphrases)
        if racing > MOST:
            raise InputError(
                f"{racing} prompts would race in a step; ask for at most {MOST}",
                key=("ape.subsamples", "ape.draws", "ape.top", "ape.paraphrases"),
            )


SETTINGS = ApeSettings
