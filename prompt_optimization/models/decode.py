"""Continuing cached rows token by token, side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import LOGITS_BLOCK, LanguageModel
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

    def choice(self, questions: Sequence[str], device: torch.device) -> Choice:
        """For ``decode``, which continues a row for each of ``questions``.

        A token is drawn as the largest of all logits with Gumbel noise, which depends on the seed,
        the question, the step and the token alone. So prompts are compared under the same luck, and
        what is chosen does not hang on what else is in the pool.
        """
        keys = torch.tensor([self._key(question) for question in questions], device=device)

        def choose(logits: torch.Tensor, origin: torch.Tensor, step: int) -> torch.Tensor:
            first_choice(logits, origin)  # finds what is not finite
            rows = max(1, LOGITS_BLOCK // logits.shape[1])
            return torch.cat(
                [
                    (self._allowed(some) + _gumbel(own, step, logits.shape[1])).argmax(-1)
                    for some, own in zip(
                        torch.split(logits, rows), torch.split(keys[origin], rows), strict=True
                    )
                ]
            )

        return choose

    def _key(self, question: str) -> int:
        digest = hashlib.sha256(f"{self.seed} {question}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    def _allowed(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits over the temperature in float64; minus infinity for tokens that are ruled out."""
        scores = logits.double() / self.temperature
        if self.top_k and self.top_k < scores.shape[1]:
            best = scores.topk(self.top_k)
            scores = torch.full_like(scores, -torch.inf).scatter(1, best.indices, best.values)
        if self.top_p < 1:
            ordered = scores.sort(descending=True, stable=True)
            shares = ordered.values.softmax(-1)
            kept = ordered.values.masked_fill(shares.cumsum(-1) - shares >= self.top_p, -torch.inf)
            scores = torch.empty_like(scores).scatter(1, ordered.indices, kept)
        return scores


def _gumbel(keys: torch.Tensor, step: int, width: int) -> torch.Tensor:
    """Standard Gumbel noise [rows, width] in float64 for ``keys`` [rows] and a step.

    A hash instead of a generator's stream: the output function of SplitMix64 (Steele, Lea and
    Flood, OOPSLA 2014) over counters. Arithmetic of int64 wraps round.
    """
    counters = torch.arange(step * width, (step + 1) * width, device=keys.device)
    x = keys[:, None] + counters * -0x61C8864680B583EB
    x = (x ^ _shifted(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shifted(x, 27)) * -0x6B2FB644ECCEEE15
    x = x ^ _shifted(x, 31)
    uniform = (_shifted(x, 11).double() + 0.5) / 2**53
    return -(-uniform.log()).log()


def _shifted(x: torch.Tensor, bits: int) -> torch.Tensor:
    """``x`` shifted to the right, zeros coming in."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


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
