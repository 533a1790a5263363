"""How far a step of GPO may go: the number of steps, the edit limit of each, the edit distance."""

from __future__ import annotations

import math
from collections.abc import Callable

# (share of the decay that is over, initial and final limit) -> limit, in words.
DECAYS: dict[str, Callable[[float, int, int], float]] = {
    "fixed": lambda share, initial, final: initial,
    "linear": lambda share, initial, final: initial - (initial - final) * share,
    "cosine": lambda share, initial, final: (
        final + (initial - final) / 2 * (1 + math.cos(math.pi * share))
    ),
}


def batches(rows: int, size: int) -> list[range]:
    """The batches of an epoch, in order. The rest makes a batch of its own if it is at least half
    of one, and is left out otherwise; one batch there always is."""
    starts = range(0, max(1, rows - (size - 1) // 2), size)
    return [range(start, min(start + size, rows)) for start in starts]


def edit_limit(step: int, steps: int, decay: str, initial: int, final: int, warmup: int) -> int:
    """Words that a step may change, at least one.

    Args:
        step: from 1 to ``steps``.
        decay: one of ``DECAYS``, from ``initial`` to ``final``, which the last step has.
        warmup: steps in which the limit grows in equal parts up to ``initial``, before it decays.
    """
    assert 1 <= step <= steps, (step, steps)
    if step <= warmup:
        limit = initial * step / warmup
    else:
        limit = DECAYS[decay]((step - warmup) / (steps - warmup), initial, final)
    return max(1, math.floor(round(limit, 9)))


def edits(before: str, after: str) -> int:
    """Words that have to be inserted, left out or replaced to make ``after`` of ``before``."""
    old, new = before.split(), after.split()
    above = list(range(len(new) + 1))
    for i, word in enumerate(old, 1):
        row = [i]
        for j, other in enumerate(new, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (word != other)))
        above = row
    return above[-1]
