"""GReaTer's search without its signal: which proposals are tried is left to chance."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prompt_optimization.models.layout import Ids
from prompt_optimization.models.model import Model
from prompt_optimization.optimizers.greater.search import GreaterSearch
from prompt_optimization.optimizers.greater.select import shortlist


class RandomSearch(GreaterSearch):
    """Proposals, positions and acceptance are GReaTer's; no gradient is taken."""

    differentiates = False

    def _signal(
        self,
        models: Sequence[Model],
        prompt: Ids,
        position: int,
        tokens: Sequence[int],
        appended: bool,
    ) -> torch.Tensor | None:
        return None

    def _shortlist(self, signal: torch.Tensor | None, tokens: Sequence[int]) -> list[int]:
        return shortlist("random", signal, tokens, self.settings.shortlist_size, self.tools.rng)


OPTIMIZER = RandomSearch
