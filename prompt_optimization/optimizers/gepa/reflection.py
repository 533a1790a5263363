"""A request to change a prompt after what it did on a few questions, and which those are."""

from __future__ import annotations

import random
from dataclasses import dataclass

from prompt_optimization.optimizers.text.failures import described, verdict
from prompt_optimization.optimizers.text.optimizer import Ask, TextOptimizer
from prompt_optimization.scoring.scorer import Transcript


@dataclass(frozen=True)
class Reflection(Ask):
    """A request to change a prompt after what it did on ``minibatch``, examples by number."""

    minibatch: tuple[int, ...] = ()


def reflect(search: TextOptimizer, parent: str, minibatch: list[int]) -> Reflection:
    """The request by the meta-prompt ``reflect`` that shows what ``parent`` did."""
    shown = map(feedback, search.scorer.transcripts(parent, minibatch))
    user = search.metaprompts["reflect"].fill(prompt=parent.strip(), examples="\n\n".join(shown))
    request = search.request(user, temperature=1.0, max_tokens=1024)
    return Reflection(request, "reflect", (parent,), tuple(minibatch))


def feedback(transcript: Transcript) -> str:
    """What the model did, and whether it was right."""
    return f"{described(transcript)}\nFeedback: {verdict(transcript)}"


def next_minibatch(epoch: list[int], examples: int, size: int, rng: random.Random) -> list[int]:
    """The next ``size`` examples of an epoch, which are taken out of it.

    Args:
        epoch: examples that are to be drawn before any comes again. Where none is left, the next
            epoch begins. Its first ones fill up its last minibatch.
        examples: all that there are.
    """
    size = min(size, examples)
    if not epoch:
        numbers = rng.sample(range(examples), examples)
        epoch += numbers + numbers[: -examples % size]
    taken = epoch[:size]
    del epoch[:size]
    return taken
