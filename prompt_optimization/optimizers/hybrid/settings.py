"""The settings of ``opro``, and beside them what is edited and how all of it is raced."""

from __future__ import annotations

from dataclasses import dataclass

from prompt_optimization.errors import InputError
from prompt_optimization.keys import key
from prompt_optimization.optimizers.greater.settings import EDITS, check_edits
from prompt_optimization.optimizers.opro.settings import OproSettings
from prompt_optimization.optimizers.text.racing import MEANING, MOST, RACES


@dataclass(frozen=True)
class HybridSettings(OproSettings, group="hybrid"):
    """What the writer is asked, the edits, and the race."""

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
    race: str = key("phases", MEANING, choices=tuple(RACES))
    survivors: int = key(2, "prompts that run on all training questions, at least", low=1)

    @property
    def most_edits(self) -> int:
        """That a step proposes."""
        several = len({*self.edits} - {"delete"})
        return self.positions * (several * self.edit_proposals + ("delete" in self.edits))

    def check(self) -> None:
        super().check()
        check_edits(self.edits, "hybrid.edits")
        racing = 1 + self.proposals + self.most_edits
        if racing > MOST:
            raise InputError(
                f"{racing} prompts would race in a step; ask for at most {MOST}",
                key=("hybrid.proposals", "hybrid.positions", "hybrid.edit_proposals"),
            )


SETTINGS = HybridSettings
