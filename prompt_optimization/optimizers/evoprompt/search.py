"""EvoPrompt (Guo et al., ICLR 2024): evolutionary algorithms whose operators are a writer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prompt_optimization.optimizers.base import Step, Tools
from prompt_optimization.optimizers.evoprompt.settings import LEAST, EvoPromptSettings
from prompt_optimization.optimizers.text.asks import induce
from prompt_optimization.optimizers.text.optimizer import Ask, Proposal, TextOptimizer
from prompt_optimization.scoring.scorer import Scored, Scorer

# Of the paper, for paraphrases too.
TEMPERATURE = 0.5


class EvoPrompt(TextOptimizer):
    """The first two steps make the start population; every further one is a generation.

    Attributes:
        population: what evolves; de knows a prompt by its place.
        varied: the start population has its paraphrases.
        generation: how many were made.
    """

    settings: EvoPromptSettings

    def __init__(self, settings: EvoPromptSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.population: list[Scored] = []
        self.varied = False
        self.generation = 0

    @classmethod
    def first_round(cls, settings: EvoPromptSettings, examples: int, models: int) -> int:
        """Those of the start population: of twice as many prompts, the initial one among them, and
        of paraphrases of half of those that are kept."""
        size = settings.population
        return (2 * size + size // 2) * examples * models

    def start(self, prompt: str) -> Scored:
        scored = super().start(prompt)
        self.population = [scored]
        return scored

    def _step(self) -> Step | None:
        if len(self.population) < LEAST:
            return self._induce()
        if not self.varied:
            return self._vary()
        if 0 < self.settings.generations <= self.generation:
            return None
        self.generation += 1
        return self._cross() if self.settings.algorithm == "ga" else self._differ()

    def _induce(self) -> Step:
        """The start population: the best of twice as many prompts, guessed from questions and
        answers. It is asked for again where too few come."""
        wanted = 2 * self.settings.population - len(self.population)
        proposals, scores = self._tried([induce(self, self.settings.demos) for _ in range(wanted)])
        self.population = self._best([*self.population, *scores])
        return self._made(proposals, scores, self.accept(scores))

    def _vary(self) -> Step:
        """The worse half of the start population gives way to paraphrases of the better half."""
        half = self.settings.population // 2
        kept = self.settings.population - half
        better = [scored.text for scored in self.population[:half]]
        proposals, scores = self._tried(
            [self._operation("paraphrase", (text,), prompt=text) for text in better]
        )
        varied = [*self.population[:kept], *scores, *self.population[kept:]]
        self.population = varied[: self.settings.population]
        self.varied = True
        return self._made(proposals, scores, self.accept(scores))

    def _cross(self) -> Step:
        """A generation of the genetic algorithm: the best of parents and children survive."""
        size = self.settings.population
        pairs = zip(self._drawn(size), self._drawn(size), strict=True)
        proposals, scores = self._tried(
            [self._operation("ga", (a, b), first=a, second=b) for a, b in pairs]
        )
        self.population = self._best([*self.population, *scores])
        return self._made(proposals, scores, self.accept(scores))

    def _differ(self) -> Step:
        """A generation of differential evolution: a child takes the place of its parent if it is
        better."""
        parents = [scored.text for scored in self.population]
        waves = [parents] if self.settings.one_wave else [[text] for text in parents]
        made: list[Proposal] = []
        children: list[Scored] = []
        accepted = False
        for wave in waves:
            proposals, scores = self._tried([self._difference(text, parents) for text in wave])
            for proposal, child in zip(proposals, scores, strict=True):
                place = parents.index(proposal.parents[0])
                if child.order < self.population[place].order:
                    self.population[place] = child
            accepted |= self.accept(scores)
            made += proposals
            children += scores
        return self._made(made, children, accepted)

    def _difference(self, old: str, parents: Sequence[str]) -> Ask:
        """A request for the child of ``old``: what two others differ in, brought into the best
        prompt and crossed with it."""
        a, b = self.tools.rng.sample([text for text in parents if text != old], 2)
        best = self.incumbent.text
        return self._operation("de", (old, a, b, best), first=a, second=b, best=best, old=old)

    def _drawn(self, count: int) -> list[str]:
        """Parents for the genetic algorithm, with replacement."""
        rng, members = self.tools.rng, self.population
        if self.settings.selection == "tournament":
            pairs = [rng.sample(members, 2) for _ in range(count)]
            return [min(pair, key=lambda scored: scored.order).text for pair in pairs]
        weights = None
        if self.settings.selection == "wheel":
            weights = [self.goodness(member) for member in members]
            # Where nothing is right, none is likelier than the others.
            weights = weights if any(weights) else None
        return [scored.text for scored in rng.choices(members, weights, k=count)]

    def _operation(self, operator: str, parents: tuple[str, ...], **slots: str) -> Ask:
        """A request that shows prompts."""
        shown = {slot: text.strip() for slot, text in slots.items()}
        return self.ask(operator, parents, shown, temperature=TEMPERATURE, max_tokens=1024)

    def _tried(self, asks: Sequence[Ask]) -> tuple[list[Proposal], list[Scored]]:
        """A wave of new prompts and their scores."""
        proposals = self.propose(asks)
        return proposals, self.score([proposal.text for proposal in proposals])

    def _best(self, prompts: Sequence[Scored]) -> list[Scored]:
        """As many as the population holds, best first; the earlier ones among equals."""
        return sorted(prompts, key=lambda scored: scored.order)[: self.settings.population]

    def _made(
        self, proposals: Sequence[Proposal], scores: Sequence[Scored], accepted: bool
    ) -> Step:
        population = [scored.text for scored in self.population]
        return self.made(
            proposals, scores, accepted, generation=self.generation, population=population
        )

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "population": list(self.population),
            "varied": self.varied,
            "generation": self.generation,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.population = list(state["population"])
        self.varied, self.generation = state["varied"], state["generation"]

    def carry_over(self, state: dict[str, Any]) -> None:
        """As ``TextOptimizer.carry_over``. The best prompts are the population."""
        super().carry_over(state)
        self.population = self._best([entry.scored for entry in self.leaderboard.entries])
        self.varied = state.get("varied", False)
        self.generation = state.get("generation", 0)


OPTIMIZER = EvoPrompt
