"""Whole prompts and small edits in one race: large steps where a writer finds them, and small ones
around the best prompt so far."""

from __future__ import annotations

from prompt_optimization.models.writers import Request
from prompt_optimization.optimizers.base import Step, Tools
from prompt_optimization.optimizers.greater.edits import Edit, Editor, token_edits
from prompt_optimization.optimizers.greater.settings import GreaterSettings
from prompt_optimization.optimizers.hybrid.settings import HybridSettings
from prompt_optimization.optimizers.opro.search import Opro
from prompt_optimization.optimizers.text.optimizer import Ask, Fix, Proposal, counted
from prompt_optimization.optimizers.text.racing import RACES, least
from prompt_optimization.scoring.scorer import Scorer


class Hybrid(Opro):
    """A step races what the writer proposes and edits of the incumbent against the incumbent."""

    settings: HybridSettings
    fixes = Opro.fixes | {
        "long": Fix("allow longer prompts", ("max_prompt_tokens", "hybrid.max_characters")),
        "digits": Fix("allow digits in prompts", ("hybrid.drop_digits",)),
    }

    def __init__(self, settings: HybridSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        asked = GreaterSettings.default(
            edits=settings.edits, edit_proposals=settings.edit_proposals
        )
        self.editor = Editor(asked, scorer, tools.rng)

    @classmethod
    def first_round(cls, settings: HybridSettings, examples: int, models: int) -> int:
        """Those of the initial prompt and of the first race, decided early and against it."""
        rows = examples * models
        racers = 1 + settings.proposals + settings.most_edits
        race, kept = RACES[settings.race], settings.survivors
        return rows + least(race, racers, rows, keep=kept, stays=False)

    def _step(self) -> Step | None:
        written = self._written()
        lost = counted(self._dropped) if self._dropped and not written else ""
        with self.scorer.activity.phase("edit"):
            edited = self._edited({proposal.text for proposal in written})
        proposals = [*written, *edited]
        scores = self.race(
            [proposal.text for proposal in proposals],
            RACES[self.settings.race],
            keep=self.settings.survivors,
        )
        for scored in scores:
            self._show(scored, self.steps)
        events = [f"the writer gave no usable reply ({lost})"] if lost else []
        return self.made(proposals, scores, self.accept(scores), events)

    def _edited(self, taken: set[str]) -> list[Proposal]:
        """Edits of the incumbent at positions that are drawn, but for ``taken`` and known ones."""
        parent = self.incumbent.text
        ids = self.scorer.ids(parent)
        free = self.editor.spelling.free(ids)
        rng = self.tools.rng
        found: dict[str, Proposal] = {}
        for position in sorted(rng.sample(free, min(self.settings.positions, len(free)))):
            edits = self._edits(ids, position)
            for edit, text in zip(
                edits, self.editor.spelling.texts([edit.ids for edit in edits]), strict=True
            ):
                if text in taken or text in self.known or self.problem(text):
                    continue
                found.setdefault(text, Proposal(text, Ask(Request(""), edit.kind, (parent,))))
        return list(found.values())

    def _edits(self, ids: tuple[int, ...], position: int) -> list[Edit]:
        """Those at a position."""

        def replaced(token: int) -> tuple[int, ...]:
            return (*ids[:position], token, *ids[position + 1 :])

        models, examples = self.scorer.models, range(len(self.scorer.examples))
        before, there = ids[:position], ids[position : position + 1]
        tokens = self.editor.tokens(models, examples, before, replaced, there).tokens
        others = self.editor.others(
            models, examples, ids, position, tokens, self.tools.max_prompt_tokens
        )
        best = tokens[: self.settings.edit_proposals]
        return [*token_edits(self.settings.edits, best, replaced), *others]


OPTIMIZER = Hybrid
