"""The picture of a comparison, for a file. What the page shows of a run, the page draws."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure


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
