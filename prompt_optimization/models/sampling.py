"""Choosing the next token of every row: the likeliest one, or one that is drawn."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from prompt_optimization.models.language_model import LOGITS_BLOCK

# Tokens of a row that a draw looks at first, and how many times more it looks at when they do not
# settle it. The 128 likeliest tokens settle a top_p of 0.9 for 93 rows of 100 of SmolLM2-135M at
# temperature 1, and for all at 0.6.
LIKELIEST = 128
WIDER = 16
# Elements of a block of float64 that a CPU's caches hold, and of a block of hashes, which one core
# makes.
CPU_BLOCK = 2**18
HASH_BLOCK = 2**15
# The hashes of this many tokens are compared as one.
GROUP = 16

INCREMENT = -0x61C8864680B583EB
SIGN_BIT = -(2**63)

# int64 on a CPU or on any device.
Integers = TypeVar("Integers", "np.ndarray[Any, np.dtype[np.int64]]", torch.Tensor)


class NotFiniteError(FloatingPointError):
    """The logits of ``row`` of a batch are not finite."""

    def __init__(self, row: int) -> None:
        super().__init__("the model's logits are not finite")
        self.row = row


class Choice(Protocol):
    """Which token comes next, for each row of a pool.

    Attributes:
        keys: [rows] int64, what a row's tokens depend on besides its logits; in the order of the
            rows that decoding began with.
        way: two choices of the same way differ in their keys alone.
    """

    @property
    def keys(self) -> torch.Tensor: ...

    @property
    def way(self) -> Hashable: ...

    def __call__(self, logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        """A token for each of ``logits`` [n, vocabulary], which belong to ``rows`` [n].

        Raises:
            NotFiniteError: the logits of a row are not finite.
        """
        ...

    def at_once(
        self, logits: torch.Tensor, keys: torch.Tensor, step: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same without a look at any number, as a CUDA graph needs it.

        Args:
            keys: [n] those of the rows.
            step: [1]

        Returns:
            tokens [n], and whether they are those of the call above [n].
        """
        ...


@dataclass(frozen=True, eq=False)
class Likeliest:
    """The likeliest token of every row."""

    keys: torch.Tensor
    way: None = None

    def __call__(self, logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        return first_choice(logits, rows)

    def at_once(
        self, logits: torch.Tensor, keys: torch.Tensor, step: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return logits.max(-1).indices, torch.ones_like(keys, dtype=torch.bool)


def first_choice(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The likeliest token for each of ``logits`` [n, vocabulary], which belong to ``rows`` [n].

    Raises:
        NotFiniteError: a row has a NaN, an infinity, or minus infinity only.
    """
    best = logits.max(-1)
    _check_finite(best.values, rows)
    return best.indices


@dataclass(frozen=True)
class Sampling:
    """Random instead of greedy choice of tokens, in the words of transformers' ``generate``.

    Equally likely tokens are ordered by their ids where ``top_k`` or ``top_p`` ends among them.

    Attributes:
        temperature: divides the logits.
        top_k: only this many of the likeliest tokens; 0 is all.
        top_p: only the likeliest tokens that together have this probability; 1 is all.
        seed: of all draws.
        draw: counts the answers that are drawn to one text under one seed, from 0.
    """

    temperature: float
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    draw: int = 0

    def choice(self, questions: Sequence[str], device: torch.device) -> Choice:
        """For ``decode``, which continues a row for each of ``questions``.

        A token is drawn as the largest of all scores, which are logits over the temperature, with
        Gumbel noise. The noise depends on the seed, the draw, the question, the step and the token
        alone. So prompts are compared under the same luck, and what is chosen for a row does not
        depend on the other rows.

        The choice raises ``NotFiniteError`` as ``first_choice`` does.
        """
        keys = torch.tensor([self._key(question) for question in questions], device=device)
        return Draws(self, keys)

    def draw_tokens(self, logits: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """A token of each row [rows, vocabulary], whose noise begins at ``starts`` [rows]."""
        top_k = self._top_k(logits)
        if not top_k and self.top_p == 1:
            return self._draw_any(logits, starts)
        candidates = LIKELIEST + top_k
        drawn, settled = self._draw_allowed(logits, starts, top_k, candidates)
        while not bool(settled.all()):
            candidates *= WIDER
            left = (~settled).nonzero()[:, 0]
            drawn[left], settled[left] = self._draw_allowed(
                logits[left], starts[left], top_k, candidates
            )
        return drawn

    def draw_at_once(
        self, logits: torch.Tensor, starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same with shapes that depend on no number: tokens, and which are settled."""
        top_k = self._top_k(logits)
        if top_k or self.top_p < 1:
            return self._draw_allowed(logits, starts, top_k, LIKELIEST + top_k)
        return self._draw_among_all(logits, starts), torch.ones_like(starts, dtype=torch.bool)

    def _top_k(self, logits: torch.Tensor) -> int:
        return self.top_k if self.top_k < logits.shape[1] else 0

    def _key(self, question: str) -> int:
        draw = f".{self.draw}" if self.draw else ""
        digest = hashlib.sha256(f"{self.seed}{draw} {question}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    def _draw_any(self, logits: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """A token of each row [rows, vocabulary], whose noise begins at ``starts`` [rows].

        The winner is one of the likeliest tokens, or its noise makes up for its score. The few
        tokens with that much noise are found by their hashes, without a logarithm.
        """
        width = logits.shape[1]
        tokens = logits.topk(min(LIKELIEST, width)).indices
        scores = self._scores(logits.gather(1, tokens))
        noisy = scores + _noise(starts[:, None], tokens)
        best = noisy.amax(-1)
        if tokens.shape[1] == width:
            return _lowest_id(noisy, tokens, best)
        # What rounding can take from a sum is allowed for.
        least = best - scores.amin(-1) - 1e-12 * best.abs()
        rows, lucky = _lucky_tokens(starts, width, least)
        values = self._scores(logits[rows, lucky]) + _noise(starts[rows], lucky)
        best = best.scatter_reduce(0, rows, values, "amax")
        drawn = _lowest_id(noisy, tokens, best)
        wins = values == best[rows]
        return drawn.scatter_reduce(0, rows[wins], lucky[wins], "amin")

    def _draw_among_all(self, logits: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """The same by the noise of every token. A GPU has the time, and asks for no number."""
        tokens = torch.arange(logits.shape[1], device=logits.device)[None]
        size = max(1, LOGITS_BLOCK // logits.shape[1])
        drawn = []
        for some, first in zip(
            torch.split(logits, size), torch.split(starts[:, None], size), strict=True
        ):
            noisy = self._scores(some) + _noise(first, tokens)
            drawn.append(_lowest_id(noisy, tokens, noisy.amax(-1)))
        return torch.cat(drawn)

    def _draw_allowed(
        self, logits: torch.Tensor, starts: torch.Tensor, top_k: int, candidates: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same among the tokens that ``top_k`` and ``top_p`` leave, and whether it is settled.

        Only the likeliest ``candidates`` tokens are ordered. They settle a row when the last token
        that is left is likelier than the last candidate.
        """
        width = logits.shape[1]
        candidates = min(candidates, width)
        tokens = logits.topk(candidates, sorted=False).indices.sort().values
        scores, order = self._scores(logits.gather(1, tokens)).sort(descending=True, stable=True)
        tokens = tokens.gather(1, order)
        allowed = torch.ones_like(tokens, dtype=torch.bool)
        if top_k:
            allowed[:, top_k:] = False
        if self.top_p < 1:
            if top_k:
                shares = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
            else:
                shares = self._shares(logits, tokens)
            before = torch.nn.functional.pad(shares, (1, -1)).cumsum(-1)
            allowed &= before < self.top_p
        last = scores.masked_fill(~allowed, torch.inf).amin(-1)
        noisy = scores.masked_fill(~allowed, -torch.inf) + _noise(starts[:, None], tokens)
        drawn = _lowest_id(noisy, tokens, noisy.amax(-1))
        if candidates == width:
            return drawn, torch.ones_like(drawn, dtype=torch.bool)
        return drawn, last > scores[:, -1]

    def _scores(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.double() / self.temperature

    def _shares(self, logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Probabilities of ``tokens`` [rows, n] among all."""
        block = CPU_BLOCK if logits.device.type == "cpu" else LOGITS_BLOCK
        size = max(1, block // logits.shape[1])
        return torch.cat(
            [
                self._scores(some).softmax(-1).gather(1, wanted)
                for some, wanted in zip(
                    torch.split(logits, size), torch.split(tokens, size), strict=True
                )
            ]
        )


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws of ``sampling`` for the rows of a pool."""

    sampling: Sampling
    keys: torch.Tensor

    @property
    def way(self) -> Hashable:
        return self.sampling.temperature, self.sampling.top_k, self.sampling.top_p

    def __call__(self, logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        _check_finite(logits.amax(-1), rows)
        return self.sampling.draw_tokens(logits, self._starts(logits, self.keys[rows], step))

    def at_once(
        self, logits: torch.Tensor, keys: torch.Tensor, step: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.sampling.draw_at_once(logits, self._starts(logits, keys, step))

    @staticmethod
    def _starts(logits: torch.Tensor, keys: torch.Tensor, step: int | torch.Tensor) -> torch.Tensor:
        return keys + torch.as_tensor(step * logits.shape[1], device=keys.device) * INCREMENT


def _check_finite(best: torch.Tensor, rows: torch.Tensor) -> None:
    """``best`` [n] are the largest logits of ``rows``; a NaN anywhere in a row is its largest."""
    finite = torch.isfinite(best)
    if not bool(finite.all()):
        raise NotFiniteError(int(rows[~finite][0]))


def _lowest_id(noisy: torch.Tensor, tokens: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
    """The first of each row's ``tokens`` whose value is ``best`` [rows]; the largest id if none."""
    none = torch.iinfo(tokens.dtype).max
    return tokens.masked_fill(noisy != best[:, None], none).amin(-1)


def _lucky_tokens(
    starts: torch.Tensor, width: int, least: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where noise may be as large as ``least`` [rows]: rows [n] and tokens [n].

    Noise grows with the hash, so the upper 31 bits are compared, which the hash's last step leaves
    as they are. One less than the bound's allows for rounding. A group of tokens that holds a hash
    that is large enough is given as a whole.
    """
    bits = (2**31 * torch.exp(-torch.exp(-least))).long().sub_(1).clamp_(min=0)
    bound = (bits << 33) ^ SIGN_BIT
    # Rows of the same question have the same noise.
    different, which = torch.unique(starts, return_inverse=True)
    largest = _largest_hashes(different, math.ceil(width / GROUP))[which]
    rows, groups = (largest >= bound[:, None]).nonzero().unbind(1)
    tokens = groups[:, None] * GROUP + torch.arange(GROUP, device=starts.device)
    real = tokens < width
    return rows[:, None].expand_as(tokens)[real], tokens[real]


def _largest_hashes(starts: torch.Tensor, groups: int) -> torch.Tensor:
    """The largest hash of every group of tokens [rows, groups].

    The sign bit is flipped, which gives signed integers the order of unsigned ones.
    """
    tokens = torch.arange(groups * GROUP, device=starts.device)
    counters = tokens.view(groups, GROUP).T.contiguous() * INCREMENT
    return (_largest_on_cpu if starts.device.type == "cpu" else _largest)(starts, counters)


def _largest(starts: torch.Tensor, counters: torch.Tensor) -> torch.Tensor:
    parts = torch.split(starts[:, None, None], max(1, LOGITS_BLOCK // counters.numel()))
    return torch.cat([(_hash(part + counters) ^ SIGN_BIT).amax(1) for part in parts])


def _largest_on_cpu(starts: torch.Tensor, counters: torch.Tensor) -> torch.Tensor:
    """The same by numpy in half the time, because torch wakes its threads for every pass."""
    blocks = np.array_split(counters.numpy(), math.ceil(counters.numel() / HASH_BLOCK), axis=1)
    rows = [
        np.concatenate([(_hash(block + start) ^ SIGN_BIT).max(0) for block in blocks])
        for start in starts.numpy()
    ]
    return torch.from_numpy(np.stack(rows))


def _noise(starts: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise in float64 of ``tokens`` of rows whose noise begins at ``starts``.

    A hash instead of a generator's stream: the output function of SplitMix64 (Steele, Lea and
    Flood, OOPSLA 2014) over counters. Arithmetic of int64 wraps round.
    """
    x = _hash(starts + tokens * INCREMENT)
    x ^= _shifted(x, 31)
    # The largest number would round to 1, whose noise is infinite.
    uniform = ((_shifted(x, 11).double() + 0.5) / 2**53).clamp_(max=1 - 2**-53)
    return -(-uniform.log()).log()


def _hash(x: Integers) -> Integers:
    """SplitMix64's output function but for its last step."""
    for bits, multiplier in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        shifted = _shifted(x, bits)
        shifted ^= x
        shifted *= multiplier
        x = shifted
    return x


def _shifted(x: Integers, bits: int) -> Integers:
    """``x`` shifted to the right, zeros coming in."""
    shifted = x >> bits
    shifted &= (1 << (64 - bits)) - 1
    return shifted
