"""Pictures of one run, and of what a token's gradient foretold over all of them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from prompt_optimization.optimizers.greater.state import PHASES

INCUMBENT, BEST, CANDIDATE = "#1f5fa8", "#2a9d55", "#9aa0a6"

Foretold = tuple[list[float], list[float]]


def run_figure(log: dict[str, Any]) -> Figure:
    """Objective, mistakes, gradient against measured change, and seconds, step by step."""
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    (objective, mistakes), (gradient, seconds) = figure.subplots(2, 2)
    _progress(objective, log, "objective")
    _progress(mistakes, log, "mistakes")
    objective.legend(loc="upper right", fontsize="small")
    _scatter(gradient, foretold([log]))
    _seconds(seconds, log["steps"])
    return figure


def sweep_figure(logs: Sequence[dict[str, Any]]) -> Figure:
    """Gradient against measured change over all runs."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    _scatter(figure.subplots(), foretold(logs))
    return figure


def svg(figure: Figure) -> str:
    """The figure as an element of a page."""
    text = io.StringIO()
    # Ids from a fixed salt and no date: the same run gives the same page.
    with rc_context({"svg.hashsalt": "greater", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    written = text.getvalue()
    return written[written.index("<svg") :]


def foretold(logs: Iterable[dict[str, Any]]) -> Foretold:
    """Per candidate its gradient, and how much the objective changed when it was tried."""
    gradients, changes = [], []
    for log in logs:
        before = log["initial"]
        for step in log["steps"]:
            for candidate in step["shortlist"]:
                if not candidate["capped"] and candidate["samples"] == before["samples"]:
                    gradients.append(candidate["gradient"])
                    changes.append(candidate["objective"] - before["objective"])
            before = step["incumbent"]
    return gradients, changes


def _progress(axes: Axes, log: dict[str, Any], key: str) -> None:
    initial, steps = log["initial"], log["steps"]
    best, bests = initial, [initial[key]]
    for step in steps:
        found = [c for c in step["shortlist"] if not c["capped"]]
        best = min([best, *found], key=lambda scored: (-scored["samples"], scored["objective"]))
        bests.append(best[key])
    tried = [(step["step"] + 1, c[key]) for step in steps for c in step["shortlist"]
             if not c["capped"]]  # fmt: skip
    if tried:
        axes.plot(*zip(*tried, strict=True), ".", color=CANDIDATE, label="candidates")
    axes.step(
        range(len(steps) + 1), [initial[key], *(step["incumbent"][key] for step in steps)],
        where="post", color=INCUMBENT, label="incumbent",
    )  # fmt: skip
    axes.step(
        range(len(steps) + 1), bests, where="post", color=BEST, linestyle="--", label="best so far"
    )
    axes.set(xlabel="step", title=f"{key} on training rows")
    axes.grid(alpha=0.3)


def _scatter(axes: Axes, pairs: Foretold) -> None:
    gradients, changes = pairs
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.plot(gradients, changes, ".", color=INCUMBENT, alpha=0.6)
    title = "gradient against measured change"
    if len(set(gradients)) > 2 and len(set(changes)) > 2:
        correlation = spearmanr(gradients, changes)
        title += f"\nSpearman {correlation.statistic:+.2f} over {len(gradients)} candidates"
    axes.set(xlabel="token's gradient (normalised)", ylabel="change of objective", title=title)
    axes.grid(alpha=0.3)


def _seconds(axes: Axes, steps: Sequence[dict[str, Any]]) -> None:
    at = [step["step"] + 1 for step in steps]
    floor = [0.0] * len(steps)
    for phase in PHASES:
        heights = [step["seconds"].get(phase, 0.0) for step in steps]
        axes.bar(at, heights, bottom=floor, label=phase, width=0.9)
        floor = [low + height for low, height in zip(floor, heights, strict=True)]
    axes.set(xlabel="step", title="seconds by phase", ylim=(0, 1.25 * max(floor, default=1) or 1))
    axes.legend(ncols=4, fontsize="x-small", loc="upper center")
    axes.grid(alpha=0.3, axis="y")
