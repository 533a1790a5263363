"""OPRO (Yang et al., ICLR 2024): optimisation by prompting with a trajectory of scored prompts."""

from __future__ import annotations

from typing import Any

from prompt_optimization.optimizers.base import Step, Tools
from prompt_optimization.optimizers.opro.settings import OproSettings
from prompt_optimization.optimizers.text.optimizer import Ask, Fix, TextOptimizer
from prompt_optimization.optimizers.text.trajectory import Attempt, Trajectory
from prompt_optimization.scoring.scorer import Scored, Scorer


class Opro(TextOptimizer):
    """A step shows the writer the best prompts so far and scores what it proposes."""

    settings: OproSettings
    fixes = TextOptimizer.fixes | {
        "long": Fix("allow longer prompts", ("max_prompt_tokens", "opro.max_characters")),
        "digits": Fix("allow digits in prompts", ("opro.drop_digits",)),
    }

    def __init__(self, settings: OproSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.trajectory = Trajectory()

    def start(self, prompt: str) -> Scored:
        scored = super().start(prompt)
        self._show(scored, -1)
        return scored

    def _step(self) -> Step | None:
        proposals = self.propose([self._asked(self.settings.proposals)])
        scores = self.score([proposal.text for proposal in proposals])
        for scored in scores:
            self._show(scored, self.steps)
        return self.made(proposals, scores, self.accept(scores))

    def _asked(self, draws: int) -> Ask:
        """A request for ``draws`` prompts that shows the best ones so far."""
        user = self.metaprompts["meta_prompt"].fill(
            trajectory=self._attempts(), exemplars=self._exemplars()
        )
        request = self.request(user, draws=draws, temperature=1.0, max_tokens=512)
        return Ask(request, "propose")

    def problem(self, text: str) -> str | None:
        limit = self.settings.max_characters
        if limit and len(text.strip()) > limit:
            return "long"
        if self.settings.drop_digits and any(character.isdigit() for character in text):
            return "digits"
        return super().problem(text)

    def _attempts(self) -> str:
        shown = self.trajectory.best(self.settings.keep, self.settings.threshold)
        return "\n\n".join(each.shown(self.settings.score_scale) for each in shown)

    def _exemplars(self) -> str:
        examples, rng = self.scorer.examples, self.tools.rng
        numbers = list(range(len(examples)))
        if self.settings.exemplar_rule == "wrong":
            costs = self.scorer.costs(self.incumbent.text, self.scorer.rows())
            models = len(self.scorer.models)
            mean = [sum(costs[i :: len(examples)]) / models for i in numbers]
            numbers = [i for i in numbers if mean[i] >= 0.5] or numbers
        return self.exemplars(rng.sample(numbers, min(self.settings.exemplars, len(numbers))))

    def _show(self, scored: Scored, step: int) -> None:
        self.trajectory.add([Attempt(scored.text, self.goodness(scored), step)])

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"trajectory": self.trajectory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.trajectory.load_state_dict(state["trajectory"])

    def carry_over(self, state: dict[str, Any]) -> None:
        super().carry_over(state)
        for entry in self.leaderboard.entries:
            self._show(entry.scored, entry.step)


OPTIMIZER = Opro
