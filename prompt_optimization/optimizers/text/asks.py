"""Requests that several methods make: an instruction guessed from questions and answers, and a
variation of one."""

from __future__ import annotations

from prompt_optimization.optimizers.text.induction import TEMPERATURE, demonstrations
from prompt_optimization.optimizers.text.optimizer import Ask, TextOptimizer

# The temperature of PE2's paraphrases.
RESAMPLING = 0.7


def induce(search: TextOptimizer, demos: int, draws: int = 1) -> Ask:
    """A request by the meta-prompt ``induction`` that shows ``demos`` training questions, drawn by
    chance, with their answers."""
    shown = demonstrations(search.scorer.examples, demos, search.tools.rng)
    user = search.metaprompts["induction"].fill(examples=shown)
    return Ask(search.request(user, draws=draws, temperature=TEMPERATURE), "induce")


def paraphrase(search: TextOptimizer, prompt: str, draws: int) -> Ask:
    """A request for ``draws`` variations of ``prompt``."""
    slots = {"prompt": prompt.strip()}
    return search.ask("paraphrase", (prompt,), slots, draws=draws, temperature=RESAMPLING)
