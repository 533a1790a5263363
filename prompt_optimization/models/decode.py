"""Continuing cached rows token by token, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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

__all__ = ["Choice", "NotFiniteError", "Part", "Sampling", "decode", "decode_parts", "first_choice"]


@dataclass
class Part:
    """Rows of a pool that are through with decoding.

    Attributes:
        rows: their numbers, in the order that decoding began with.
        written: the chosen ids of each, without the one that ended it.
        kv: their cache. It holds every chosen token but the last of a row that met the limit, and
            may lie in the model's static buffers, which the next call writes over. None for rows
            that were given up.
    """

    rows: torch.Tensor
    written: list[Ids]
    kv: KVRows | None


class Rows(Protocol):
    """A pool of rows that grow by a token a step."""

    def choose(self, step: int) -> list[tuple[int, int]]:
        """The rows that do not end with this step's token, and their tokens.

        Raises:
            NotFiniteError: the logits of a row are not finite.
        """
        ...

    def part(self, step: int) -> Iterator[tuple[torch.Tensor, KVRows | None]]:
        """Rows that are taken out before the next token is read: their numbers and their cache;
        None instead of a cache for those that the memory does not hold any longer."""
        ...

    def extend(self, step: int) -> None:
        """Let the model read what was chosen."""
        ...

    def finish(self) -> tuple[torch.Tensor, KVRows]:
        """The rows that are left."""
        ...


@torch.no_grad()
def decode(
    model: LanguageModel,
    kv: KVRows,
    logits: torch.Tensor,
    limit: int,
    choice: Choice | None = None,
    on_step: Callable[[int], None] | None = None,
) -> list[Ids]:
    """What every row is continued by, without the token that ends it; see ``decode_parts``."""
    written: list[Ids] = [()] * kv.rows
    parts = decode_parts(model, kv, logits, limit, choice=choice, on_step=on_step)
    for part in parts:
        for row, ids in zip(part.rows.tolist(), part.written, strict=True):
            written[row] = ids
        del part  # Its cache is not needed.
    return written


@torch.no_grad()
def decode_parts(
    model: LanguageModel,
    kv: KVRows,
    logits: torch.Tensor,
    limit: int,
    spare: int = 0,
    choice: Choice | None = None,
    on_step: Callable[[int], None] | None = None,
    begun: int = 0,
    room: int | None = None,
) -> Iterator[Part]:
    """Continue every row until it ends itself or has ``limit`` tokens; rows come as they end, some
    at a time.

    Args:
        kv: the rows; used up as decoding goes on.
        logits: [rows, vocabulary] after each row's last token.
        spare: columns that the caller will append afterwards.
        choice: which token comes next; the likeliest when left out.
        on_step: called before every step with its number.
        begun: tokens that were chosen for every row before, and that ``kv`` holds.
        room: columns of all rows together at most. Some of the rows that would need more are given
            up; they come with what was chosen for them so far, and with no cache. One row may have
            any number. Rows in static buffers are never given up.

    Raises:
        NotFiniteError: the logits of a row are not finite.
    """
    choice = choice or Likeliest(kv.positions.new_zeros(kv.rows))
    written: list[list[int]] = [[] for _ in range(kv.rows)]
    buffers = model.static
    rows: Rows
    if buffers is None:
        rows = GrowingRows(model, kv, logits, limit, spare, choice, room)
    else:
        assert not begun, "rows in static buffers are never given up"
        rows = StaticRows(model, buffers, kv, logits, limit, spare, choice)

    def part(numbers: torch.Tensor, kv: KVRows | None) -> Part:
        return Part(numbers, [tuple(written[row]) for row in numbers.tolist()], kv)

    for step in range(begun, limit):
        if on_step:
            on_step(step)
        chosen = rows.choose(step)
        for row, token in chosen:
            written[row].append(token)
        model.counts["decoded"] += len(chosen)
        if not chosen or step == limit - 1:
            break
        for numbers, taken in rows.part(step):
            yield part(numbers, taken)
            del taken
        rows.extend(step)
    yield part(*rows.finish())


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
        room: int | None,
    ) -> None:
        self._model = model
        self._kv = kv
        self._logits = logits
        self._limit = limit
        self._spare = spare
        self._choice = choice
        self._room = room
        self._stops = model.stops
        self._origin = torch.arange(kv.rows, device=model.device)
        self._going = torch.ones(kv.rows, dtype=torch.bool, device=model.device)
        self._chosen = self._origin

    def choose(self, step: int) -> list[tuple[int, int]]:
        self._chosen = self._choice(self._logits, self._origin, step)
        self._going &= ~torch.isin(self._chosen, self._stops)
        going = self._going.tolist()
        rows = zip(self._origin.tolist(), self._chosen.tolist(), going, strict=True)
        return [(row, token) for row, token, alive in rows if alive]

    def part(self, step: int) -> Iterator[tuple[torch.Tensor, KVRows | None]]:
        finished = self._kv.rows - int(self._going.sum())
        if finished and (self._is_full() or finished >= COMPACTION_SHARE * self._kv.rows):
            going = self._going
            self._kv, ended = self._kv.split(going, self._more(step, self._kv.rows - finished))
            yield self._take_out(going), ended
        if self._kv.rows > 1 and self._is_full():
            rest = self._kv.rows // 2
            first = torch.arange(self._kv.rows, device=self._model.device) < self._kv.rows - rest
            self._kv = self._kv.kept(first, self._more(step, self._kv.rows - rest))
            yield self._take_out(first), None

    def _is_full(self) -> bool:
        """Whether the rows have no room for the next token."""
        return self._room is not None and self._kv.rows * (self._kv.columns + 1) > self._room

    def _more(self, step: int, rows: int) -> int:
        """Columns that ``rows`` rows are given room for."""
        most = self._limit - step + self._spare
        if self._room is None:
            return most
        return max(1, min(most, self._room // rows - self._kv.columns))

    def _take_out(self, stay: torch.Tensor) -> torch.Tensor:
        """The numbers of the rows that do not ``stay`` [rows]."""
        taken = self._origin[~stay]
        self._chosen, self._origin = self._chosen[stay], self._origin[stay]
        self._going = self._going[stay]
        return taken

    def extend(self, step: int) -> None:
        row = torch.arange(self._kv.rows, device=self._model.device)
        where = row, torch.zeros_like(row)
        self._logits = self._model.extend(
            self._kv, self._chosen[:, None], where, self._going[:, None]
        )

    def finish(self) -> tuple[torch.Tensor, KVRows]:
        return self._origin, self._kv
