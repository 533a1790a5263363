"""A pool of prompts with names: plain ways of asking, and pictures of how to think.

The kinds are those of Sun et al., Query-Dependent Prompt Evaluation and Optimization with Offline
Inverse RL (ICLR 2024); the wordings are our own.
"""

from __future__ import annotations

from collections.abc import Iterable

# In the order of the released labels, which call them nan, CoT, APE, Dis, ToT and Decomp.
TRAINING: dict[str, str] = {
    "plain": "State the answer.",
    "steps": "Think it through in small steps, and then state the answer.",
    "certain": "Work it out one step after another, so that the answer is certain to be right.",
    "panel": (
        "Imagine a panel of experts who answer this together: each proposes a solution, they "
        "discuss where they differ, and they agree on one answer."
    ),
    "tree": (
        "Consider three ways to begin. Follow each for a step, drop those that lead nowhere, and "
        "continue with the best one until you have the answer."
    ),
    "parts": (
        "Split the question into smaller questions, answer these in order, and put their answers "
        "together."
    ),
}

# Those that the released labels call gpt4_0 to gpt4_9.
HELD_OUT: dict[str, str] = {
    "chain": "Build the answer as a chain in which every link follows from the one before it.",
    "pieces": "Cut the problem into pieces that are easy to handle, and handle one after another.",
    "puzzle": "Treat this as a puzzle: look at each piece, find where it fits, and complete it.",
    "scholars": (
        "Three scholars study the question by themselves, compare their notes, and write down the "
        "answer on which they agree."
    ),
    "detective": "Like a detective, collect the facts, rule out what cannot be, and name the rest.",
    "maze": "Walk through the problem as through a maze, and turn back wherever a path ends.",
    "round_table": (
        "Seat several specialists at a round table; let each add a thought in turn until the "
        "answer is clear."
    ),
    "architect": "Plan like an architect: lay the foundation first, then raise floor upon floor.",
    "machine": "Run through the question like a machine whose every gear turns the next one.",
    "philosophers": "Let philosophers question every step until none of them has a doubt left.",
}

POOL = TRAINING | HELD_OUT


def texts_of(given: Iterable[str]) -> dict[str, str]:
    """Prompts by name: a name of the pool stands for its text, and any other text for itself."""
    return {each: POOL.get(each, each) for each in given}


def prompt_key(prompt: str) -> str:
    """What prompts that count as the same have in common: they may differ in white space."""
    return " ".join(prompt.split())
