"""Which prompts of a pool are worth changing, by what they cost on each row."""

from __future__ import annotations

from collections.abc import Sequence


def shares(costs: Sequence[Sequence[float]]) -> list[int]:
    """On how many rows each prompt stands, once redundant prompts are left out.

    A prompt stands on a row where no other costs less. It is redundant when on each of these rows
    another one stands that is not redundant itself. They are left out worst first; among equals
    the later one goes first. So every row keeps a prompt.

    Args:
        costs: of each prompt, its rows; prompts x rows.
    """
    best = [min(row) for row in zip(*costs, strict=True)]
    stands = [{row for row, cost in enumerate(own) if cost == best[row]} for own in costs]
    standing = [sum(row in rows for rows in stands) for row in range(len(best))]
    for prompt in sorted(range(len(costs)), key=lambda i: (-sum(costs[i]), -i)):
        if all(standing[row] > 1 for row in stands[prompt]):
            for row in stands[prompt]:
                standing[row] -= 1
            stands[prompt] = set()
    return [len(rows) for rows in stands]
