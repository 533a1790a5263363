"""Race the given prompts, keep the best. The example to copy for a method of your own."""

from __future__ import annotations

import math
from typing import Any

from prompt_optimization.models.layout import Layout
from prompt_optimization.optimizers.base import Entry, Optimizer, Step, Tools, Tried
from prompt_optimization.optimizers.best_of_n.settings import BestOfNSettings
from prompt_optimization.scoring.scorer import Scorer


class BestOfN(Optimizer):
    """A step races the next batch of prompts against the best so far."""

    settings: BestOfNSettings

    def __init__(self, settings: BestOfNSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.prompts = [Layout.normalise(text) for text in settings.texts()]

    def _step(self) -> Step | None:
        start = self.steps * self.settings.batch
        batch = self.prompts[start : start + self.settings.batch]
        if not batch:
            return None
        problems = {text: problem for text in batch if (problem := self.scorer.problem(text))}
        full = len(self.leaderboard.entries) == self.leaderboard.size
        with self.scorer.activity.phase("race"):
            scores = self.scorer.score(
                [text for text in batch if text not in problems],
                ceiling=self.leaderboard.entries[-1].scored.objective if full else math.inf,
                chunk=self.settings.chunk,
            )
        before = self.leaderboard.best
        self.leaderboard.add([Entry(each, self.steps) for each in scores if not each.capped])
        self.incumbent = self.leaderboard.best
        return Step(
            tried=tuple(Tried(each.text.strip(), each) for each in scores),
            incumbent=self.incumbent,
            accepted=self.incumbent is not before,
            events=tuple(f"left out '{text.strip()}': {why}" for text, why in problems.items()),
        )

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"prompts": self.prompts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.prompts = state["prompts"]  # The file may have changed since.


OPTIMIZER = BestOfN
