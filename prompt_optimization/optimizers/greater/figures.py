"""What a log of this method tells beside what all logs do: how well the gradient predicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from scipy.stats import spearmanr

HEADING = "predicted and measured"

COLOUR = "#1f5fa8"


def draw(axes: Axes, logs: Sequence[dict[str, Any]]) -> None:
    """Draw the gradient of every candidate in ``logs`` against its measured change, with their
    rank correlation."""
    gradients, changes = predicted_and_measured(logs)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.plot(gradients, changes, ".", color=COLOUR, alpha=0.6)
    title = "gradient against measured change"
    if len(set(gradients)) > 2 and len(set(changes)) > 2:
        correlation = spearmanr(gradients, changes)
        title += f"\nSpearman {correlation.statistic:+.2f} over {len(gradients)} candidates"
    axes.set(xlabel="token's gradient (normalised)", ylabel="change of objective", title=title)
    axes.grid(alpha=0.3)


def predicted_and_measured(logs: Iterable[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Per candidate its gradient, and the objective it had minus the incumbent's on the same rows.

    Candidates without a gradient, and those that were given up before they had run on all rows,
    are left out.
    """
    gradients, changes = [], []
    for log in logs:
        before = log["initial"]
        for step in log["steps"]:
            for candidate in step["shortlist"]:
                whole = not candidate["capped"] and candidate["samples"] == before["samples"]
                if whole and "gradient" in candidate:
                    gradients.append(candidate["gradient"])
                    changes.append(candidate["objective"] - before["objective"])
            before = step["incumbent"]
    return gradients, changes
