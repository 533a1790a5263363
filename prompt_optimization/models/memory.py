"""Working in chunks that fit the memory there is."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple, TypeVar

import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.host_memory import free_host_bytes

Item = TypeVar("Item")
Result = TypeVar("Result")


class PoolSize(NamedTuple):
    """What fits the memory.

    Attributes:
        rows: that a pool begins with at most.
        columns: of all its rows together at most; None where rows are planned at their full length.
    """

    rows: int
    columns: int | None


def is_out_of_memory(error: RuntimeError) -> bool:
    """True for CUDA's out-of-memory error and for the CPU allocator's."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


# Rows side by side at most: beyond these a GPU gains little and a CPU nothing.
GPU_ROWS = 2048
CPU_ROWS = 128
# What rows on a CPU take at most with what is cached of their examples, in bytes. It is fixed, so
# that the same run has the same pools whatever else the machine does, as long as there is memory.
CPU_POOL = 1000 * 10**6
# Part of it that is left to a pool however much is cached.
CPU_POOL_SHARE = 0.5
# The rest is for activations and fragmentation.
FREE_SHARE = 0.8
# Taking rows out and putting them together again holds one layer of the cache twice for a moment;
# attention holds a row's keys and values of one layer once more.
KV_COPIES = 1.25


def free_bytes(device: torch.device) -> int | None:
    """Memory that ``device`` can still give to tensors, in bytes; None where it cannot be asked."""
    if device.type == "cpu":
        return free_host_bytes()
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    # What torch has reserved without using it is free as well.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def pool_bytes(device: torch.device, cached: int = 0) -> int | None:
    """What a pool of rows may take on ``device``, in bytes; None where it cannot be asked.

    Args:
        cached: bytes on ``device`` that the rows' examples take already.
    """
    free = free_bytes(device)
    if free is None:
        return None
    share = int(FREE_SHARE * free)
    if device.type != "cpu":
        return share
    return min(share, max(CPU_POOL - cached, int(CPU_POOL_SHARE * CPU_POOL)))


def most_rows(device: torch.device) -> int:
    """Rows side by side at most on ``device``, however much memory it has."""
    return GPU_ROWS if device.type == "cuda" else CPU_ROWS


def row_bytes(columns: int, column_bytes: int) -> int:
    """Memory that a row of a pool takes for its cache, in bytes.

    Args:
        columns: of the row.
        column_bytes: of the keys and values of one column.
    """
    return int(KV_COPIES * columns * column_bytes)


def logits_bytes(places: int, vocabulary: int) -> int:
    """Memory that the logits of ``places`` take with their loss, in bytes: three float32 copies."""
    return places * vocabulary * 12


def rows_that_fit(
    row: Mapping[torch.device, int], most: int, cached: Mapping[torch.device, int] | None = None
) -> int:
    """How many rows, ``most`` at most, the memory of every device should hold side by side; at
    least one.

    Args:
        row: bytes of one row on each device. A device that cannot be asked sets no limit.
        cached: bytes that the rows' examples take on each device already.
    """
    cached = cached or {}
    rooms = ((pool_bytes(device, cached.get(device, 0)), size) for device, size in row.items())
    return max(1, min([most, *(room // size for room, size in rooms if room is not None)]))


def columns_that_fit(
    column: Mapping[torch.device, int], cached: Mapping[torch.device, int]
) -> int | None:
    """How many columns, of all rows of a pool together, the memory of every device should hold;
    None where it cannot be asked.

    Args:
        column: bytes of one column of one row on each device.
        cached: bytes that the rows' examples take on each device already.
    """
    rooms = ((pool_bytes(device, cached.get(device, 0)), size) for device, size in column.items())
    return min(
        (room // row_bytes(1, size) for room, size in rooms if room is not None), default=None
    )


def give_back(device: torch.device) -> None:
    """Return what was freed to the machine, because glibc otherwise keeps the many small pieces of
    a backward pass, and the next pool is taken beside them. Other allocators do so themselves."""
    if device.type == "cpu" and (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """What returns freed memory to the machine; None where the allocator is not glibc's."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None


class RowBudget:
    """How many rows go through a model at once.

    When the memory does not suffice the number is halved, the chunk done again, and the smaller
    number kept for the rest of the run.
    """

    def __init__(self, rows: int, release: Callable[[], None] | None = None) -> None:
        """
        Args:
            release: gives memory back that only saves time, when there is too little.
        """
        assert rows >= 1
        self.rows = rows
        self.release = release
        self.halvings = 0

    def map(
        self,
        items: Sequence[Item],
        work: Callable[[Sequence[Item]], Sequence[Result]],
        limit: int | None = None,
    ) -> list[Result]:
        """``work`` over chunks of ``items``, one result an item; all results in order.

        Args:
            limit: rows at once at most, of these.

        Raises:
            InputError: not even a single row fits.
        """
        return [result for chunk in self.chunks(items, work, limit) for result in chunk]

    def chunks(
        self,
        items: Sequence[Item],
        work: Callable[[Sequence[Item]], Result],
        limit: int | None = None,
    ) -> list[Result]:
        """``work`` over chunks of ``items``; one result a chunk.

        Args:
            limit: rows at once at most, of these.

        Raises:
            InputError: not even a single row fits.
        """
        results: list[Result] = []
        start = 0
        while start < len(items):
            rows = self.rows if limit is None else min(self.rows, limit)
            chunk = items[start : start + rows]
            try:
                results.append(work(chunk))
                start += len(chunk)
                continue
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if len(chunk) == 1:
                    raise InputError(
                        "the device's memory does not hold even one example; choose a smaller "
                        "model, shorter examples or bfloat16",
                        key="dtype",
                    ) from None
            # Outside the handler, where the failed chunk's tensors are no longer referenced.
            self.rows = len(chunk) // 2
            self.halvings += 1
            if self.release is not None:
                self.release()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return results
