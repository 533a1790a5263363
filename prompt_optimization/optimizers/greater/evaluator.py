"""Evaluations of prompts on the training samples, none computed twice."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from prompt_optimization.models.engine import Decoding, Engine, Outcome
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.samples import Samples

# Prompts whose outcomes are remembered; the least recently used one is forgotten first.
REMEMBERED = 256

# More than what adding the same numbers in another order can change.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Evaluation:
    """One prompt on the first ``len(outcomes)`` samples, or on some of them when ``capped``.

    Attributes:
        objective: what selection minimises; when capped, a lower bound of it.
        loss: mean answer cross-entropy over samples, in nats.
        mistakes: share of samples whose answer tokens are not all the first choice.
        nll: mean over samples of the prompt's negative log-likelihood per token, in nats.
        outcomes: per sample.
        capped: given up, because the samples run so far settle that it is above a ceiling; the
            means are over all samples with zero for those that were not run.
    """

    objective: float
    loss: float
    mistakes: float
    nll: float
    outcomes: tuple[Outcome, ...]
    capped: bool = False

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
        self.computed = 0

    def evaluate(self, prompts: Sequence[Ids], active: int) -> list[Evaluation]:
        """Evaluations of ``prompts`` on the first ``active`` samples."""
        return self.race(prompts, [range(active)], math.inf)

    def race(
        self, prompts: Sequence[Ids], chunks: Sequence[Sequence[int]], ceiling: float
    ) -> list[Evaluation]:
        """Evaluations of ``prompts``, given up on as soon as they are surely above ``ceiling``.

        No part of the objective is ever negative, so what the samples run so far add up to is a
        lower bound of it.

        Args:
            chunks: the samples in the order they are run; together the first so many, each once.
            ceiling: an objective.
        """
        active = sum(map(len, chunks))
        running = list(dict.fromkeys(prompts))
        for chunk in chunks:
            self._run(running, chunk)
            running = [
                prompt
                for prompt in running
                if self._evaluation(prompt, active).objective <= ceiling + ROUNDING
            ]
        evaluations = [self._evaluation(prompt, active) for prompt in prompts]
        while len(self.remembered) > REMEMBERED:
            self.remembered.popitem(last=False)
        return evaluations

    def _run(self, prompts: Sequence[Ids], samples: Sequence[int]) -> None:
        """Let ``prompts`` reason on those of ``samples`` where their outcome is not known."""
        unknown: dict[tuple[int, ...], list[Ids]] = defaultdict(list)
        for prompt in prompts:
            known = self.remembered.setdefault(prompt, {})
            self.remembered.move_to_end(prompt)
            missing = tuple(sample for sample in samples if sample not in known)
            self.reused += len(samples) - len(missing)
            if missing:
                unknown[missing].append(prompt)
        for missing, group in unknown.items():
            results = self.engine.run(self.samples, group, self.decoding, missing)
            self.computed += len(group) * len(missing)
            for prompt, outcomes in zip(group, results, strict=True):
                self.remembered[prompt].update(zip(missing, outcomes, strict=True))

    def _evaluation(self, prompt: Ids, active: int) -> Evaluation:
        known = self.remembered[prompt]
        outcomes = tuple(known[sample] for sample in range(active) if sample in known)
        loss = sum(outcome.loss for outcome in outcomes) / active
        mistakes = sum(outcome.mistake for outcome in outcomes) / active
        nll = sum(outcome.nll for outcome in outcomes) / active
        chief = mistakes if self.objective == "mistakes" else loss
        return Evaluation(
            chief + self.nll_weight * nll,
            loss,
            mistakes,
            nll,
            outcomes,
            capped=len(outcomes) < active,
        )
