"""What a log of this method tells beside what all logs do: how well the gradient predicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from scipy.stats import spearmanr

HEADING = "gradient against measured change"
AXES = ("token's gradient (normalised)", "change of objective")


def points(logs: Iterable[dict[str, Any]]) -> list[tuple[float, float]]:
    """Per candidate its gradient, and the objective it had minus the incumbent's on the same rows.

    Candidates without a gradient, and those that were given up before they had run on all rows,
    are left out.
    """
    found = []
    for log in logs:
        before = log["initial"]
        for step in log["steps"]:
            before = step.get("retested", before)
            for candidate in step["shortlist"]:
                whole = not candidate["capped"] and candidate["samples"] == before["samples"]
                if whole and "gradient" in candidate:
                    change = candidate["objective"] - before["objective"]
                    found.append((candidate["gradient"], change))
            before = step["incumbent"]
    return found


def note(found: Sequence[tuple[float, float]]) -> str:
    """The rank correlation of ``points``; empty where there is none."""
    gradients, changes = zip(*found, strict=True) if found else ((), ())
    if len(set(gradients)) < 3 or len(set(changes)) < 3:
        return ""
    correlation = spearmanr(gradients, changes)
    return f"Spearman's rank correlation {correlation.statistic:+.2f} over {len(found)} candidates"
