"""Continuing cached rows token by token, side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.sampling import (
    Choice,
    Likeliest,
    NotFiniteError,
    Sampling,
    first_choice,
)
from prompt_optimization.models.static import COMPACTION_SHARE, StaticRows

__all__ = ["Choice", "NotFiniteError", "Sampling", "decode", "first_choice"]


class Rows(Protocol):
    """A pool of rows that grow by a token a step."""

    def choose(self, step: int) -> list[tuple[int, int]]:
        """The rows that do not end with this step's token, and their tokens.

        Raises:
            NotFiniteError: the logits of a row are not finite.
        """
        ...

    def extend(self, step: int) -> None:
        """Let the model read what was chosen."""
        ...

    def finish(self) -> KVRows:
        """The cache of all rows, in the order that they began in."""
        ...


@torch.no_grad()
def decode(
    model: LanguageModel,
    kv: KVRows,
    logits: torch.Tensor,
    limit: int,
    spare: int = 0,
    choice: Choice | None = None,
    on_step: Callable[[int], None] | None = None,
) -> tuple[list[Ids], KVRows]:
    """Continue every row until it ends itself or has ``limit`` tokens.

    Args:
        kv: the rows; used up by the call.
        logits: [rows, vocabulary] after each row's last token.
        spare: columns that the caller will append afterwards.
        choice: which token comes next; the likeliest when left out.
        on_step: called before every step with its number.

    Returns:
        per row the chosen ids without the one that ended it, and the rows' cache in the same
        order. It holds every chosen token but the last of a row that met the limit, and may lie in
        the model's static buffers, which the next call writes over.

    Raises:
        NotFiniteError: the logits of a row are not finite.
    """
    choice = choice or Likeliest(kv.positions.new_zeros(kv.rows))
    written: list[list[int]] = [[] for _ in range(kv.rows)]
    buffers = model.static
    rows: Rows
    if buffers is None:
        rows = GrowingRows(model, kv, logits, limit, spare, choice)
    else:
        rows = StaticRows(model, buffers, kv, logits, limit, spare, choice)
    for step in range(limit):
        if on_step:
            on_step(step)
        chosen = rows.choose(step)
        for row, token in chosen:
            written[row].append(token)
        model.counts["decoded"] += len(chosen)
        if not chosen or step == limit - 1:
            break
        rows.extend(step)
    return [tuple(ids) for ids in written], rows.finish()


class GrowingRows:
    """Rows whose buffers grow; those that have ended are taken out."""

    def __init__(
        self,
        model: LanguageModel,
        kv: KVRows,
        logits: torch.Tensor,
        limit: int,
        spare: int,
        choice: Choice,
    ) -> None:
        self._model = model
        self._kv = kv
        self._logits = logits
        self._limit = limit
        self._spare = spare
        self._choice = choice
        self._stops = model.stops
        self._parked: list[tuple[torch.Tensor, KVRows]] = []
        self._origin = torch.arange(kv.rows, device=model.device)
        self._going = torch.ones(kv.rows, dtype=torch.bool, device=model.device)
        self._chosen = self._origin

    def choose(self, step: int) -> list[tuple[int, int]]:
        self._chosen = self._choice(self._logits, self._origin, step)
        self._going &= ~torch.isin(self._chosen, self._stops)
        going = self._going.tolist()
        rows = zip(self._origin.tolist(), self._chosen.tolist(), going, strict=True)
        return [(row, token) for row, token, alive in rows if alive]

    def extend(self, step: int) -> None:
        finished = self._kv.rows - int(self._going.sum())
        if finished >= max(1, COMPACTION_SHARE * self._kv.rows):
            going = self._going
            self._kv, parted = self._kv.split(going, self._limit - step + self._spare)
            self._parked.append((self._origin[~going], parted))
            self._chosen, self._origin = self._chosen[going], self._origin[going]
            self._going = going[going]
        row = torch.arange(self._kv.rows, device=self._model.device)
        where = row, torch.zeros_like(row)
        self._logits = self._model.extend(
            self._kv, self._chosen[:, None], where, self._going[:, None]
        )

    def finish(self) -> KVRows:
        if not self._parked:
            return self._model.packed(self._kv, self._spare)
        places, parts = zip(*self._parked, (self._origin, self._kv), strict=True)
        return KVRows.join(parts, places, self._spare)
