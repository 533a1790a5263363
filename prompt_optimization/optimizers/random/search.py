"""GReaTer's search without its signal: which proposals are tried is left to chance."""

from __future__ import annotations

from collections.abc import Sequence

from prompt_optimization.optimizers.greater.edits import Edit
from prompt_optimization.optimizers.greater.search import GreaterSearch
from prompt_optimization.optimizers.greater.signal import NOTHING, Place, Prediction


class RandomSearch(GreaterSearch):
    """Proposals, positions and acceptance are GReaTer's; no gradient is taken."""

    differentiates = False

    def _predicted(self, edits: Sequence[Edit], place: Place) -> Prediction:
        return NOTHING

    @property
    def _rule(self) -> str:
        return "random"


OPTIMIZER = RandomSearch
