"""How many rows decode side by side, and what they may hold.

A GPU's pools are planned at the length that all rows may reach. On a CPU memory is taken as it is
written to, and most rows end long before their limit: a pool begins with as many as have room for
some of their tokens, and gives rows up when those that go on outgrow what it may hold. They are
read again and go on in another pool.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from prompt_optimization.models.memory import (
    PoolSize,
    columns_that_fit,
    logits_bytes,
    row_bytes,
    rows_that_fit,
)

if TYPE_CHECKING:
    from prompt_optimization.models.encoded import CachedExamples
    from prompt_optimization.models.engine import Decoding

# A pool on a CPU begins with rows that have room for this share of their new tokens, and for this
# many at least. Most of the reasonings of small models are shorter.
PLANNED_SHARE = 0.25
FEWEST_PLANNED = 96
# It takes this share more where a pool fewer does then: a few rows take as many steps as all.
STRETCH = 0.125
# Filler that a shared decoding step is worth, in tokens: half of what the device reads in the time
# of a step of few rows, because most rows end before their limit. A CPU reads 35, and a step that
# many rows share saves less (benchmarks/races.py). On paper an H100 reads 500 of an 8B model.
STEP_READS = {"cpu": 8.0, "cuda": 256.0}


def groups(lengths: Sequence[int], limit: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """Which rows share pools, as starts and stops: shorter prompts join longer ones while the
    filler that they read with them costs less than the steps that they share.

    Args:
        lengths: of the rows' prompts, the longest first.
        limit: new tokens of a row.
    """
    filler_that_pays = STEP_READS.get(device.type, STEP_READS["cpu"]) * limit
    start = stop = 0
    for length, same in groupby(lengths):
        count = sum(1 for _ in same)
        if stop > start and count * (lengths[start] - length) > filler_that_pays:
            yield start, stop
            start = stop
        stop += count
    if lengths:
        yield start, stop


def planned_tokens(limit: int, device: torch.device) -> int:
    """Of ``limit`` new tokens, for how many rows have room when their pool begins."""
    if device.type != "cpu":
        return limit
    return min(limit, max(FEWEST_PLANNED, int(PLANNED_SHARE * limit)))


def pool_size(
    examples: CachedExamples, prompt_tokens: int, decoding: Decoding, most: int
) -> PoolSize:
    """What fits the memory of every device.

    Args:
        prompt_tokens: of the longest prompt.
        most: rows at most, however much memory there is.
    """
    kv = examples.prefix.kv
    cached = {device: kv.rows * kv.columns * size for device, size in kv.column_bytes.items()}
    rows = rows_that_fit(_row(examples, prompt_tokens, decoding), most, cached)
    on_cpu = examples.model.device.type == "cpu"
    return PoolSize(rows, columns_that_fit(kv.column_bytes, cached) if on_cpu else None)


def rows_begun(examples: CachedExamples, prompt_tokens: int, decoding: Decoding, begun: int) -> int:
    """How many rows that read ``begun`` tokens of their reasoning fit into the examples' pool.

    It is worked out and not measured, because other pools round differently.
    """
    pool = examples.pool
    assert pool is not None
    if not begun:
        return pool.rows
    without = _row(examples, prompt_tokens, decoding)
    longer = _row(examples, prompt_tokens, decoding, begun)
    rows = min(pool.rows * without[device] // longer[device] for device in longer)
    if pool.columns is not None:
        rows = min(rows, pool.columns // _columns(examples, prompt_tokens, decoding, begun))
    return max(1, rows)


def taken_at_once(count: int, rows: int) -> int:
    """How many of ``count`` rows share a pool on a CPU that is planned for ``rows``."""
    pools = max(1, count // rows)
    each = math.ceil(count / pools)
    return each if each <= (1 + STRETCH) * rows else rows


def _columns(
    examples: CachedExamples, prompt_tokens: int, decoding: Decoding, begun: int = 0
) -> int:
    """Of a row that has its planned tokens and has read its target."""
    planned = planned_tokens(decoding.max_new_tokens - begun, examples.model.device)
    read = _read(examples, prompt_tokens) + begun
    return examples.prefix.kv.columns + read + planned + _target(examples) + 1


def _read(examples: CachedExamples, prompt_tokens: int) -> int:
    """Tokens that a row reads before it reasons."""
    filler = (0,) * prompt_tokens
    return prompt_tokens + max(
        len(examples.following(sample, filler)) for sample in range(len(examples))
    )


def _target(examples: CachedExamples) -> int:
    """Tokens that a row reads after it has reasoned."""
    longest = max(len(target.extractor) + len(target.answer) for target in examples.targets)
    return longest + examples.layout.ending_tokens


def _row(
    examples: CachedExamples, prompt_tokens: int, decoding: Decoding, begun: int = 0
) -> dict[torch.device, int]:
    """What a row takes, in bytes."""
    model, kv = examples.model, examples.prefix.kv
    columns = _columns(examples, prompt_tokens, decoding, begun)
    # Scoring holds the logits of all answers at once, with those after them; of several
    # devices, the first and the last.
    answer = max(len(target.answer) for target in examples.targets) + decoding.must_end
    logits = logits_bytes(answer, model.vocabulary)
    # Rows read what is left of their prompt together, and later the targets.
    together = max(_read(examples, prompt_tokens) + begun, _target(examples))
    reading = together * model.shape.reading_bytes
    return {
        device: row_bytes(columns, column) + max(logits, reading)
        for device, column in kv.column_bytes.items()
    }
