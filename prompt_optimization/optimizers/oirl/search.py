"""Learn which prompt suits which question from the collected answers, and offer the rules.

A search that ends before its last stage, by a budget, learns from what it has collected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prompt_optimization.optimizers.oirl.arrays import Flags
from prompt_optimization.optimizers.oirl.collect import Collector
from prompt_optimization.optimizers.oirl.outcomes import Outcomes, all_alike
from prompt_optimization.optimizers.oirl.recommend import Recommender
from prompt_optimization.optimizers.oirl.report import lines
from prompt_optimization.optimizers.oirl.settings import STAGES, TABLE, OirlSettings
from prompt_optimization.optimizers.oirl.split import parts_of
from prompt_optimization.optimizers.oirl.stages import Stages
from prompt_optimization.scoring.finalists import Finalist, Rule, Text


class Oirl(Collector):
    """Prompt-OIRL: a reward model of question and prompt, and rules that choose by it."""

    settings: OirlSettings

    def _heldout(self) -> Sequence[str]:
        return self.settings.heldout

    def _set_aside(self, table: Outcomes) -> Flags:
        parts = parts_of(table, self.settings, self.seed)
        asked = {parts.table.keys[row] for row in parts.test}
        return np.array([key in asked for key in table.keys])

    def _names(self) -> Sequence[str]:
        return STAGES[: STAGES.index(self.settings.stage) + 1]

    def _stage(self, name: str) -> tuple[list[str], dict[str, Any]]:
        events: list[str] = []
        own = self._stages()
        if name == TABLE:
            events += [text for text in (all_alike(self.table),) if text]
        elif all_alike(self.table.learnt):
            events.append("nothing to learn from; the prompts stand for election as they are")
        elif name == "features":
            own.encode()
        elif name == "reward":
            own.rewards()
        else:
            events += lines(own.report())
        return events, {}

    def _stages(self) -> Stages:
        assert self.tools.embedder is not None
        return Stages(
            self.settings, self._tried, self.tools.embedder, self.tools.artifacts, self.seed,
            self.scorer.activity.progress,
        )  # fmt: skip

    def finalists(self) -> list[Finalist]:
        """The rules and the prompts, best first: by the table's own test questions, a rule first
        only where it gains on them."""
        learnt = self.table.learnt
        texts: list[Finalist] = [Text(each) for each in self._ranked[: self.tools.top_prompts]]
        whole = self.settings.stage == STAGES[-1]
        if not whole or not learnt.draws.any() or all_alike(learnt):
            return texts
        own = self._stages()
        chosen = own.report()["sets"][-1]["choices"].get("irl0", {})
        assert self.tools.embedder is not None
        recommender = Recommender.of(self.tools.artifacts, self.tools.embedder)
        names = self.settings.rules if self.table.heldout.any() else ("irl0",)
        rules: list[Finalist] = [
            Rule(f"oirl {name}: {self.settings.reward} chooses", recommender.chooser(name))
            for name in dict.fromkeys(names)
        ]
        ahead = chosen.get("gain", {}).get("value", 0.0) > 0
        return [*rules, *texts] if ahead else [*texts, *rules]


OPTIMIZER = Oirl
