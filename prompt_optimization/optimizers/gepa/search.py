"""GEPA (Agrawal et al., 2025): reflective prompt evolution over a Pareto front of rows."""

from __future__ import annotations

from typing import Any

from prompt_optimization.optimizers.base import Step, Tools
from prompt_optimization.optimizers.gepa.pareto import shares
from prompt_optimization.optimizers.gepa.reflection import Reflection, next_minibatch, reflect
from prompt_optimization.optimizers.gepa.settings import GepaSettings
from prompt_optimization.optimizers.text.optimizer import Proposal, TextOptimizer
from prompt_optimization.scoring.scorer import Scored, Scorer


class Gepa(TextOptimizer):
    """A step has prompts of the pool changed after some of their answers. What is better on the
    same questions is scored on all of them and joins the pool.

    Attributes:
        pool: each prompt that was scored on all rows, with what each row cost.
        epoch: examples that are to be drawn before any comes again.
    """

    settings: GepaSettings

    def __init__(self, settings: GepaSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.pool: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    @classmethod
    def first_round(cls, settings: GepaSettings, examples: int, models: int) -> int:
        """Those of the initial prompt, of a wave on its minibatches, and of one prompt that was
        better there, on the other rows."""
        size = min(settings.minibatch, examples)
        others = (settings.parents or 1) * (settings.mutations or 1) - 1
        return super().first_round(settings, examples, models) + others * size * models

    def start(self, prompt: str) -> Scored:
        scored = super().start(prompt)
        self._join(scored)
        return scored

    def _step(self) -> Step | None:
        if not all(any(costs) for costs in self.pool.values()):
            return None  # A prompt without a mistake is there.
        proposals = self.propose(self._reflections())
        improved = [proposal.text for proposal in proposals if self._improves(proposal)]
        scores = self.score(improved)
        for scored in scores:
            self._join(scored)
        return self.made(proposals, scores, self.accept(scores), pool=len(self.pool))

    def _reflections(self) -> list[Reflection]:
        """A wave of requests. Minibatches without a mistake ask for nothing; a wave without any
        mistake costs nothing and is drawn again."""
        found: list[Reflection] = []
        while not found:
            for _ in range(self.settings.parents):
                parent = self._parent()
                batches = [self._minibatch() for _ in range(self.settings.mutations)]
                found += [
                    reflect(self, parent, batch)
                    for batch in batches
                    if any(self._costs(parent, batch))
                ]
        return found

    def _parent(self) -> str:
        if self.settings.select == "best":
            return self.incumbent.text
        weights = shares(list(self.pool.values()))
        return self.tools.rng.choices(list(self.pool), weights)[0]

    def _minibatch(self) -> list[int]:
        examples, size = len(self.scorer.examples), self.settings.minibatch
        return next_minibatch(self.epoch, examples, size, self.tools.rng)

    def _costs(self, prompt: str, examples: list[int]) -> list[float]:
        """What ``examples`` cost under a prompt of the pool, as all models answer them."""
        known = dict(zip(self.scorer.rows(), self.pool[prompt], strict=True))
        return [known[row] for row in self.scorer.rows(examples)]

    def _improves(self, proposal: Proposal) -> bool:
        """Whether a proposal is better than its parent on the minibatch that led to it."""
        assert isinstance(proposal.ask, Reflection)
        examples, (parent,) = list(proposal.ask.minibatch), proposal.parents
        with self.scorer.activity.phase("try"):
            after = sum(self.costs(proposal.text, self.scorer.rows(examples)))
        before = sum(self._costs(parent, examples))
        return after < before or (self.settings.accept == "equal" and after == before)

    def _join(self, scored: Scored) -> None:
        self.pool[scored.text] = self.costs(scored.text, self.scorer.rows())

    def state_dict(self) -> dict[str, Any]:
        pool = {text: list(costs) for text, costs in self.pool.items()}
        return super().state_dict() | {"pool": pool, "epoch": list(self.epoch)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.pool = {text: list(costs) for text, costs in state["pool"].items()}
        self.epoch = list(state["epoch"])

    def carry_over(self, state: dict[str, Any]) -> None:
        """As ``TextOptimizer.carry_over``. The pool begins anew with the best prompts."""
        super().carry_over(state)
        for entry in (self.incumbent, *self.leaderboard.entries):
            self._join(entry.scored)


OPTIMIZER = Gepa
