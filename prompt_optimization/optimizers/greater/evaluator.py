"""Evaluations of prompts on the training samples, none computed twice."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from prompt_optimization.models.engine import Decoding, Engine, Outcome
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.samples import Samples

# Prompts whose outcomes are remembered; the least recently used one is forgotten first.
REMEMBERED = 256


@dataclass(frozen=True)
class Evaluation:
    """One prompt on the first ``len(outcomes)`` samples.

    Attributes:
        objective: what selection minimises.
        loss: mean answer cross-entropy over samples, in nats.
        mistakes: share of samples whose answer tokens are not all the first choice.
        nll: mean over samples of the prompt's negative log-likelihood per token, in nats.
        outcomes: per sample.
    """

    objective: float
    loss: float
    mistakes: float
    nll: float
    outcomes: tuple[Outcome, ...]

    @property
    def reasonings(self) -> list[Ids]:
        return [outcome.reasoning for outcome in self.outcomes]


class Evaluator:
    """Evaluates prompts under one objective with one way of decoding."""

    def __init__(
        self,
        engine: Engine,
        samples: Samples,
        decoding: Decoding,
        *,
        objective: str,
        nll_weight: float,
    ) -> None:
        assert objective in ("mistakes", "loss"), objective
        self.engine = engine
        self.samples = samples
        self.decoding = decoding
        self.objective = objective
        self.nll_weight = nll_weight
        self.remembered: OrderedDict[Ids, dict[int, Outcome]] = OrderedDict()
        self.reused = 0

    def evaluate(self, prompts: Sequence[Ids], active: int) -> list[Evaluation]:
        """Evaluations of ``prompts`` on the first ``active`` samples."""
        unknown: dict[tuple[int, ...], list[Ids]] = defaultdict(list)
        for prompt in dict.fromkeys(prompts):
            known = self.remembered.setdefault(prompt, {})
            self.remembered.move_to_end(prompt)
            missing = tuple(sample for sample in range(active) if sample not in known)
            self.reused += active - len(missing)
            if missing:
                unknown[missing].append(prompt)
        for missing, group in unknown.items():
            results = self.engine.run(self.samples, group, self.decoding, missing)
            for prompt, outcomes in zip(group, results, strict=True):
                self.remembered[prompt].update(zip(missing, outcomes, strict=True))
        evaluations = [self._evaluation(prompt, active) for prompt in prompts]
        while len(self.remembered) > REMEMBERED:
            self.remembered.popitem(last=False)
        return evaluations

    def _evaluation(self, prompt: Ids, active: int) -> Evaluation:
        outcomes = tuple(self.remembered[prompt][sample] for sample in range(active))
        loss = sum(outcome.loss for outcome in outcomes) / active
        mistakes = sum(outcome.mistake for outcome in outcomes) / active
        nll = sum(outcome.nll for outcome in outcomes) / active
        chief = mistakes if self.objective == "mistakes" else loss
        return Evaluation(chief + self.nll_weight * nll, loss, mistakes, nll, outcomes)
