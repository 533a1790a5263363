"""Which training rows a step sees: all of them, a part that grows, or fresh ones every time."""

from __future__ import annotations

import random
from typing import Any

from prompt_optimization.optimizers.greater.settings import GreaterSettings
from prompt_optimization.scoring.scorer import Row, Scorer


class RowsInUse:
    """The examples in use and how many of the models answer them.

    Attributes:
        fresh: they are drawn anew for every step; before the first one all are in use.
        examples: by number, ascending.
        models: how many; the first ones.
    """

    def __init__(self, settings: GreaterSettings, scorer: Scorer) -> None:
        self._settings = settings
        self._scorer = scorer
        self._pool = len(scorer.examples)
        self._undrawn: list[int] = []
        self.fresh = bool(settings.rows_per_step)
        self.examples = list(range(first_examples(settings, self._pool)))
        self.models = first_models(settings, len(scorer.models))

    @property
    def all(self) -> list[Row]:
        """Models one after the other."""
        return self._scorer.rows(self.examples, self.models)

    @property
    def complete(self) -> bool:
        """Whether none can be added."""
        every = self.models == len(self._scorer.models)
        return self.fresh or (len(self.examples) == self._pool and every)

    @property
    def weights(self) -> list[float]:
        """Of the examples."""
        return [self._scorer.examples[example].weight for example in self.examples]

    def draw(self, rng: random.Random) -> None:
        """Use other examples. They come in rounds, in each of which every one comes once."""
        size = self._settings.rows_per_step
        drawn, self._undrawn = self._undrawn[:size], self._undrawn[size:]
        if len(drawn) < size:
            # The last ones of a round are completed by others from the next round.
            others = [number for number in range(self._pool) if number not in drawn]
            rng.shuffle(others)
            missing = size - len(drawn)
            drawn, self._undrawn = drawn + others[:missing], others[missing:]
        self.examples = sorted(drawn)

    def grow(self) -> str:
        """Use more examples or, once all are in use, another model; what there is now, in words."""
        if len(self.examples) < self._pool:
            assert self._settings.progressive_group is not None
            more = len(self.examples) + self._settings.progressive_group
            self.examples = list(range(min(more, self._pool)))
            return f"samples: {len(self.examples)}"
        self.models += 1
        return f"models: {self.models}"

    def state_dict(self) -> dict[str, Any]:
        return {
            "examples": list(self.examples),
            "models": self.models,
            "undrawn": list(self._undrawn),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.models = state["models"]
        if "active" in state:  # a state from before rows were drawn
            self.examples = list(range(state["active"]))
        else:
            self.examples, self._undrawn = list(state["examples"]), list(state["undrawn"])


def first_examples(settings: GreaterSettings, pool: int) -> int:
    """How many of ``pool`` examples the initial prompt is scored on."""
    if not settings.progressive_goals:
        return pool
    assert settings.progressive_group is not None
    return min(settings.progressive_group, pool)


def first_models(settings: GreaterSettings, models: int) -> int:
    """How many of ``models`` it is scored with."""
    return 1 if settings.progressive_models else models
