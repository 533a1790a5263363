"""Continuing cached rows token by token, side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import LanguageModel, at_least_float32
from prompt_optimization.models.layout import Ids

# Finished rows are taken out of the pool when at least this share of it has finished: moving the
# others costs about as much as one decoding step of the whole pool.
COMPACTION_SHARE = 0.25


# (logits [rows, vocabulary], each row's place [rows] among those that decoding began with, step)
# -> a token for each row.
Choice = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]


class NotFiniteError(FloatingPointError):
    """The logits of ``row`` of a batch are not finite."""

    def __init__(self, row: int) -> None:
        super().__init__("the model's logits are not finite")
        self.row = row


@dataclass(frozen=True)
class Sampling:
    """Random instead of greedy choice of tokens, in the words of transformers' ``generate``.

    Attributes:
        temperature: divides the logits.
        top_k: only so many of the likeliest tokens; 0 is all.
        top_p: only the likeliest tokens that together have this probability; 1 is all.
        seed: of all draws.
    """

    temperature: float
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def choice(self, rows: Sequence[int], limit: int, device: torch.device) -> Choice:
        """For ``decode``, which continues these rows of the data by ``limit`` tokens at most.

        What a row draws depends on the seed and the row alone. So prompts are compared under the
        same luck, and what is chosen does not hang on what else is in the pool.
        """
        draws = torch.stack([self._draws(row, limit) for row in rows]).to(device)

        def choose(logits: torch.Tensor, origin: torch.Tensor, step: int) -> torch.Tensor:
            first_choice(logits, origin)  # finds what is not finite
            return self._choose(logits, draws[origin, step])

        return choose

    def _draws(self, row: int, limit: int) -> torch.Tensor:
        """Numbers from [0, 1) in float64."""
        digest = hashlib.sha256(f"{self.seed} {row}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        return torch.rand(limit, generator=generator, dtype=torch.float64)

    def _choose(self, logits: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """The token that each of ``draws`` [rows] picks from ``logits`` [rows, vocabulary]."""
        scores, ids = at_least_float32(logits) / self.temperature, None
        if self.top_k and self.top_k < scores.shape[1]:
            scores, ids = scores.topk(self.top_k)
        elif self.top_p < 1:
            scores, ids = scores.sort(descending=True, stable=True)
        shares = scores.double().softmax(-1)
        if self.top_p < 1:
            before = shares.cumsum(-1) - shares
            shares = shares.masked_fill(before >= self.top_p, 0)
        mass = shares.cumsum(-1)
        place = torch.searchsorted(mass, (draws * mass[:, -1])[:, None], right=True)
        place = place.clamp(max=mass.shape[1] - 1)
        return (place if ids is None else ids.gather(1, place))[:, 0]


@torch.no_grad()
def decode(
    model: LanguageModel,
    kv: KVRows,
    logits: torch.Tensor,
    limit: int,
    spare: int = 0,
    choice: Choice | None = None,
) -> tuple[list[Ids], KVRows]:
    """Continue every row until it ends itself or has ``limit`` tokens.

    Args:
        kv: the rows; used up by the call.
        logits: [rows, vocabulary] behind each row's last token.
        spare: columns that the caller will append afterwards.
        choice: which token comes next; the likeliest when left out.

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
            parked.append((origin[~going], kv.select((~going).nonzero()[:, 0])))
            keep = going.nonzero()[:, 0]
            kv = kv.select(keep, limit - step + spare)
            chosen, origin = chosen[keep], origin[keep]
            going = going[keep]
        row = torch.arange(kv.rows, device=device)
        logits = model.extend(kv, chosen[:, None], (row, torch.zeros_like(row)), going[:, None])
    if parked:
        places, parts = zip(*parked, (origin, kv), strict=True)
        kv = KVRows.join(parts, places, spare)
    elif model.local:
        kv = KVRows.join([kv], spare=spare)
    return [tuple(ids) for ids in written], kv


def first_choice(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The likeliest token behind each of ``logits`` [n, vocabulary], which belong to ``rows`` [n].

    A NaN anywhere is the maximum, so one pass over the logits both chooses and checks.

    Raises:
        NotFiniteError: one is not finite.
    """
    best = logits.max(-1)
    finite = torch.isfinite(best.values)
    if not bool(finite.all()):
        raise NotFiniteError(int(rows[~finite][0]))
    return best.indices
