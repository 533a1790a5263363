"""Reasonings that are drawn from a prompt, and what its edits do to the loss through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from prompt_optimization.models.engine import Outcome
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.model import Model
from prompt_optimization.models.sampling import Sampling
from prompt_optimization.optimizers.greater.likelihood_ratio import first_order
from prompt_optimization.scoring.scorer import Row, Scorer


@dataclass(frozen=True)
class Draws:
    """Reasonings drawn from a prompt.

    Attributes:
        rows: the same examples as some models answer them, models one after the other.
        outcomes: by draw, one a row.
    """

    text: str
    rows: tuple[Row, ...]
    outcomes: tuple[tuple[Outcome, ...], ...]

    def serve(self, text: str, rows: Sequence[Row]) -> bool:
        """Whether they are those of ``text`` on ``rows``."""
        return self.text == text and self.rows == tuple(rows)

    def state_dict(self) -> list[Any]:
        return [self.text, [list(row) for row in self.rows], self.outcomes]

    @classmethod
    def of_state(cls, state: Sequence[Any]) -> Draws:
        text, rows, outcomes = state
        return cls(text, tuple((row[0], row[1]) for row in rows), tuple(map(tuple, outcomes)))

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
        examples = [example for _, example in self.rows[: len(self.rows) // len(models)]]
        size = len(examples)
        decoding = replace(scorer.decoding, sampling=Sampling(temperature))
        prompts = [scorer.ids(self.text), *edits]
        by_model = [
            [of_draw[number * size :][:size] for of_draw in self.outcomes]
            for number in range(len(models))
        ]
        submitted = [
            model.submit_reread(
                prompts,
                decoding,
                [
                    (example, [outcome.reasoning for outcome in outcomes])
                    for example, outcomes in zip(examples, zip(*own, strict=True), strict=True)
                ],
            )
            for model, own in zip(models, by_model, strict=True)
        ]
        weights = np.array([scorer.examples[example].weight for example in examples])
        found = []
        for own, future in zip(by_model, submitted, strict=True):
            losses = np.array([[outcome.loss for outcome in of_draw] for of_draw in own]).T
            read = future.result()
            change = np.moveaxis(read[:, 1:] - read[:, :1], 1, 0)
            found.append(first_order(losses, change, clip) @ weights / weights.sum())
        return torch.from_numpy(np.mean(found, axis=0))
