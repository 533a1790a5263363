"""The records of a folder as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.signal.correlations import over_positions, rank_correlation
from benchmarks.signal.record import SIDES, Record
from benchmarks.signal.signals import change_spread, phases_of
from benchmarks.signal.truth import RELIABLE, plan, questions_needed, spread
from prompt_optimization.scoring.statistics import Estimate

VALUES = {"mistake": "mistakes", "loss": "loss"}
KINDS = {"prefilled": "read", "decoded": "decoded", "differentiated": "differentiated"}
CEILING = "truth, same questions"
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
    measured = [record for record in records if record.draws]  # fresh reasonings come last
    if len(measured) < len(records):
        console.print(f"{len(records) - len(measured)} positions have no fresh reasonings yet.")
    if not measured:
        return
    for value in VALUES:
        console.print(_positions(measured, value))
    console.print(_kinds(measured))
    for value in VALUES:
        reliable = [record for record in measured if _reliable(record, value)]
        if reliable:
            console.print(_means(reliable, value))
        console.print(
            f"{len(measured) - len(reliable)} of {len(measured)} positions say nothing of "
            f"{VALUES[value]}: their reliability is below {RELIABLE}.\n"
        )
    console.print(_costs(measured))
    for record in measured:
        console.print(_position(record))


def _reliable(record: Record, value: str) -> bool:
    """Whether the truth on either side carries over to other questions."""
    return min(spread(record.table(side, value)).reliability for side in SIDES) >= RELIABLE


def _positions(records: Sequence[Record], value: str) -> Table:
    scale, unit = (100, "%") if value == "mistake" else (1, "nats")
    title = f"Truth: {VALUES[value]} under fresh reasonings, in {unit}"
    table = _table("position", title)
    for column in ("edits", "questions", "rows", "incumbent", "spread", "noise"):
        table.add_column(column, justify="right")
    for column in ("relia-\nbility", "same :\nother", "rows\nneeded"):
        table.add_column(column, justify="right")
    for record in records:
        means = {side: record.table(side, value).mean(1) for side in SIDES}
        for side in SIDES:
            cells = record.table(side, value)
            found = spread(cells)
            rows = record.draws * cells.shape[1]
            needed = questions_needed(found.effects, found.noise * math.sqrt(rows))
            first = side == SIDES[0]
            table.add_row(
                record.settings["task"] if first else f"  {record.place}",
                str(len(record.candidates) - 1) if first else "",
                side,
                f"{rows}",
                f"{scale * cells[0].mean():.3g}",
                f"{scale * found.effects:.2g}",
                f"{scale * found.noise:.2g}",
                f"{found.reliability:.2f}",
                _number(rank_correlation(*means.values())) if first else "",
                "-" if needed is None else f"{needed:,}",
            )
    return table


def _kinds(records: Sequence[Record]) -> Table:
    """How large the true effects of each kind of edit are: the root of their mean variance."""
    table = _table("edit", "Size of true effects, by kind of edit (positions that are reliable)")
    for column in ("positions", "mistakes, %", "loss, nats"):
        table.add_column(column, justify="right")
    for kind in dict.fromkeys(record.settings["edit"] for record in records):
        own = [record for record in records if record.settings["edit"] == kind]
        row = [kind, str(len(own))]
        for value in VALUES:
            effects = [spread(each.table(side, value)).effects for each in own for side in SIDES]
            size = (100 if value == "mistake" else 1) * math.sqrt(fmean(e**2 for e in effects))
            row.append(f"{size:.2g} ({sum(_reliable(each, value) for each in own)})")
        table.add_row(*row)
    return table


def _means(reliable: Sequence[Record], value: str) -> Table:
    """Mean rank correlations over the positions that are reliable, by signal."""
    table = _table(
        "signal",
        f"Rank correlation with {VALUES[value]}, mean [95 % over positions] (positions), where the "
        "reliability suffices",
    )
    for side in SIDES:
        table.add_column(side, justify="right")
    found = [
        rank_correlation(*(record.table(side, value).mean(1) for side in SIDES))
        for record in reliable
    ]
    table.add_row(CEILING, "", _estimate(over_positions(found)))
    for name in _names(reliable):
        having = [record for record in reliable if name in record.all_signals()]
        cells = [
            over_positions(
                [
                    rank_correlation(record.all_signals()[name], record.table(side, value).mean(1))
                    for record in having
                ]
            )
            for side in SIDES
        ]
        table.add_row(name, *map(_estimate, cells))
    return table


def _costs(records: Sequence[Record]) -> Table:
    table = _table("signal", "Cost of a signal for all candidates of a position, tokens")
    for kind in KINDS.values():
        table.add_column(kind, justify="right")
    for name in _names(records):
        table.add_row(name, *_cost([r for r in records if name in r.all_signals()], name))
    return table


def _names(records: Sequence[Record]) -> list[str]:
    return sorted({name for record in records for name in record.all_signals()})


def _cost(records: Sequence[Record], name: str) -> list[str]:
    return [
        f"{np.mean([sum(r.tokens[p].get(kind, 0) for p in phases_of(name)) for r in records]):,.0f}"
        for kind in KINDS
    ]


def _position(record: Record) -> Table:
    """Every signal of one position against the truth."""
    s = record.settings
    moved = change_spread(record.readings())
    table = _table(
        "signal",
        f"{record.name}: rank correlations under the prompt '{s['prompt'].strip()}'; the edits "
        f"change a reasoning's log-likelihood by {moved[0]:.2f} nats (sd), effective sample size "
        f"{moved[1]:.2f}",
    )
    truth = {(v, side): record.table(side, v).mean(1) for v in VALUES for side in SIDES}
    for value, side in truth:
        table.add_column(f"{VALUES[value]}\n{side}", justify="right")
    row = [_number(rank_correlation(*(truth[value, side] for side in SIDES))) for value in VALUES]
    table.add_row(CEILING, "", row[0], "", row[1])
    for name, values in sorted(record.all_signals().items()):
        table.add_row(name, *(_number(rank_correlation(values, each)) for each in truth.values()))
    return table


def _table(first: str, title: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=0, min_width=76)
    table.add_column(first, no_wrap=True)
    return table


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.2f}"


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return "-"
    if math.isnan(found.low):
        return f"{found.value:+.2f} ({found.n})"
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}] ({found.n})"
