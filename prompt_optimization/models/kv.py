"""Keys and values of a batch of rows that grows in place, shrinks and is put together again.

Every row is padded wherever it needs to be: ``mask`` says which columns are real, ``positions``
where each row's next token stands. Padding never moves a token's position, so attention over a
padded row equals attention over the row alone.

Each layer's keys and values lie on the layer's device, ``mask`` and ``positions`` where ids go in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import torch
from transformers.cache_utils import Cache, DynamicLayer

from prompt_optimization.models.memory import give_back


class GrowingLayer(DynamicLayer):
    """One layer's keys and values in a buffer with room to spare.

    transformers' own growing layer copies everything it holds for each new token; here a token
    is written after the last one and the buffer is moved only when it is full.
    ``keys`` and ``values`` are buffers of shape [rows, heads, capacity, head_dim].
    """

    def __init__(self, capacity: int = 0) -> None:
        super().__init__()
        self.is_initialized: bool = False
        self.capacity = capacity
        self.length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append ``key_states`` and ``value_states`` [rows, heads, new, head_dim]; return all."""
        end = self.length + key_states.shape[-2]
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self.is_initialized = True
            self.capacity = max(self.capacity, end)
            self.keys = _room(key_states, len(key_states), self.capacity)
            self.values = _room(value_states, len(value_states), self.capacity)
        elif end > self.capacity:
            self.capacity = end + end // 4
            self.keys = _moved(self.keys, self.length, self.capacity)
            self.values = _moved(self.values, self.length, self.capacity)
            give_back(self.device)
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.length


class Place(Protocol):
    """Where rows can lie instead of in memory of their own."""

    def room(
        self, like: KVRows, rows: int, columns: int
    ) -> Sequence[tuple[torch.Tensor, torch.Tensor]]:
        """Per layer room for keys and values [rows, heads, at least ``columns``, head_dim]."""
        ...


class KVRows:
    """The cache of a batch of rows.

    Attributes:
        cache: what a transformers model takes as ``past_key_values``.
        mask: [rows, columns] bool, True where a column belongs to the row.
        positions: [rows] position of each row's next token.
    """

    def __init__(self, cache: Cache, mask: torch.Tensor, positions: torch.Tensor) -> None:
        self.cache = cache
        self.mask = mask
        self.positions = positions

    @classmethod
    def empty(cls, rows: int, device: torch.device, capacity: int = 0) -> KVRows:
        """No columns yet; ``capacity`` columns are set aside at the first token."""
        return cls(
            Cache(layer_class_to_replicate=lambda: GrowingLayer(capacity)),
            torch.zeros(rows, 0, dtype=torch.bool, device=device),
            torch.zeros(rows, dtype=torch.long, device=device),
        )

    @property
    def rows(self) -> int:
        return self.mask.shape[0]

    @property
    def columns(self) -> int:
        return self.mask.shape[1]

    @property
    def column_bytes(self) -> Counter[torch.device]:
        """Memory of one column of one row on every device, in bytes."""
        found: Counter[torch.device] = Counter()
        for layer in self.cache.layers:
            for buffer in (layer.keys, layer.values):
                found[buffer.device] += buffer.shape[1] * buffer.shape[3] * buffer.element_size()
        return found

    def grow(self, valid: torch.Tensor) -> None:
        """Note that the model has just written ``valid`` [rows, new] columns."""
        self.mask = torch.cat([self.mask, valid], dim=1)
        self.positions = self.positions + valid.sum(1)

    def crop(self, columns: int) -> None:
        """Forget every column from ``columns`` on."""
        self.positions = self.positions - self.mask[:, columns:].sum(1)
        self.mask = self.mask[:, :columns]
        for layer in self.cache.layers:
            layer.length = columns

    def select(
        self, rows: Sequence[int] | torch.Tensor, spare: int = 0, into: Place | None = None
    ) -> KVRows:
        """A copy of ``rows`` (repeats allowed) with room for ``spare`` more columns.

        Leading columns that none of them uses are left out.

        Args:
            into: where the copy lies, in place of memory of its own.
        """
        index = torch.as_tensor(rows, dtype=torch.long, device=self.mask.device)
        (chosen,) = self._copies([(index, spare)], into=into)
        return chosen

    def moved(self, into: Place, spare: int) -> KVRows:
        """These rows, which are used up, in another place with room for ``spare`` more columns."""
        everyone = torch.arange(self.rows, device=self.mask.device)
        (moved,) = self._copies([(everyone, spare)], use_up=True, into=into)
        return moved

    def split(self, going: torch.Tensor, spare: int) -> tuple[KVRows, KVRows]:
        """The rows where ``going`` [rows] is True, with room for ``spare`` more columns, and the
        others without any.

        These rows are used up layer by layer, so that memory holds only one layer twice.
        """
        halves = (going.nonzero()[:, 0], spare), ((~going).nonzero()[:, 0], 0)
        kept, parted = self._copies(halves, use_up=True)
        return kept, parted

    def kept(self, going: torch.Tensor, spare: int) -> KVRows:
        """The rows where ``going`` [rows] is True, with room for ``spare`` more columns. The others
        are lost, and these are used up layer by layer."""
        (kept,) = self._copies([(going.nonzero()[:, 0], spare)], use_up=True)
        return kept

    @staticmethod
    def join(
        parts: Sequence[KVRows], places: Sequence[torch.Tensor] | None = None, spare: int = 0
    ) -> KVRows:
        """All rows of ``parts``, each one's columns side by side at the right end.

        Local attention counts columns, so a gap inside a row would narrow its window. The parts
        are used up layer by layer, so that memory holds only one layer twice.

        Args:
            places: per part the number that each of its rows gets; one part after the other
                when left out.
            spare: room for more columns in rows that have to be moved.
        """
        counts = [part.mask.sum(1) for part in parts]
        width = max(int(count.max()) for count in counts)
        if places is None:
            if len(parts) == 1 and parts[0]._packed(counts[0], width):
                return parts[0]
            ends = torch.tensor([0, *(part.rows for part in parts)]).cumsum(0).tolist()
            device = parts[0].mask.device
            places = [torch.arange(a, b, device=device) for a, b in pairwise(ends)]
        rows = sum(part.rows for part in parts)
        mask = parts[0].mask.new_zeros(rows, width)
        positions = parts[0].positions.new_zeros(rows)
        orders = []
        for part, place in zip(parts, places, strict=True):
            narrow = min(width, part.columns)
            # A stable sort puts the unused columns first and keeps the others in order.
            order = part.mask.int().argsort(dim=1, stable=True)[:, part.columns - narrow :]
            mask[place, width - narrow :] = part.mask.gather(1, order)
            positions[place] = part.positions
            orders.append(order)
        joined = []
        for layers in zip(*(part.cache.layers for part in parts), strict=True):
            pairs = [(layer.keys, layer.values) for layer in layers]
            joined.append(
                [
                    _joined(sources, orders, places, width, _room(sources[0], rows, width + spare))
                    for sources in zip(*pairs, strict=True)
                ]
            )
            for layer in layers:
                layer.keys = layer.values = None
            # The pieces that this leaves are too small for the next layer.
            del pairs
            give_back(mask.device)
        return KVRows(grown_cache(joined, width), mask, positions)

    def _copies(
        self,
        wanted: Sequence[tuple[torch.Tensor, int]],
        use_up: bool = False,
        into: Place | None = None,
    ) -> list[KVRows]:
        """A copy for each of ``wanted``: the numbers of its rows, and how many more columns it has
        room for. Leading columns that none of its rows uses are left out.

        Args:
            use_up: give each layer's memory back after it was copied.
            into: where the copy lies, if there is one only.
        """
        masks = [self.mask.index_select(0, rows) for rows, _ in wanted]
        starts = [_first_used(mask) for mask in masks]
        copies: list[list[list[torch.Tensor]]] = [[] for _ in wanted]
        rooms = None
        if into is not None:
            ((rows, spare),), (start,) = wanted, starts
            rooms = iter(into.room(self, len(rows), self.columns - start + spare))
        for layer in self.cache.layers:
            for copy, (rows, spare), start in zip(copies, wanted, starts, strict=True):
                pair, columns = (layer.keys, layer.values), self.columns - start + spare
                room = next(rooms) if rooms else [_room(x, len(rows), columns) for x in pair]
                for source, target in zip(pair, room, strict=True):
                    _select(source, rows, start, self.columns, target)
                copy.append(list(room))
            if use_up:
                layer.keys = layer.values = None
                del pair
                give_back(self.mask.device)
        return [
            KVRows(
                grown_cache(copy, self.columns - start),
                mask[:, start:],
                self.positions.index_select(0, rows),
            )
            for copy, (rows, _), mask, start in zip(copies, wanted, masks, starts, strict=True)
        ]

    def _packed(self, counts: torch.Tensor, width: int) -> bool:
        """Whether each row's ``counts`` columns stand at its right end, in ``width`` columns."""
        column = torch.arange(self.columns, device=self.mask.device)
        right = column >= self.columns - counts[:, None]
        return width == self.columns and bool((self.mask == right).all())


def _first_used(mask: torch.Tensor) -> int:
    """How many leading columns of ``mask`` [rows, columns] no row uses."""
    used = mask.any(0)
    return int(used.int().argmax()) if bool(used.any()) else mask.shape[1]


def _joined(
    sources: Sequence[torch.Tensor],
    orders: Sequence[torch.Tensor],
    places: Sequence[torch.Tensor],
    width: int,
    room: torch.Tensor,
) -> torch.Tensor:
    """``room`` with every part's columns, in its order, at the right end of its rows' ``width``."""
    for source, order, place in zip(sources, orders, places, strict=True):
        narrow = order.shape[1]
        index = order.to(source.device)[:, None, :, None]
        index = index.expand(-1, source.shape[1], -1, source.shape[3])
        there = place.to(source.device)
        room[there, :, width - narrow : width] = source.gather(2, index)
        # Zeros, because 0 x NaN is NaN and a masked column has a weight of zero.
        room[there, :, : width - narrow] = 0
    return room


def _room(like: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    # Left as it is: a column is written before it is read. Filling it would cost as much again.
    return like.new_empty(rows, like.shape[1], columns, like.shape[3])


def _moved(buffer: torch.Tensor, length: int, capacity: int) -> torch.Tensor:
    moved = _room(buffer, len(buffer), capacity)
    moved[:, :, :length] = buffer[:, :, :length]
    return moved


def _select(
    buffer: torch.Tensor, index: torch.Tensor, start: int, stop: int, room: torch.Tensor
) -> None:
    there = index.to(buffer.device)
    room[:, :, : stop - start] = buffer[:, :, start:stop].index_select(0, there)


def grown_cache(layers: Sequence[Sequence[torch.Tensor]], length: int) -> Cache:
    """A cache of the ``length`` first columns of each layer's keys and values, which have room for
    more."""
    cache = Cache(layers=[GrowingLayer() for _ in layers])
    for layer, (keys, values) in zip(cache.layers, layers, strict=True):
        layer.keys, layer.values = keys, values
        layer.dtype, layer.device = keys.dtype, keys.device
        layer.is_initialized = True
        layer.length, layer.capacity = length, keys.shape[-2]
    return cache
