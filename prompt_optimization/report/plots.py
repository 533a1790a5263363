"""Pictures of runs: what all methods' logs hold, and what a method draws of its own."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prompt_optimization.optimizers.registry import figures_of
from prompt_optimization.runs.store.log import method_of

INCUMBENT, BEST, TRIED = "#1f5fa8", "#2a9d55", "#9aa0a6"

Draw = Callable[[Axes, Sequence[dict[str, Any]]], None]


def run_figure(log: dict[str, Any]) -> Figure:
    """Objective, mistakes and seconds, step by step, and what the run's method draws of its own."""
    own = figures_of(method_of(log))
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    rows: list[list[Any]] = [["objective", "mistakes"], ["own" if own else "seconds", "seconds"]]
    axes = figure.subplot_mosaic(rows)
    _tried(axes["objective"], log["steps"])
    for key in ("objective", "mistakes"):
        _progress(axes[key], log, key)
    axes["objective"].legend(loc="upper right", fontsize="small")
    if own:
        own.draw(axes["own"], [log])
    _seconds(axes["seconds"], log["steps"])
    return figure


def folder_figure(draw: Draw, logs: Sequence[dict[str, Any]]) -> Figure:
    """What a method's ``draw`` shows of all its runs together."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    draw(figure.subplots(), logs)
    return figure


def curves_figure(record: Mapping[str, Any]) -> Figure:
    """The best objective so far against the rows evaluated, a line a run.

    Args:
        record: as ``comparison`` makes it.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (method, own) in enumerate(record["methods"].items()):
        label: str | None = method
        for run in own["runs"]:
            if run["curve"]:
                spent, best = zip(*run["curve"], strict=True)
                spent, best = (*spent, run["evaluations"]), (*best, best[-1])
                axes.step(spent, best, where="post", color=f"C{number}", label=label)
                label = None  # once a method
    axes.set(
        xlabel="rows evaluated", title=f"best objective on {record['rows']['train']} train rows"
    )
    if axes.lines:
        axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    return figure


def svg(figure: Figure) -> str:
    """The figure as an element of a page."""
    text = io.StringIO()
    # Ids from a fixed salt and no date: the same run gives the same page.
    with rc_context({"svg.hashsalt": "report", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    written = text.getvalue()
    return written[written.index("<svg") :]


def _tried(axes: Axes, steps: Sequence[dict[str, Any]]) -> None:
    """The objective of every prompt that was tried and not given up."""
    found = [
        (step["step"] + 1, tried["objective"])
        for step in steps
        # Logs of when there was one method have these among its own keys.
        for tried in step.get("tried") or step.get("shortlist", ())
        if not tried["capped"]
    ]
    if found:
        axes.plot(*zip(*found, strict=True), ".", color=TRIED, label="tried")


def _progress(axes: Axes, log: dict[str, Any], key: str) -> None:
    """``key`` of the incumbent after every step, and of the best incumbent so far: of those on as
    many rows, the one with the lowest objective."""
    incumbents = [log["initial"], *(step["incumbent"] for step in log["steps"])]
    best, bests = incumbents[0], []
    for each in incumbents:
        best = min(best, each, key=lambda scored: (-scored["samples"], scored["objective"]))
        bests.append(best[key])
    if None in bests:
        axes.set(title=f"{key}: no answers are known")
        return
    at = range(len(incumbents))
    axes.step(
        at, [each[key] for each in incumbents], where="post", color=INCUMBENT, label="incumbent"
    )
    axes.step(at, bests, where="post", color=BEST, linestyle="--", label="best so far")
    axes.set(xlabel="step", title=f"{key} on training rows")
    axes.grid(alpha=0.3)


def _seconds(axes: Axes, steps: Sequence[dict[str, Any]]) -> None:
    at = [step["step"] + 1 for step in steps]
    floor = [0.0] * len(steps)
    for phase in dict.fromkeys(phase for step in steps for phase in step["seconds"]):
        heights = [step["seconds"].get(phase, 0.0) for step in steps]
        axes.bar(at, heights, bottom=floor, label=phase, width=0.9)
        floor = [low + height for low, height in zip(floor, heights, strict=True)]
    axes.set(xlabel="step", title="seconds by phase", ylim=(0, 1.25 * max(floor, default=1) or 1))
    if steps:
        axes.legend(ncols=4, fontsize="x-small", loc="upper center")
    axes.grid(alpha=0.3, axis="y")
