"""What would have predicted the effects: from what was read to one number a candidate.

Lower predicts fewer mistakes. Candidate 0 is the incumbent, from which the reasonings were drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prompt_optimization.optimizers.greater.likelihood_ratio import (
    Array,
    effective_sample_size,
    first_order,
    importance_weights,
)

# Bounds of a reasoning's change of log-likelihood, in nats.
FIRST_ORDER_CLIP = 5.0
WEIGHT_CLIPS = (1.0, 3.0, 5.0)
# The same for the change at a single token.
TOKEN_CLIP = 1.0


@dataclass(frozen=True)
class Readings:
    """What the candidates did with the incumbent's reasonings.

    Attributes:
        change: [candidates, questions, draws] change of each reasoning's log-likelihood, in nats.
        clipped: the same with every token's change bounded by ``TOKEN_CLIP``.
        losses, mistakes: [candidates, questions, draws] of the answers after the same reasonings.
    """

    change: Array
    clipped: Array
    losses: Array
    mistakes: Array


def exact(read: Readings) -> dict[str, Array]:
    """The signals that read the reasonings again, by name: each [candidates]."""
    own_losses, own_mistakes = read.losses[0], read.mistakes[0]
    found = {
        "fixed_loss": read.losses.mean((1, 2)),
        "fixed_mistakes": read.mistakes.mean((1, 2)),
        "ratio_loss": first_order(own_losses, read.change, FIRST_ORDER_CLIP).mean(1),
        "ratio_mistakes": first_order(own_mistakes, read.change, FIRST_ORDER_CLIP).mean(1),
        "ratio_loss_by_token": first_order(own_losses, read.clipped, np.inf).mean(1),
        "kl": -read.change.mean((1, 2)),
    }
    for clip in WEIGHT_CLIPS:
        weights = importance_weights(read.change, clip)
        found[f"weights_loss_{clip:g}"] = (weights * read.losses).sum(2).mean(1)
        found[f"weights_mistakes_{clip:g}"] = (weights * read.mistakes).sum(2).mean(1)
    return found


def change_spread(read: Readings) -> tuple[float, float]:
    """Over the edits, the standard deviation of the change of log-likelihood, in nats, and the
    effective sample size of the unclipped weights as a share of the draws."""
    edits = read.change[1:]
    return float(edits.std()), float(effective_sample_size(importance_weights(edits, 50.0)).mean())


# What each family of signals costs, as the phases of ``measure`` that it needs.
PHASES: dict[str, tuple[str, ...]] = {
    "gradient": ("greedy incumbent", "gradient"),
    "pathwise": ("draw", "pathwise"),
    "score_function": ("draw", "score function"),
    "both_linear": ("draw", "pathwise", "score function"),
    "fixed": ("draw", "read", "answers"),
    "ratio": ("draw", "read"),
    "kl": ("draw", "read"),
    "weights": ("draw", "read", "answers"),
    "greedy": ("greedy",),
    "proposal": (),
    "prompt_nll": (),
    "random": (),
}


def phases_of(signal: str) -> tuple[str, ...]:
    """The phases that ``signal`` needs."""
    if signal in PHASES:
        return PHASES[signal]
    return PHASES[signal.partition("_")[0]]
