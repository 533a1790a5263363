"""What a folder of logs says: the paper's tables, or one page with all runs and tables.

``--format html`` writes the page of ``greater view`` as a file that needs no server.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prompt_optimization.commands.arguments import Arguments, refused
from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.files import write_whole
from prompt_optimization.scoring.settings import METRICS
from prompt_optimization.tasks.metrics.registry import METRICS as NAMES


def main(arguments: Sequence[str], program: str) -> int:
    parser = Arguments(program, description="Tables or a page from a folder of logs.")
    parser.add_argument("folder", type=Path, help="logs below it count, however deep")
    parser.add_argument("--format", choices=("md", "csv", "latex", "html"), default="md")
    parser.add_argument(
        "--out", type=Path, help="a file; else the screen, and for html FOLDER/report.html"
    )
    parser.add_argument(
        "--reading", choices=dict.fromkeys((*METRICS, *NAMES)), default="", metavar="METRIC",
        help=f"how answers are read, by one of {', '.join((*METRICS, *NAMES))}; else each result "
        "by the metric that counted when it was made, which is usually strict: to the letter",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    try:
        write(given.folder, given.format, given.out, given.reading)
    except InputError as error:
        return refused(error)
    return 0


def write(folder: Path, form: str, out: Path | None, metric: str) -> None:
    """Write the report on ``folder`` to ``out`` or where it belongs.

    Raises:
        InputError: there is nothing to report, packages are missing, or ``out`` cannot be
            written.
    """
    if form == "html":
        out = out or folder / "report.html"
        text = _page(folder, metric)
    else:
        # pandas writes tables in Markdown with tabulate.
        require_package("a report", "report", "pandas", "tabulate")
        from prompt_optimization.report.measured import read_results
        from prompt_optimization.report.render import FORMATS
        from prompt_optimization.report.tables import all_tables

        results = read_results(folder, metric)
        for reason in results.left_out:
            print(f"left out: {reason}", file=sys.stderr)
        text = FORMATS[form](all_tables(results))
    if out is None:
        print(text, end="")
        return
    write_whole(out, text.encode(), "out")
    print(out.resolve())


def _page(folder: Path, metric: str) -> str:
    """The page on all runs below ``folder``, finished or not."""
    require_package("a report", "report", "pandas", "tabulate")
    from prompt_optimization.report.page import standing_alone
    from prompt_optimization.report.scan import Scan
    from prompt_optimization.report.table_facts import table_facts

    scan = Scan(folder)
    runs = scan.runs()
    tables = table_facts(folder, metric)
    if not runs and "problem" in tables:
        raise InputError(tables["problem"])
    for reason in tables.get("left_out", ()):
        print(f"left out of the tables: {reason}", file=sys.stderr)
    details = {run["id"]: found for run in runs if (found := scan.run(run["id"]))}
    kept = {name: scan.transcripts(name, _flipped(found)) for name, found in details.items()}
    read = f", read {metric}" if metric else ""
    return standing_alone(
        f"Runs in {folder.resolve().name}{read}",
        {"runs": runs, "details": details, "transcripts": kept, "tables": tables},
    )


def _flipped(run: Mapping[str, Any]) -> set[int]:
    """The test rows that are not worth the same under both prompts of a run."""
    flips = run.get("flips") or {"won": (), "lost": ()}
    return {*flips["won"], *flips["lost"]}
