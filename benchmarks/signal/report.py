"""The records of a folder as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.signal.correlations import over_positions, rank_correlation
from benchmarks.signal.record import Record
from benchmarks.signal.signals import change_spread, phases_of
from benchmarks.signal.truth import RELIABLE, plan, questions_needed, spread
from prompt_optimization.scoring.statistics import Estimate

VALUES = {"mistake": "mistakes", "loss": "loss"}
EFFECTS = [0.01, 0.02, 0.03, 0.05, 0.1]
FLIPS = [0.1, 0.2, 0.3, 0.4]


def print_plan(console: Console) -> None:
    """How many fresh reasonings a candidate takes, by how far the candidates' effects differ."""
    console.print(
        f"Fresh reasonings a candidate on each side for a reliability of {RELIABLE}, by the spread "
        "of the true effects and the share of questions on which two candidates differ:"
    )
    table = Table("spread, points", *(f"{flip:.0%} differ" for flip in FLIPS))
    for effect, needed in zip(EFFECTS, plan(EFFECTS, FLIPS), strict=True):
        table.add_row(f"{100 * effect:.0f}", *(f"{each:,}" for each in needed))
    console.print(table)


def print_report(console: Console, records: Sequence[Record]) -> None:
    """All tables."""
    measured = [record for record in records if record.draws]  # comes last
    if len(measured) < len(records):
        console.print(f"{len(records) - len(measured)} positions have no fresh reasonings yet.")
    if not measured:
        return
    for value, title in VALUES.items():
        console.print(_positions(measured, value, title))
    console.print(_signals(measured))
    for record in measured:
        console.print(_position(record))


def _reliable(record: Record, value: str) -> bool:
    """Whether the truth on either side carries over to other questions."""
    return min(spread(record.table(side, value)).reliability for side in record.truth) >= RELIABLE


def _positions(records: Sequence[Record], value: str, title: str) -> Table:
    scale, unit = (100, "%") if value == "mistake" else (1, "nats")
    table = Table(
        *("position", "edits", "rows"),
        f"incumbent, {unit}",
        *("spread", "noise", "reliability", "same : other", "rows needed"),
        title=f"Truth: {title} under fresh reasonings (same / other questions)",
    )
    for record in records:
        same, other = (record.table(side, value) for side in ("same", "other"))
        spreads = spread(same), spread(other)
        rows = record.draws * other.shape[1]
        residual = spreads[1].noise * math.sqrt(rows)
        needed = questions_needed(spreads[1].effects, residual)
        table.add_row(
            record.name,
            str(len(record.candidates) - 1),
            f"{record.draws * same.shape[1]} / {rows}",
            f"{scale * same[0].mean():.3g} / {scale * other[0].mean():.3g}",
            " / ".join(f"{scale * each.effects:.2g}" for each in spreads),
            " / ".join(f"{scale * each.noise:.2g}" for each in spreads),
            " / ".join(f"{each.reliability:.2f}" for each in spreads),
            _number(rank_correlation(same.mean(1), other.mean(1))),
            "-" if needed is None else f"{needed:,}",
        )
    return table


def _signals(records: Sequence[Record]) -> Table:
    """Mean rank correlations over positions that are reliable, by signal."""
    table = Table(
        "signal",
        *(f"{title}: {side}" for title in VALUES.values() for side in ("same", "other")),
        *("read", "decoded", "differentiated"),
        title=f"Rank correlation with the truth, mean over positions whose reliability is at least "
        f"{RELIABLE} on both sides [95 % over positions] (positions); tokens a position",
    )
    names = list(dict.fromkeys(name for record in records for name in record.all_signals()))
    ceiling: list[str] = []
    for value in VALUES:
        found = [
            rank_correlation(
                record.table("same", value).mean(1), record.table("other", value).mean(1)
            )
            for record in records
            if _reliable(record, value)
        ]
        ceiling += ["", _estimate(over_positions(found))]
    table.add_row("truth, same questions", *ceiling, "", "", "")
    for name in sorted(names):
        cells = [
            _estimate(
                over_positions(
                    [
                        rank_correlation(
                            record.all_signals()[name], record.table(side, value).mean(1)
                        )
                        for record in records
                        if _reliable(record, value) and name in record.all_signals()
                    ]
                )
            )
            for value in VALUES
            for side in ("same", "other")
        ]
        having = [record for record in records if name in record.all_signals()]
        table.add_row(name, *cells, *_cost(having, name))
    return table


def _cost(records: Sequence[Record], name: str) -> list[str]:
    kinds = ("prefilled", "decoded", "differentiated")
    return [
        f"{np.mean([sum(r.tokens[p].get(kind, 0) for p in phases_of(name)) for r in records]):,.0f}"
        for kind in kinds
    ]


def _position(record: Record) -> Table:
    """One position: every signal against the truth, and what was tried."""
    s = record.settings
    moved = change_spread(record.readings())
    table = Table(
        "signal",
        *(f"{title}: {side}" for title in VALUES.values() for side in ("same", "other")),
        title=f"{record.name}: prompt '{s['prompt'].strip()}'; edits change a reasoning's "
        f"log-likelihood by {moved[0]:.2f} nats (sd), effective sample size {moved[1]:.2f}",
    )
    sides = ("same", "other")
    truth = {(value, side): record.table(side, value).mean(1) for value in VALUES for side in sides}
    row = [_number(rank_correlation(truth[v, "same"], truth[v, "other"])) for v in VALUES]
    table.add_row("truth, same questions", "", row[0], "", row[1])
    for name, values in sorted(record.all_signals().items()):
        table.add_row(name, *(_number(rank_correlation(values, each)) for each in truth.values()))
    return table


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.2f}"


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return "-"
    if math.isnan(found.low):
        return f"{found.value:+.2f} ({found.n})"
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}] ({found.n})"
