"""Whole prompts and small edits in one race: large steps where a writer finds them, and small ones
around the best prompt so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from prompt_optimization.models.writers import Request
from prompt_optimization.optimizers.base import Step, Tools
from prompt_optimization.optimizers.gepa.reflection import next_minibatch, reflect
from prompt_optimization.optimizers.greater.draws import Draws
from prompt_optimization.optimizers.greater.edits import Edit, Editor, token_edits
from prompt_optimization.optimizers.greater.settings import GreaterSettings
from prompt_optimization.optimizers.hybrid.settings import HybridSettings
from prompt_optimization.optimizers.opro.search import Opro
from prompt_optimization.optimizers.text.asks import induce, paraphrase
from prompt_optimization.optimizers.text.optimizer import Ask, Fix, Proposal, counted
from prompt_optimization.optimizers.text.racing import RACES, least
from prompt_optimization.scoring.scorer import Scorer


class Hybrid(Opro):
    """A step races what the writer proposes and edits of the incumbent against the incumbent.

    Attributes:
        epoch: examples that requests of gepa are to show before any comes again.
        draws: of the incumbent, or of one before it, for the screen.
    """

    settings: HybridSettings
    fixes = Opro.fixes | {
        "long": Fix("allow longer prompts", ("max_prompt_tokens", "hybrid.max_characters")),
        "digits": Fix("allow digits in prompts", ("hybrid.drop_digits",)),
    }

    def __init__(self, settings: HybridSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.asked_edits = GreaterSettings.default(
            edits=settings.edits, edit_proposals=settings.edit_proposals, draws=settings.draws
        )
        self.editor = Editor(self.asked_edits, scorer, tools.rng)
        self.epoch: list[int] = []
        self.draws = Draws(self.asked_edits, scorer)

    @classmethod
    def first_round(cls, settings: HybridSettings, examples: int, models: int) -> int:
        """Those of the initial prompt, of its draws, and of the first race, decided early and
        against it."""
        rows = examples * models
        drawn = settings.draws * settings.screens
        race, kept = RACES[settings.race], settings.survivors
        return rows * (1 + drawn) + least(race, settings.racers, rows, keep=kept, stays=False)

    def _step(self) -> Step | None:
        written = self.propose(self._asks())
        lost = counted(self._dropped) if self._dropped and not written else ""
        with self.scorer.activity.phase("edit"):
            edited = self._edited({proposal.text for proposal in written})
        proposals = [*written, *edited]
        unscreened = 0 if self.settings.screens_written else len(written)
        kept, screened = self._screened(proposals[unscreened:])
        proposals = [*proposals[:unscreened], *kept]
        scores = self.race(
            [proposal.text for proposal in proposals],
            RACES[self.settings.race],
            keep=self.settings.survivors,
        )
        for scored in scores:
            self._show(scored, self.steps)
        events = [f"the writer gave no usable reply ({lost})"] if lost else []
        return self.made(proposals, scores, self.accept(scores), events, **screened)

    def _asks(self) -> list[Ask]:
        """The requests of all proposers; a proposal is called by its proposer."""
        ways: Mapping[str, Callable[[int], list[Ask]]] = {
            "opro": lambda share: [self._asked(share)],
            "ape": self._guesses_and_variations,
            "gepa": self._reflections,
        }
        return [
            replace(ask, operator=name)
            for name, share in self.settings.shares.items()
            for ask in ways[name](share)
        ]

    def _guesses_and_variations(self, share: int) -> list[Ask]:
        """Half of them guess the instruction, each from other questions; the others vary the
        incumbent."""
        asks = [induce(self, self.settings.demos) for _ in range(share - share // 2)]
        if share > 1:
            asks.append(paraphrase(self, self.incumbent.text, share // 2))
        return asks

    def _reflections(self, share: int) -> list[Ask]:
        """Each after other questions, some of which the incumbent does not get right. Where it gets
        all of them right, there is nothing to ask."""
        asks: list[Ask] = []
        text, examples = self.incumbent.text, len(self.scorer.examples)
        able = any(self.costs(text, self.scorer.rows()))
        while able and len(asks) < share:
            batch = next_minibatch(self.epoch, examples, self.settings.minibatch, self.tools.rng)
            if any(self.costs(text, self.scorer.rows(batch))):
                asks.append(reflect(self, text, batch))
        return asks

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

    def _screened(self, proposals: list[Proposal]) -> tuple[list[Proposal], dict[str, Any]]:
        """Those that are raced, and what the log says of all of them where some are not."""
        size, screen = self.settings.screened, self.settings.screen
        if screen == "none" or len(proposals) <= size:
            return proposals, {}
        rows, text = self.scorer.rows(), self.incumbent.text
        self.draws.gather(text, rows, self.tools.rng)
        with self.scorer.activity.phase("screen"):
            ids = [self.scorer.ids(proposal.text) for proposal in proposals]
            found = self.draws.predict(screen, text, rows, ids)
        ranked = sorted(zip(found, proposals, strict=True), key=lambda pair: pair[0])
        said = [
            {"prompt": each.text, "operator": each.operator, screen: value}
            for value, each in ranked
        ]
        return [proposal for _, proposal in ranked[:size]], {"screened": said}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "epoch": list(self.epoch),
            "draws": self.draws.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.epoch = list(state.get("epoch", ()))  # came with proposers
        self.draws.load_state_dict(state.get("draws", ()))  # came with the screen


OPTIMIZER = Hybrid
