"""The tables of a folder as the page shows them: one's own numbers, then published ones."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.report.facts import Facts, figure
from prompt_optimization.report.names import method_name
from prompt_optimization.runs.store.log import method_of


def table_facts(folder: Path, metric: str = "") -> Facts:
    """All tables that have something to show, and what methods plot of all their runs; where that
    is nothing, ``problem`` says why.

    Args:
        metric: see ``read_results``.
    """
    try:
        return _facts(folder, metric)
    except InputError as error:
        return {"problem": error.problem}


def _facts(folder: Path, metric: str) -> Facts:
    require_package("tables", "report", "pandas", "tabulate")
    from prompt_optimization.report.measured import read_results
    from prompt_optimization.report.render import is_text, shown
    from prompt_optimization.report.tables import Table, all_tables

    def compares(table: Table) -> bool:
        """Whether a cell of it stands beside a published one."""
        return bool(table.data[["measured", "published"]].notna().all(axis=1).any())

    results = read_results(folder, metric)
    tables = [table for table in all_tables(results) if len(table.data)]
    own = [table for table in tables if not table.of_paper]
    beside = [table for table in tables if table.of_paper and compares(table)]
    found = []
    for table in [*own, *beside]:
        data = shown(table)
        found.append(
            {
                "title": table.title,
                "note": table.note,
                "columns": [
                    {"name": str(name), "number": not is_text(table, name)} for name in data
                ],
                "rows": [list(map(str, row)) for row in data.itertuples(index=False, name=None)],
            }
        )
    by_method: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for log in results.runs.values():
        by_method[method_of(log)].append(log)
    figures = [
        {"method": method_name(method), **own_figure}
        for method, logs in by_method.items()
        if (own_figure := figure(method, logs))
    ]
    return {"tables": found, "figures": figures, "left_out": results.left_out}
