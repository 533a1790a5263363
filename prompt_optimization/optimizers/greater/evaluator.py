"""Evaluations of prompts on the training samples, none computed twice."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from prompt_optimization.models.engine import Decoding, Outcome
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.team import Team

# Prompts whose outcomes are remembered; the least recently used one is forgotten first.
REMEMBERED = 256

# More than what adding the same numbers in another order can change.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Evaluation:
    """One prompt on some samples, by one model or several; on a part of them when ``capped``.

    Attributes:
        objective: what selection minimises; when capped, a lower bound of it.
        loss: mean answer cross-entropy over samples, in nats.
        mistakes: share of samples whose answer tokens are not all the first choice.
        nll: mean over samples of the prompt's negative log-likelihood per token, in nats.
        outcomes: per place (see ``Evaluator``), in their order.
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
    """Evaluates prompts under one objective with one way of decoding.

    A *place* is a training sample as one of the models answers it: its number is the model's times
    the number of samples, plus the sample's. An evaluation is a mean over places.
    """

    def __init__(
        self,
        teams: Sequence[Team],
        decoding: Decoding,
        *,
        objective: str,
        nll_weight: float,
    ) -> None:
        assert objective in ("mistakes", "loss"), objective
        self.teams = teams
        self.decoding = decoding
        self.objective = objective
        self.nll_weight = nll_weight
        self.remembered: OrderedDict[Ids, dict[int, Outcome]] = OrderedDict()
        self.reused = 0
        self.computed = 0

    def places(self, models: int, active: int) -> list[int]:
        """The first ``active`` samples as the first ``models`` models answer them."""
        width = len(self.teams[0].training)
        return [model * width + sample for model in range(models) for sample in range(active)]

    def evaluate(self, prompts: Sequence[Ids], places: Sequence[int]) -> list[Evaluation]:
        """Evaluations of ``prompts`` on ``places``."""
        return self.race(prompts, [places], math.inf)

    def race(
        self, prompts: Sequence[Ids], chunks: Sequence[Sequence[int]], ceiling: float
    ) -> list[Evaluation]:
        """Evaluations of ``prompts``, given up on as soon as they are surely above ``ceiling``.

        No part of the objective is ever negative, so what the places run so far add up to is a
        lower bound of it.

        Args:
            chunks: the places in the order they are run, each once.
            ceiling: an objective.
        """
        places = sorted(place for chunk in chunks for place in chunk)
        running = list(dict.fromkeys(prompts))
        for chunk in chunks:
            self._run(running, chunk)
            running = [
                prompt
                for prompt in running
                if self._evaluation(prompt, places).objective <= ceiling + ROUNDING
            ]
        evaluations = [self._evaluation(prompt, places) for prompt in prompts]
        while len(self.remembered) > REMEMBERED:
            self.remembered.popitem(last=False)
        return evaluations

    def _run(self, prompts: Sequence[Ids], places: Sequence[int]) -> None:
        """Let ``prompts`` reason on those of ``places`` where their outcome is not known."""
        unknown: dict[tuple[int, ...], list[Ids]] = defaultdict(list)
        for prompt in prompts:
            known = self.remembered.setdefault(prompt, {})
            self.remembered.move_to_end(prompt)
            missing = tuple(place for place in places if place not in known)
            self.reused += len(places) - len(missing)
            if missing:
                unknown[missing].append(prompt)
        width = len(self.teams[0].training)
        for missing, group in unknown.items():
            begun = []
            for model, team in enumerate(self.teams):
                own = [place for place in missing if place // width == model]
                if own:
                    samples = [place % width for place in own]
                    begun.append((own, team.begin_run(group, self.decoding, samples)))
            for own, collect in begun:
                for prompt, outcomes in zip(group, collect(), strict=True):
                    self.remembered[prompt].update(zip(own, outcomes, strict=True))
            self.computed += len(group) * len(missing)

    def _evaluation(self, prompt: Ids, places: Sequence[int]) -> Evaluation:
        known = self.remembered[prompt]
        outcomes = tuple(known[place] for place in places if place in known)
        loss = sum(outcome.loss for outcome in outcomes) / len(places)
        mistakes = sum(outcome.mistake for outcome in outcomes) / len(places)
        nll = sum(outcome.nll for outcome in outcomes) / len(places)
        chief = mistakes if self.objective == "mistakes" else loss
        return Evaluation(
            chief + self.nll_weight * nll,
            loss,
            mistakes,
            nll,
            outcomes,
            capped=len(outcomes) < len(places),
        )
