"""The settings of ``opro``, and beside them who else proposes, what is edited, and how all of it is
raced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from prompt_optimization.errors import InputError, check_names
from prompt_optimization.keys import key
from prompt_optimization.optimizers.gepa.metaprompts import REFLECT
from prompt_optimization.optimizers.greater.settings import EDITS, READ
from prompt_optimization.optimizers.opro.settings import OproSettings
from prompt_optimization.optimizers.text.induction import (
    INDUCE,
    INDUCTION_FILE,
    PARAPHRASE,
    PARAPHRASE_FILE,
)
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.optimizers.text.racing import MEANING, MOST, RACES

# Methods whose requests ask for whole prompts, each with the settings that only its requests read.
PROPOSERS = {
    "opro": ("keep", "exemplars", "exemplar_rule", "score_scale", "meta_prompt_file"),
    "ape": ("demos", "induction_file", "paraphrase_file"),
    "gepa": ("minibatch", "reflect_file"),
}


@dataclass(frozen=True)
class HybridSettings(OproSettings, group="hybrid"):
    """What the writer is asked, the edits, and the race."""

    metaprompts: ClassVar[Mapping[str, MetaPrompt]] = {
        **OproSettings.metaprompts,
        "induction": INDUCE,
        "paraphrase": PARAPHRASE,
        "reflect": REFLECT,
    }

    proposers: tuple[str, ...] = key(
        ("opro",),
        "whose requests ask for whole prompts; they share the proposals. opro shows the best "
        "prompts so far; ape shows questions with answers, to guess the instruction from, and the "
        "best prompt, to vary it; gepa shows what the best prompt did on a few questions",
    )
    demos: int = key(
        5, "training questions, with answers, in a request of ape", low=1, source="code"
    )
    minibatch: int = key(
        3,
        "training questions, not all of them right under the best prompt, in a request of gepa",
        low=1,
        source="paper",
    )
    edits: tuple[str, ...] = key(
        EDITS,
        "what is changed at a position of the best prompt: token puts another one there, insert "
        "one more before it, delete takes it out, span puts two to four tokens that the model "
        "writes in the place of as many",
    )
    edit_proposals: int = key(
        2, "tokens, insertions, and spans, that are proposed at a position", low=1
    )
    positions: int = key(2, "positions that are edited in a step, drawn by chance", low=1)
    screen: str = key(
        "none",
        "which proposals are raced: none: all of them; by reasonings that are drawn of the best "
        "prompt (docs/signal.md), likelihood_ratio: of the edits those that make the ones with a "
        "low loss likelier; fixed_reasoning: of all proposals those after which the answers to "
        "them are best",
        choices=("none", *READ),
    )
    screened: int = key(6, "proposals that are raced of those that a screen compares", low=1)
    draws: int = key(
        4,
        "reasonings that are drawn of every example for a screen, once for each best prompt; each "
        "counts as an evaluation",
        low=2,
        high=1000,
    )
    race: str = key("phases", MEANING, choices=tuple(RACES))
    survivors: int = key(2, "prompts that run on all training questions, at least", low=1)
    induction_file: str = key("", INDUCTION_FILE)
    paraphrase_file: str = key("", PARAPHRASE_FILE)
    reflect_file: str = key(
        "",
        "a file with a meta-prompt in place of the reflection's own; its slots are {prompt} and "
        "{examples}",
    )

    @property
    def reads_answers(self) -> bool:
        return "gepa" in self.proposers

    @property
    def shares(self) -> dict[str, int]:
        """How many of the proposals each proposer asks for; earlier ones get what is left over."""
        names = list(dict.fromkeys(self.proposers))
        each, over = divmod(self.proposals, len(names))
        return {name: each + (number < over) for number, name in enumerate(names)}

    @property
    def most_edits(self) -> int:
        """That a step proposes."""
        several = len({*self.edits} - {"delete"})
        return self.positions * (several * self.edit_proposals + ("delete" in self.edits))

    @property
    def screens(self) -> bool:
        """Whether a step may propose more than is raced."""
        return self.screen != "none" and self.compared > self.screened

    @property
    def screens_written(self) -> bool:
        """Whether the screen compares whole prompts, too: these change the chance of a reasoning so
        much that the likelihood ratio says little of them."""
        return self.screen == "fixed_reasoning"

    @property
    def compared(self) -> int:
        """Proposals that the screen compares at most."""
        return self.most_edits + (self.proposals if self.screens_written else 0)

    @property
    def racers(self) -> int:
        """Prompts in a race at most, the incumbent among them."""
        proposed = self.proposals + self.most_edits
        return 1 + proposed - (self.compared - self.screened if self.screens else 0)

    def check(self) -> None:
        super().check()
        check_names(self.edits, EDITS, "edit", "hybrid.edits")
        check_names(self.proposers, tuple(PROPOSERS), "proposer", "hybrid.proposers")
        if 0 in self.shares.values():
            raise InputError(
                f"{len(self.shares)} proposers cannot share {self.proposals} proposals; ask for "
                "one each, or name fewer",
                key=("hybrid.proposals", "hybrid.proposers"),
            )
        if self.racers > MOST:
            edits = ("screened",) if self.screens else ("positions", "edit_proposals")
            raise InputError(
                f"{self.racers} prompts would race in a step; ask for at most {MOST}",
                key=tuple(f"hybrid.{name}" for name in ("proposals", *edits)),
            )

    def check_without_extractor(self) -> None:
        if self.screen != "none":
            raise InputError(
                f"screen={self.screen} compares prompts by the answers that they give after an "
                "extractor, and there is none; race all proposals, or give one",
                key=("hybrid.screen", "extractor_text"),
            )

    @property
    def warnings(self) -> list[str]:
        found = super().warnings
        for name, read in PROPOSERS.items():
            if name not in self.proposers:
                found += self.idle(f"without {name} among hybrid.proposers", *read)
        if self.screen == "none":
            found += self.idle("under hybrid.screen=none", "screened", "draws")
        elif not self.screens:
            found.append(
                f"hybrid.screen has no effect, because it compares {self.compared} proposals at "
                f"most and hybrid.screened lets {self.screened} race"
            )
        return found


SETTINGS = HybridSettings
