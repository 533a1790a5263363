"""Continuing cached rows token by token, side by side."""

from __future__ import annotations

from collections.abc import Callable

import torch

from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.sampling import Choice, NotFiniteError, Sampling, first_choice

__all__ = ["Choice", "NotFiniteError", "Sampling", "decode", "first_choice"]

# Finished rows are taken out of the pool when at least this share of it has finished: moving the
# others costs about as much as one decoding step of the whole pool.
COMPACTION_SHARE = 0.25


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
        order. It holds every chosen token but the last of a row that met the limit.

    Raises:
        NotFiniteError: the logits of a row are not finite.
    """
    device = model.device
    stops = torch.tensor(sorted(model.stop_ids), dtype=torch.long, device=device)
    written: list[list[int]] = [[] for _ in range(kv.rows)]
    parked: list[tuple[torch.Tensor, KVRows]] = []
    origin = torch.arange(kv.rows, device=device)
    going = torch.ones(kv.rows, dtype=torch.bool, device=device)
    for step in range(limit):
        if on_step:
            on_step(step)
        chosen = choice(logits, origin, step) if choice else first_choice(logits, origin)
        going &= ~torch.isin(chosen, stops)
        for row, token, alive in zip(origin.tolist(), chosen.tolist(), going.tolist(), strict=True):
            if alive:
                written[row].append(token)
        alive_rows = int(going.sum())
        model.counts["decoded"] += alive_rows
        if not alive_rows or step == limit - 1:
            break
        if kv.rows - alive_rows >= max(1, COMPACTION_SHARE * kv.rows):
            finished = origin[~going]
            kv, parted = kv.split(going, limit - step + spare)
            parked.append((finished, parted))
            chosen, origin, going = chosen[going], origin[going], going[going]
        row = torch.arange(kv.rows, device=device)
        logits = model.extend(kv, chosen[:, None], (row, torch.zeros_like(row)), going[:, None])
    if parked:
        places, parts = zip(*parked, (origin, kv), strict=True)
        kv = KVRows.join(parts, places, spare)
    else:
        kv = model.packed(kv, spare)
    return [tuple(ids) for ids in written], kv
