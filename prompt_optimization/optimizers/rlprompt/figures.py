"""What a log of this method tells beside what all logs do: whether the policy has learnt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

HEADING = "mean reward of a step's draws"
AXES = ("step", "mean reward")

# Steps at each end whose means are compared.
ENDS = 20


def points(logs: Iterable[dict[str, Any]]) -> list[tuple[float, float]]:
    """Per step its number and the mean reward of what the policy drew."""
    return [
        (step["step"], step["mean_reward"])
        for log in logs
        for step in log["steps"]
        if "mean_reward" in step
    ]


def note(found: Sequence[tuple[float, float]]) -> str:
    """The mean of the first and of the last steps of ``points``; empty where they are few."""
    if len(found) < 2 * ENDS:
        return ""
    rewards = [reward for _, reward in sorted(found)]
    first, last = sum(rewards[:ENDS]) / ENDS, sum(rewards[-ENDS:]) / ENDS
    return f"mean of the first {ENDS}: {first:.3g}, of the last {ENDS}: {last:.3g}"
