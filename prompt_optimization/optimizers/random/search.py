"""GReaTer's search without its signal: which proposals are tried is left to chance."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prompt_optimization.models.layout import Ids
from prompt_optimization.models.model import Model
from prompt_optimization.optimizers.greater.edits import Edit
from prompt_optimization.optimizers.greater.search import GreaterSearch


class RandomSearch(GreaterSearch):
    """Proposals, positions and acceptance are GReaTer's; no gradient is taken."""

    differentiates = False

    def _signal(
        self,
        models: Sequence[Model],
        edits: Sequence[Edit],
        prompt: Ids,
        position: int,
        appended: bool,
    ) -> torch.Tensor | None:
        return None

    @property
    def _rule(self) -> str:
        return "random"


OPTIMIZER = RandomSearch
