"""What an edit does to the loss through the reasoning, from reasonings that were drawn before it.

The expected loss of a prompt is a mean over the reasonings that it leads to, so an edit changes it
in two ways: the answer after a reasoning changes, and so does the chance of that reasoning. The
second part is the score-function gradient (Williams, Machine Learning 8, 1992): the change of a
reasoning's log-likelihood times how much worse than others its answer is. docs/signal.md derives
it.

Arrays end in [questions, draws], with any axes before them, such as one of candidates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def advantages(values: Array) -> Array:
    """Each draw's value less the mean of the question's other draws.

    A mean without the draw itself keeps the estimate unbiased (Kool et al., Buy 4 REINFORCE
    samples, get a baseline for free!, 2019).
    """
    draws = values.shape[-1]
    assert draws > 1, "a draw is compared with others"
    found: Array = (values - values.mean(-1, keepdims=True)) * (draws / (draws - 1))
    return found


def first_order(values: Array, change: Array, clip: float) -> Array:
    """The change of the expected value to the first order, by question: [..., questions].

    Args:
        values: of every draw under the prompt that they were drawn from, such as its loss.
        change: [..., questions, draws], of every draw's log-likelihood by the edit, in nats.
        clip: bounds ``change`` on both sides, because a long reasoning's is large.
    """
    found: Array = (advantages(values) * np.clip(change, -clip, clip)).mean(-1)
    return found


def importance_weights(change: Array, clip: float) -> Array:
    """The draws' weights under the edited prompt; those of a question sum to 1.

    Args:
        change, clip: see ``first_order``.
    """
    weights = np.exp(np.clip(change, -clip, clip))
    found: Array = weights / weights.sum(-1, keepdims=True)
    return found


def effective_sample_size(weights: Array) -> Array:
    """The share of the draws of each question that the weights leave, from 1 / draws to 1."""
    found: Array = 1 / (weights**2).sum(-1) / weights.shape[-1]
    return found
