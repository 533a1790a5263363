"""What reports call methods, and in which order they show them."""

from __future__ import annotations

from prompt_optimization.report.published import METHODS

NAMES = {"initial": "initial prompt", "prompt": "given prompt", **METHODS}


def method_name(method: str) -> str:
    """The paper's name of a method, or else its own."""
    return NAMES.get(method, method)


def order(method: str) -> tuple[int, str]:
    """Sorts methods: first those of the paper in its order, then the others by name."""
    known = list(NAMES)
    return (known.index(method) if method in known else len(known)), method
