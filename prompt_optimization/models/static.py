"""Decoding in buffers that stay in their place, so that a step can be captured and replayed.

A pool's rows are the first ones of the buffers. A step computes a bucket: a few rows and columns
more than are in use, so that few different steps are needed. Rows that have ended change places
with rows that continue, so that these are the first ones, and the bucket gets smaller. All that a
step reads and changes lies in the buffers, with the choice of the next token, so doing the same
step again is the pool's next step.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
from transformers.cache_utils import Cache, StaticLayer

from prompt_optimization.models.kv import KVRows, grown_cache
from prompt_optimization.models.sampling import Choice, NotFiniteError

if TYPE_CHECKING:
    from prompt_optimization.models.language_model import LanguageModel

# Finished rows are taken out of the pool when at least this share of it has finished: moving the
# others costs about as much as one decoding step of the whole pool.
COMPACTION_SHARE = 0.25
# Rows are a multiple of this share of the power of two below them, columns of that share, and of
# 64 at least.
ROW_PARTS = 4
COLUMN_PARTS = 8
FEWEST_COLUMNS = 64

Pairs = list[tuple[torch.Tensor, torch.Tensor]]


class Runner(Protocol):
    """Does steps. Those of the same key do the same work in the same memory."""

    def __call__(self, key: Hashable, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What ``step`` returns."""
        ...

    def forget(self) -> None:
        """The memory is given back."""
        ...


class Plainly:
    """Does steps as any other work, for devices without graphs."""

    def __call__(self, key: Hashable, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        return step()

    def forget(self) -> None:
        pass


def bucket(count: int, parts: int, least: int = 1) -> int:
    """``count``, rounded up to a multiple of a ``parts``-th of the power of two below it, and of
    ``least`` at least; both are powers of two."""
    below = 1 << max(0, (count - 1).bit_length() - 1)
    size = max(least, below // parts)
    return -(-count // size) * size


def row_bucket(rows: int) -> int:
    return bucket(rows, ROW_PARTS)


def column_bucket(columns: int) -> int:
    return bucket(columns, COLUMN_PARTS, FEWEST_COLUMNS)


class BucketLayer(StaticLayer):
    """A layer of transformers' static cache in memory that is given to it.

    All layers write to the column that one tensor names.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, column: torch.Tensor) -> None:
        super().__init__(keys.shape[2])
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.cumulative_length = column
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write ``key_states`` and ``value_states`` [rows, heads, 1, head_dim]; return all."""
        self.keys.index_copy_(2, self.cumulative_length, key_states)
        self.values.index_copy_(2, self.cumulative_length, value_states)
        return self.keys, self.values


class Memory:
    """What a step reads and changes.

    Attributes:
        pairs: per layer keys and values [rows, heads, columns, head_dim].
        mask: [rows, columns] bool, True where a column belongs to the row.
        positions, tokens, keys: [rows] position of the token that is read next; the token; what
            its choice depends on.
        going: [rows] bool, whether the row continues with that token.
        column, step: [1] where the token goes; how many have been read.
        report: [4, rows] the next tokens; 1 where the row continues with it, where its logits are
            not finite, and where the token has to be chosen again.
    """

    def __init__(self, like: KVRows, rows: int, columns: int) -> None:
        """
        Args:
            like: any rows of the model.
        """
        self.rows, self.columns = rows, columns
        self.pairs = [
            (_zeros(layer.keys, rows, columns), _zeros(layer.values, rows, columns))
            for layer in like.cache.layers
        ]
        self.mask = like.mask.new_zeros(rows, columns)
        self.positions, self.tokens, self.keys = like.positions.new_zeros(3, rows).unbind()
        self.going = like.mask.new_zeros(rows)
        self.column, self.step = like.positions.new_zeros(2, 1).unbind()
        self.report = like.positions.new_zeros(4, rows)


def _zeros(like: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    return like.new_zeros(rows, like.shape[1], columns, like.shape[3])


class StaticBuffers:
    """The memory in which a model's pools decode, one after the other.

    It suffices for the largest pool so far, and is kept until it is released.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.memory: Memory | None = None

    def room(self, like: KVRows, rows: int, columns: int) -> Pairs:
        """Per layer room for keys and values [rows, heads, at least ``columns``, head_dim]. What
        lay in the buffers is lost.

        Args:
            like: any rows of the model.
        """
        held = (self.memory.rows, self.memory.columns) if self.memory else (0, 0)
        if self.memory is None or rows > held[0] or columns > held[1]:
            self.release()  # Before there is more, so that memory never holds both.
            most = max(rows, held[0]), max(columns, held[1])
            self.memory = Memory(like, row_bucket(most[0]), column_bucket(most[1]))
        return [(keys[:rows], values[:rows]) for keys, values in self.memory.pairs]

    def take(self, kv: KVRows, spare: int) -> tuple[Memory, KVRows]:
        """The memory, with ``kv``, which is used up, as its first rows; room for ``spare`` more
        columns."""
        held = self.memory
        if held is None or not _lies_in(kv, held) or kv.columns + spare > held.columns:
            kv = kv.moved(self, spare)
            held = self.memory
        assert held is not None
        return held, kv

    def release(self) -> None:
        """Give the memory back. Rows that lie in it are lost."""
        self.memory = None
        self.runner.forget()


def _lies_in(kv: KVRows, memory: Memory) -> bool:
    return bool(kv.cache.layers[0].keys.data_ptr() == memory.pairs[0][0].data_ptr())


class StaticRows:
    """A pool of rows in static buffers.

    Attributes:
        logits: [rows, vocabulary] at least, after the last token that was read.
    """

    def __init__(
        self,
        model: LanguageModel,
        buffers: StaticBuffers,
        kv: KVRows,
        logits: torch.Tensor,
        limit: int,
        spare: int,
        choice: Choice,
    ) -> None:
        """
        Args:
            see ``decode``.
        """
        self._model = model
        self._runner = buffers.runner
        self._choice = choice
        self._stops = model.stops
        self.logits = logits
        self._memory, kv = buffers.take(kv, limit + spare)
        self._rows, self._columns = kv.rows, kv.columns
        self._bucket = row_bucket(kv.rows)
        self._origin = list(range(kv.rows))
        self._going: list[bool] = []
        self._begin(kv)

    def _begin(self, kv: KVRows) -> None:
        memory, rows = self._memory, kv.rows
        mask, positions = kv.mask.clone(), kv.positions.clone()
        memory.mask.zero_()
        memory.mask[:rows, : kv.columns] = mask
        # Rows that only fill a bucket read one column, because attention to none is no number.
        memory.mask[rows:, 0] = True
        memory.positions.zero_()
        memory.positions[:rows] = positions
        memory.keys[:rows] = self._choice.keys
        memory.going.zero_()
        memory.column.fill_(kv.columns)
        memory.step.zero_()
        for pair in memory.pairs:
            for each in pair:
                # 0 x NaN is NaN, and a masked column has a weight of zero.
                each[:, :, kv.columns :] = 0

    def choose(self, step: int) -> list[tuple[int, int]]:
        if step == 0:
            tokens, self._going = self._choose_first()
        else:
            tokens, self._going = self._read_report(step)
        rows = zip(self._origin, tokens, self._going, strict=False)
        return [(row, token) for row, token, alive in rows if alive]

    def _choose_first(self) -> tuple[list[int], list[bool]]:
        memory, rows = self._memory, self._rows
        everyone = torch.arange(rows, device=memory.tokens.device)
        tokens = self._choice(self.logits, everyone, 0)
        going = ~torch.isin(tokens, self._stops)
        memory.tokens[:rows] = tokens
        memory.going[:rows] = going
        return tokens.tolist(), going.tolist()

    def _read_report(self, step: int) -> tuple[list[int], list[bool]]:
        memory = self._memory
        tokens, going, broken, open_ = memory.report[:, : self._bucket].tolist()
        if any(broken):
            raise NotFiniteError(min(self._origin[i] for i, each in enumerate(broken) if each))
        if any(open_):
            again = [i for i, each in enumerate(open_) if each]
            index = torch.tensor(again, device=memory.tokens.device)
            rows = torch.tensor([self._origin[i] for i in again], device=index.device)
            chosen = self._choice(self.logits[index], rows, step)
            alive = ~torch.isin(chosen, self._stops)
            memory.tokens[index], memory.going[index] = chosen, alive
            for i, token, one in zip(again, chosen.tolist(), alive.tolist(), strict=True):
                tokens[i], going[i] = token, one
        return tokens, list(map(bool, going))

    def extend(self, step: int) -> None:
        alive = sum(self._going)
        smaller = row_bucket(alive)
        if smaller <= (1 - COMPACTION_SHARE) * self._bucket:
            self._bring_forward(alive)
            self._bucket = smaller
        columns = column_bucket(self._columns + 1)
        key = self._bucket, columns, self._choice.way, self._model.stop_ids
        # Whatever the work reads has to last as long as the memory does.
        work = partial(
            read_and_choose,
            self._model,
            self._memory,
            self._choice,
            self._stops,
            self._bucket,
            columns,
        )
        self.logits = self._runner(key, work)
        self._columns += 1

    def _bring_forward(self, alive: int) -> None:
        """Let the ``alive`` rows that continue be the first ones."""
        holes = [i for i in range(alive) if not self._going[i]]
        movers = [i for i in range(alive, len(self._going)) if self._going[i]]
        there, here = [*holes, *movers], [*movers, *holes]
        self._reorder(there, here)

    def _reorder(self, there: list[int], here: list[int]) -> None:
        """Move the rows ``here`` to the places ``there``, which are the same ones."""
        if not here:
            return
        memory = self._memory
        to = torch.tensor(there, device=memory.tokens.device)
        of = torch.tensor(here, device=memory.tokens.device)
        for each in (memory.mask, memory.positions, memory.tokens, memory.keys, memory.going):
            each[to] = each[of]
        for pair in memory.pairs:
            for each in pair:
                used = each[:, :, : self._columns]
                used[to] = used[of]
        moved = [self._origin[i] for i in here]
        for i, row in zip(there, moved, strict=True):
            self._origin[i] = row

    def part(self, step: int) -> Iterator[tuple[torch.Tensor, KVRows | None]]:
        yield from ()  # They stay in their buffers, which have room for all of them.

    def finish(self) -> tuple[torch.Tensor, KVRows]:
        memory, rows = self._memory, self._rows
        self._reorder(list(self._origin), list(range(rows)))
        layers = [(keys[:rows], values[:rows]) for keys, values in memory.pairs]
        mask = memory.mask[:rows, : self._columns].clone()
        everyone = torch.arange(rows, device=mask.device)
        positions = memory.positions[:rows].clone()
        return everyone, KVRows(grown_cache(layers, self._columns), mask, positions)


def read_and_choose(
    model: LanguageModel,
    memory: Memory,
    choice: Choice,
    stops: torch.Tensor,
    rows: int,
    columns: int,
) -> torch.Tensor:
    """Read the tokens of the first ``rows`` rows, which use fewer than ``columns`` columns, and
    choose the next ones: the logits [rows, vocabulary]."""
    tokens, going = memory.tokens[:rows], memory.going[:rows]
    positions, mask = memory.positions[:rows], memory.mask[:rows, :columns]
    mask.index_copy_(1, memory.column, going[:, None])
    # transformers makes a tensor for each layer, and a capture allows that on the CPU alone.
    with torch.device("cpu"):
        layers = [
            BucketLayer(keys[:rows, :, :columns], values[:rows, :, :columns], memory.column)
            for keys, values in memory.pairs
        ]
    cache = Cache(layers=layers)
    logits = model.read_one(cache, tokens, mask, (positions + going - 1).clamp_(min=0))
    positions.add_(going)
    memory.column.add_(1)
    memory.step.add_(1)
    chosen, settled = choice.at_once(logits, memory.keys[:rows], memory.step)
    broken = going & ~torch.isfinite(logits.amax(-1))
    alive = going & (chosen[:, None] != stops).all(1)
    found = torch.stack([chosen, alive.long(), broken.long(), (going & ~settled).long()])
    memory.report[:, :rows].copy_(found)
    tokens.copy_(chosen)
    going.copy_(alive)
    return logits
