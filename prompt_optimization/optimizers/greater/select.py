"""Step 4: which of the shortlisted tokens is taken? (paper, section 3.4)"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeVar

from prompt_optimization.optimizers.greater.settings import SIGNALS

T = TypeVar("T")


def shortlist(
    rule: str, signal: Sequence[float] | None, edits: Sequence[T], size: int, rng: random.Random
) -> list[T]:
    """The ``size`` edits to try.

    Args:
        rule: one of ``SIGNALS``: those with the lowest signal, lowest first; ``random``: any;
            ``proposal``: the first. The last two are what the others are to be compared with.
        signal: by edit, what the rule is named after; only ``SIGNALS`` ask for it.
        edits: likeliest first.
    """
    if rule == "random":
        return rng.sample(list(edits), min(size, len(edits)))
    if rule == "proposal":
        return list(edits[:size])
    assert rule in SIGNALS and signal is not None, rule
    return [edits[i] for i in sorted(range(len(edits)), key=signal.__getitem__)[:size]]


def hardest_first(wrong: Sequence[bool], losses: Sequence[float]) -> list[int]:
    """Examples in the order in which a prompt is most likely to fail on them.

    Args:
        wrong, losses: what another prompt did, sample by sample.
    """
    return sorted(range(len(wrong)), key=lambda sample: (not wrong[sample], -losses[sample]))


def choose(objectives: Sequence[float] | Sequence[tuple[float, float]], ties: str) -> int:
    """Index of the lowest objective; among equals the ``first`` or the ``last``."""
    lowest = min(objectives)
    at = [i for i, objective in enumerate(objectives) if objective == lowest]
    return at[0] if ties == "first" else at[-1]


def until_period(ends_sentence: Sequence[bool], position: int, initial_length: int) -> int | None:
    """Published period rule: index of the token that wins whatever its objective, if any.

    In the second half of the initial prompt's length the first shortlisted token that contains
    a period is taken as soon as it has been scored, and those after it are not looked at.
    """
    if position < 0.5 * initial_length:
        return None
    return next((i for i, ends in enumerate(ends_sentence) if ends), None)


def accepts(
    rule: str, delta: float, step: int, steps: int, rng: random.Random, hottest: float = 1.0
) -> bool:
    """Does a candidate replace the incumbent?

    Args:
        rule: ``improve`` takes only what is better; ``anneal`` also takes what is worse by
            ``delta`` with probability exp(-delta / T), T = hottest * (1 - (step + 1) / steps);
            ``always`` takes everything, as the published code does.
        delta: candidate's objective minus the incumbent's.
        step: index of this step, from 0, of ``steps``.
    """
    if rule == "always":
        return True
    if rule == "improve":
        return delta < 0
    assert rule == "anneal", rule
    temperature = hottest * (1 - (step + 1) / steps)
    if delta <= 0:
        return True
    return temperature > 0 and rng.random() < math.exp(-delta / temperature)
