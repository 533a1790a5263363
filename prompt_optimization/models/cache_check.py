"""Whether a model continues its cache as if it had read everything at once.

The engine rests on it. Models that keep a state instead of keys and values, that read in both
directions, or that count positions in their own way, would give numbers that mean nothing.
"""

from __future__ import annotations

import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import LanguageModel, at_least_float32, pad_left
from prompt_optimization.models.memory import is_out_of_memory

# Two rows of different length, in two pieces.
LENGTHS = (5, 9)
SECOND = 3

# How far logits may be apart, as a share of their spread: rounding, which half precision and
# quantised layers do coarsely. What is wrong is apart by a tenth and more.
TOLERANCE = {torch.float64: 1e-3, torch.float32: 1e-3}
COARSE = 0.08


@torch.no_grad()
def check_cache(model: LanguageModel) -> None:
    """Compare two padded rows, read piece by piece, with each row read at once by itself.

    Raises:
        InputError: they differ, or the model cannot be asked like that.
    """
    counts = model.counts.copy()
    try:
        apart = _apart(model)
    except (RuntimeError, LookupError, AttributeError, ValueError, TypeError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise _refusal(model, reason) from error
    finally:
        model.counts = counts
    if not apart <= allowed_difference(model):  # NaN is not either
        raise _refusal(model, f"its logits differ by {apart:.1%} of their spread")


def allowed_difference(model: LanguageModel) -> float:
    """How far logits may be apart by rounding, as a share of their standard deviation."""
    return COARSE if model.quantised else TOLERANCE.get(model.model.dtype, COARSE)


def difference(logits: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference of logits, as a share of their standard deviation."""
    most = (at_least_float32(logits) - at_least_float32(expected)).abs().max()
    return float(most / at_least_float32(expected).std())


def rows_of_ids(model: LanguageModel) -> list[list[int]]:
    """Two rows of different length to try a model with."""
    start = model.vocabulary // 3
    return [
        [(start + 7 * row + 3 * i) % model.vocabulary for i in range(length)]
        for row, length in enumerate(LENGTHS)
    ]


def _apart(model: LanguageModel) -> float:
    rows = rows_of_ids(model)
    kv = KVRows.empty(len(rows), model.device)
    ids, valid = pad_left([row[:-SECOND] for row in rows], model.filler, model.device)
    model.read(kv, ids, valid=valid)
    cached, _ = model.read(kv, torch.tensor([row[-SECOND:] for row in rows], device=model.device))
    whole = torch.cat(
        [
            model.model(input_ids=torch.tensor([row], device=model.device), use_cache=False).logits[
                :, -1
            ]
            for row in rows
        ]
    ).to(model.device)
    if not bool(torch.isfinite(whole).all()):
        return 0.0  # not for want of a cache; the engine will say for which prompt and row
    return difference(cached, whole)


def _refusal(model: LanguageModel, reason: str) -> InputError:
    return InputError(
        f"model '{model.name}' ({type(model.model).__name__}) does not continue cached text as it "
        f"reads whole text ({reason}); choose a decoder with a plain key-value cache, or try "
        "float32 and attn_implementation='sdpa'"
    )
