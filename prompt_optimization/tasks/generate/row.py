"""One generated row, and the ways of writing answers that several tasks share."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase


@dataclass(frozen=True)
class Row:
    """``goal`` is the question; ``target`` the answer as BIG-Bench Hard writes it."""

    goal: str
    target: str

    @property
    def final_target(self) -> str:
        """The answer without the brackets round an option's letter."""
        bracketed = self.target[:1] == "(" and self.target[-1:] == ")" and len(self.target) == 3
        return self.target[1] if bracketed else self.target


def multiple_choice(question: str, options: Sequence[str], right: str) -> Row:
    """A question with lettered options, one of which is ``right``."""
    lines = [
        f"({letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False)
    ]
    return Row(
        "\n".join([question, "Options:", *lines]), f"({ascii_uppercase[options.index(right)]})"
    )


def shuffled(rng: random.Random, items: Sequence[str]) -> list[str]:
    """A shuffled copy."""
    return rng.sample(list(items), len(items))


def listed(items: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b, and c``."""
    if len(items) <= 2:
        return " and ".join(items)
    return ", ".join(items[:-1]) + ", and " + items[-1]


def article(noun: str) -> str:
    """``noun`` after a or an."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
