"""From scores to a prompt for each question."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prompt_optimization.optimizers.oirl.arrays import Flags, Floats

Choices = NDArray[np.int64]


def choose(rule: str, scores: Floats, heldout: Flags, means: Floats, threshold: float) -> Choices:
    """The prompt for each question.

    Args:
        rule: one of ``RULES``; without held-out prompts all but ``heldout`` are the same.
        scores: [questions, prompts].
        heldout: [prompts], those that nothing was learnt from; some of the others there are.
        means: [prompts], over the training questions; the higher one decides between equal scores,
            and then the order. Not a number where none is known.
        threshold: of ``irl10``.
    """
    if not heldout.any():
        rule = "irl0"
    if rule != "irl10":
        return _best(scores, pool(rule, heldout), means)
    own, other = (_best(scores, pool(each, heldout), means) for each in ("irl0", "heldout"))
    return np.where(scores[np.arange(len(own)), own] < threshold, other, own)


def pool(rule: str, heldout: Flags) -> NDArray[np.int64]:
    """The prompts that a rule may choose."""
    every = np.ones_like(heldout)
    allowed = {"irl0": ~heldout, "heldout": heldout, "irl10": every, "mixed": every}
    return np.flatnonzero(allowed[rule])


def _best(scores: Floats, among: NDArray[np.int64], means: Floats) -> Choices:
    """The best prompt ``among`` some for each question."""
    known = np.nan_to_num(means[among], nan=-1.0)
    ordered = among[np.argsort(-known, kind="stable")]
    found: Choices = ordered[scores[:, ordered].argmax(1)]
    return found
