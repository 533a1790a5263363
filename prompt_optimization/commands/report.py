"""The paper's tables from a folder of logs.

``--format html`` writes one page with the tables and a picture of every run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.files import write_whole
from prompt_optimization.scoring.settings import METRICS
from prompt_optimization.tasks.metrics.registry import METRICS as NAMES


def main(arguments: Sequence[str], program: str) -> int:
    parser = argparse.ArgumentParser(program, description="Tables and plots from a folder of logs.")
    parser.add_argument("folder", type=Path, help="logs below it count, however deep")
    parser.add_argument("--format", choices=("md", "csv", "latex", "html"), default="md")
    parser.add_argument(
        "--out", type=Path, help="a file; else the screen, and for html FOLDER/report.html"
    )
    parser.add_argument(
        "--reading", choices=dict.fromkeys((*METRICS, *NAMES)), default="",
        help="how answers are read; else each result by the metric that counted when it was made, "
        "which is usually strict: to the letter",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    try:
        write(given.folder, given.format, given.out, given.reading)
    except InputError as error:
        print(f"error: {error.worded(lambda key: f'--{key}')}", file=sys.stderr)
        return 2
    return 0


def write(folder: Path, form: str, out: Path | None, metric: str) -> None:
    """Write the report on ``folder`` to ``out`` or where it belongs.

    Raises:
        InputError: there is nothing to report, packages are missing, or ``out`` cannot be
            written.
    """
    # pandas writes tables in Markdown with tabulate.
    require_package("a report", "report", "pandas", "matplotlib", "tabulate")
    from prompt_optimization.report.measured import read_results
    from prompt_optimization.report.page import page
    from prompt_optimization.report.render import FORMATS
    from prompt_optimization.report.tables import all_tables

    results = read_results(folder, metric)
    tables = all_tables(results)
    for reason in results.left_out:
        print(f"left out: {reason}", file=sys.stderr)
    if form == "html":
        read = f", read {metric}" if metric else ""
        text = page(f"Results in {folder.resolve().name}{read}", tables, results)
        out = out or folder / "report.html"
    else:
        text = FORMATS[form](tables)
    if out is None:
        print(text, end="")
        return
    write_whole(out, text.encode(), "out")
    print(out.resolve())
