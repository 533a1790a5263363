"""APE (Zhou et al., ICLR 2023): instructions induced from questions and answers, then resampled."""

from __future__ import annotations

from functools import partial
from typing import Any

from prompt_optimization.optimizers.ape.settings import ApeSettings
from prompt_optimization.optimizers.base import Step, Tools
from prompt_optimization.optimizers.text.asks import induce, paraphrase
from prompt_optimization.optimizers.text.optimizer import Ask, TextOptimizer
from prompt_optimization.optimizers.text.racing import RACES, Kind, Race, least
from prompt_optimization.scoring.scorer import Scored, Scorer


class Ape(TextOptimizer):
    """The first step has the writer guess instructions from training questions; the others have it
    paraphrase the best prompts so far. What is new is raced against these.

    Attributes:
        top: the best prompts so far, best first.
    """

    settings: ApeSettings

    def __init__(self, settings: ApeSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.top: list[str] = []

    @classmethod
    def first_round(cls, settings: ApeSettings, examples: int, models: int) -> int:
        """Those of the initial prompt and of the first race, if that is decided early."""
        proposed = settings.subsamples * settings.draws or settings.paraphrases
        rows = examples * models
        return rows + least(kind_of(settings), 1 + proposed, rows, keep=settings.top)

    def start(self, prompt: str) -> Scored:
        scored = super().start(prompt)
        self.top = [prompt]
        return scored

    def _step(self) -> Step | None:
        settings = self.settings
        induces = bool(settings.subsamples) and not self.made_rounds
        if self.made_rounds == bool(settings.subsamples) + settings.rounds:
            return None
        proposals = self.propose(self._induction() if induces else self._resampling())
        texts = [*self.top, *(proposal.text for proposal in proposals)]
        scores = self.race(texts, kind_of(settings), keep=settings.top)
        self._keep_top(scores)
        return self.made(proposals, scores, self.accept(scores), top=list(self.top))

    def _induction(self) -> list[Ask]:
        """Requests that show training questions with their answers."""
        s = self.settings
        return [induce(self, s.demos, s.draws) for _ in range(s.subsamples)]

    def _resampling(self) -> list[Ask]:
        """Requests that show one of the best prompts."""
        return [paraphrase(self, prompt, self.settings.paraphrases) for prompt in self.top]

    def _keep_top(self, scores: list[Scored]) -> None:
        ranked = sorted(scores, key=lambda scored: scored.order)
        self.top = [scored.text for scored in ranked[: self.settings.top]]

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"top": list(self.top)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.top = list(state["top"])

    def carry_over(self, state: dict[str, Any]) -> None:
        """As ``TextOptimizer.carry_over``. The rounds begin anew."""
        super().carry_over(state)
        self._keep_top([entry.scored for entry in self.leaderboard.entries])


def kind_of(settings: ApeSettings) -> Kind:
    """The race that the settings name."""
    return RACES.get(settings.race, partial(sample, rows=settings.race_rows))


def sample(race: Race, rows: int) -> list[int]:
    """All prompts run on the first ``rows`` rows, and the best ones on the others too."""
    race.run(race.prompts, rows)
    race.run(race.with_incumbent(race.ranked(race.prompts)[: race.keep]), race.rows)
    return race.finished()


OPTIMIZER = Ape
