"""Prompts and their scores, as a writer is shown them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Attempt:
    """A prompt that was scored, from 0 for the worst score to 1, and the step that found it."""

    text: str
    score: float
    step: int

    def shown(self, scale: int) -> str:
        """In words, where ``scale`` is the best score."""
        return f"Instruction: {self.text.strip()}\nScore: {round(scale * self.score)}"


class Trajectory:
    """The attempts of a search, each text once, in the order in which they were made."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def add(self, attempts: Iterable[Attempt]) -> None:
        known = {attempt.text for attempt in self.attempts}
        for attempt in attempts:
            if attempt.text not in known:
                known.add(attempt.text)
                self.attempts.append(attempt)

    def best(self, count: int, least: float = 0.0) -> list[Attempt]:
        """The best ``count`` attempts whose score is at least ``least``, the best one last; among
        equals the earlier ones are better."""
        able = [attempt for attempt in self.attempts if attempt.score >= least]
        order = sorted(range(len(able)), key=lambda i: (-able[i].score, i))
        return [able[i] for i in reversed(order[:count])]

    def state_dict(self) -> list[dict[str, Any]]:
        return [asdict(attempt) for attempt in self.attempts]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        self.attempts = [Attempt(**attempt) for attempt in state]
