"""Tables as Markdown, CSV or LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from prompt_optimization.report.tables import Table

DIGITS = {"p": 3, "objective before": 3, "objective after": 3, "n": 0, "rows": 0, "runs": 0}
# What _measured and _published put into one cell each.
TOGETHER = ("measured", "low", "high", "n", "tasks", "published", "difference")


def markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        parts.append(f"## {table.title}\n")
        if len(table.data):
            parts.append(f"{table.note}\n" if table.note else "")
            data = shown(table)
            align = ["left" if is_text(table, name) else "right" for name in data]
            data = data.map(_cell).rename(columns=_cell)
            parts.append(data.to_markdown(index=False, disable_numparse=True, colalign=align))
            parts.append("")
        else:
            parts.append("Nothing measured yet.\n")
    return "\n".join(parts)


def csv(tables: Sequence[Table]) -> str:
    """One file for all: a first column names the table; numbers are not rounded."""
    named = [table.data.assign(table=table.title) for table in tables if len(table.data)]
    together = pd.concat(named, ignore_index=True)
    together.insert(0, "table", together.pop("table"))
    return str(together.to_csv(index=False))


def latex(tables: Sequence[Table]) -> str:
    return "\n".join(
        str(
            shown(table).to_latex(index=False, escape=True, caption=_caption(table), longtable=True)
        )
        for table in tables
        if len(table.data)
    )


def shown(table: Table) -> pd.DataFrame:
    """The table in words: numbers rounded, what is missing empty, values of ``across`` side by
    side with a column of published ones next to those that have any."""
    lines = [{str(k): v for k, v in line.items()} for line in table.data.to_dict("records")]
    if not table.across:
        names = [str(name) for name in table.data if table.data[name].notna().any()]
        return pd.DataFrame([{name: _word(line[name], name) for name in names} for line in lines])
    keys = [str(name) for name in table.data if name not in (*TOGETHER, table.across)]
    rows: dict[tuple[Any, ...], dict[str, str]] = {}
    for line in lines:
        row = rows.setdefault(
            tuple(line[key] for key in keys), {key: str(line[key]) for key in keys}
        )
        row[line[table.across]] = _measured(line)
        if "published" in line:
            row[f"{line[table.across]} published"] = _published(line)
    data = pd.DataFrame(rows.values()).fillna("")
    empty = [name for name in data if str(name).endswith(" published") and not any(data[name])]
    return data.drop(columns=empty)


def _cell(text: str) -> str:
    """As a Markdown table can hold it."""
    return " ".join(text.split()).replace("|", "\\|")


def _caption(table: Table) -> str:
    return f"{table.title}. {table.note}".replace("%", "\\%")


def is_text(table: Table, column: object) -> bool:
    """Whether ``column`` of the shown table holds words, not numbers."""
    return column in table.data and any(isinstance(cell, str) for cell in table.data[column])


def _measured(line: dict[str, Any]) -> str:
    if not _there(line["measured"]):
        return ""
    value, low, high = (_word(line[key], key) for key in ("measured", "low", "high"))
    tasks = line.get("tasks", "1 of 1")
    some = "" if len(set(tasks.split(" of "))) == 1 else f", {tasks} tasks"
    return f"{value} [{low}, {high}] (n={line['n']}{some})"


def _published(line: dict[str, Any]) -> str:
    if not _there(line["published"]):
        return ""
    difference = f" ({line['difference']:+.1f})" if _there(line["difference"]) else ""
    return f"{line['published']:.1f}{difference}"


def _word(value: Any, column: object) -> str:
    if isinstance(value, str):
        return value
    if not _there(value):
        return ""
    if column == "p" and value < 0.001:
        return "<0.001"
    sign = "+" if column == "difference" else ""
    return f"{value:{sign}.{DIGITS.get(str(column), 1)}f}"


def _there(value: Any) -> bool:
    return not pd.isna(value)


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "md": markdown,
    "csv": csv,
    "latex": latex,
}
