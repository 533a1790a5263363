"""A table of a folder's runs: ``python -m prompt_optimization.report.summary results/llama3``."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prompt_optimization.errors import InputError
from prompt_optimization.runs.store.collection import read_collection
from prompt_optimization.runs.store.log import method_of, metric_of


def summary(folder: Path) -> Table:
    """One line a run, the newest log of each prefix: how far it came, and what it is worth on rows
    it has not seen.

    Raises:
        InputError: the folder does not exist.
    """
    table = Table(title=escape(str(folder)))
    for column in ("run", "method", "status"):
        table.add_column(column)
    for column in ("steps", "objective", "initial", "best", "difference"):
        table.add_column(column, justify="right")
    found = read_collection(folder)
    newest = {}
    for path, log in found.logs.items():
        name = str(path.relative_to(folder).with_suffix(""))
        newest[re.sub(r"_\d{8}-\d{6}(-\d+)?$", "", name)] = log
    for name, log in sorted(newest.items()):
        initial, best = log["initial"], log["best"]
        objective = f"{initial['objective']:.3f} -> {best[0]['objective']:.3f}" if best else ""
        test = (log["evaluation"] or {}).get("test") or {}
        metric = metric_of(test["best"]) if test else ""
        cells = [
            _percent(test[key][metric], signed=key == "difference") if key in test else ""
            for key in ("initial", "best", "difference")
        ]
        steps = str(len(log["steps"]))
        table.add_row(escape(name), method_of(log), log["status"], steps, objective, *cells)
    left_out = f"; left out: {len(found.left_out)} damaged logs" if found.left_out else ""
    table.caption = f"accuracy on test rows in %, with 95 % interval{left_out}"
    return table


def _percent(estimate: dict[str, Any], signed: bool) -> str:
    form = "{:+.1f}" if signed else "{:.1f}"
    value, low, high = (form.format(100 * estimate[key]) for key in ("value", "low", "high"))
    return f"{value} ({low}, {high})"


def main() -> int:
    parser = argparse.ArgumentParser(description="A table of a folder's runs.")
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    try:
        Console(width=None if sys.stdout.isatty() else 140).print(summary(given.folder))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
