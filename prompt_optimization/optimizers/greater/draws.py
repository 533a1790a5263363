"""Reasonings that are drawn from a prompt, and what its edits do to the loss through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from prompt_optimization.models.engine import Outcome
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.model import Model
from prompt_optimization.models.sampling import Sampling
from prompt_optimization.optimizers.greater.likelihood_ratio import first_order
from prompt_optimization.scoring.scorer import Scorer


@dataclass(frozen=True)
class Draws:
    """Reasonings drawn from a prompt.

    Attributes:
        outcomes: by draw, one a row: the first training examples as some models answer them,
            models one after the other.
    """

    text: str
    outcomes: tuple[tuple[Outcome, ...], ...]

    def serve(self, text: str, rows: int) -> bool:
        """Whether they are those of ``text`` on as many rows."""
        return self.text == text and len(self.outcomes[0]) == rows

    def changes(
        self,
        scorer: Scorer,
        models: Sequence[Model],
        edits: Sequence[Ids],
        temperature: float,
        clip: float,
    ) -> torch.Tensor:
        """The first-order change of the loss by each of ``edits`` of the prompt through these
        reasonings, mean over examples with their weights and over models: [edits].

        Args:
            scorer: what has drawn.
            models: those whose rows were drawn.
            temperature: of the draws.
            clip: see ``first_order``.

        Raises:
            As ``reread``.
        """
        examples = len(self.outcomes[0]) // len(models)
        decoding = replace(scorer.decoding, sampling=Sampling(temperature))
        prompts = [scorer.ids(self.text), *edits]
        by_model = [
            [of_draw[number * examples :][:examples] for of_draw in self.outcomes]
            for number in range(len(models))
        ]
        submitted = [
            model.submit_reread(
                prompts,
                decoding,
                [
                    (example, [outcome.reasoning for outcome in outcomes])
                    for example, outcomes in enumerate(zip(*own, strict=True))
                ],
            )
            for model, own in zip(models, by_model, strict=True)
        ]
        weights = np.array([each.weight for each in scorer.examples[:examples]])
        found = []
        for own, future in zip(by_model, submitted, strict=True):
            losses = np.array([[outcome.loss for outcome in of_draw] for of_draw in own]).T
            read = future.result()
            change = np.moveaxis(read[:, 1:] - read[:, :1], 1, 0)
            found.append(first_order(losses, change, clip) @ weights / weights.sum())
        return torch.from_numpy(np.mean(found, axis=0))
