"""What an edit does to the loss through the reasoning, from reasonings that were drawn before it.

The expected loss of a prompt is a mean over the reasonings that it leads to, so an edit changes it
in two ways: the answer after a reasoning changes, and so does the chance of that reasoning. The
second part is the score-function gradient (Williams, Machine Learning 8, 1992): the change of a
reasoning's log-likelihood times how much worse than others its answer is. docs/signal.md derives
it.

Reasonings of an earlier prompt stand for those of the present one if each weighs as much as it is
likelier now: E_now[f(r)] = E_then[p_now(r) / p_then(r) f(r)]. A question's weights are made to sum
to 1, which takes the place of the unknown mean of the ratios. With f(r) = (l(r) - b) w(r) that is
the second part of the gradient at the present prompt. A draw's own baseline b is the weighted mean
of the others' losses,

    b_i = (m - v_i l_i) / (1 - v_i),  m = sum of v_j l_j,  so  l_i - b_i = (l_i - m) / (1 - v_i),

and equal weights v = 1 / K give the estimate of draws from the present prompt.

Arrays end in [questions, draws], with any axes before them, such as one of candidates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


# The share of a question's weight below which its other draws are nothing to compare a draw with.
LEAST_REST = 1e-9


def advantages(values: Array, weights: Array | None = None) -> Array:
    """Each draw's value less the mean of the question's other draws; 0 where these have no weight.

    A mean without the draw itself keeps the estimate unbiased (Kool et al., Buy 4 REINFORCE
    samples, get a baseline for free!, 2019).

    Args:
        weights: of the draws, those of a question summing to 1; all alike when left out.
    """
    assert values.shape[-1] > 1, "a draw is compared with others"
    weights = _alike(values) if weights is None else weights
    rest = 1 - weights
    values = values - values[..., :1]  # Equal values then have advantages of exactly 0.
    distance = values - (weights * values).sum(-1, keepdims=True)
    found: Array = np.zeros(distance.shape)
    np.divide(distance, rest, out=found, where=rest > LEAST_REST)
    return found


def first_order(values: Array, change: Array, clip: float, weights: Array | None = None) -> Array:
    """The change of the expected value to the first order, by question: [..., questions].

    Args:
        values: of every draw under the prompt that the edit changes, such as its loss.
        change: [..., questions, draws], of every draw's log-likelihood by the edit, in nats.
        clip: bounds ``change`` on both sides, because a long reasoning's is large.
        weights: see ``advantages``; for draws from another prompt than the one that is changed.
    """
    weights = _alike(values) if weights is None else weights
    found: Array = (weights * advantages(values, weights) * np.clip(change, -clip, clip)).sum(-1)
    return found


def importance_weights(change: Array, clip: float) -> Array:
    """The draws' weights under another prompt; those of a question sum to 1.

    Args:
        change: of every draw's log-likelihood from the prompt that it was drawn under.
        clip: see ``first_order``.
    """
    bounded = np.clip(change, -clip, clip)
    weights = np.exp(bounded - bounded.max(-1, keepdims=True))
    found: Array = weights / weights.sum(-1, keepdims=True)
    return found


def centred_weights(change: Array, clip: float) -> Array:
    """The same with ``clip`` for what tells a question's draws apart. A change that they share
    cancels, and a bound on the whole change would make draws alike that have all become unlikely.
    """
    return importance_weights(change - change.mean(-1, keepdims=True), clip)


def effective_sample_size(weights: Array) -> Array:
    """The share of the draws of each question that the weights leave, from 1 / draws to 1."""
    found: Array = 1 / (weights**2).sum(-1) / weights.shape[-1]
    return found


def _alike(values: Array) -> Array:
    return np.full(values.shape, 1 / values.shape[-1])
