"""The runs below a folder: what became of them, and what they gained on test rows."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from prompt_optimization.commands.arguments import Arguments, refused
from prompt_optimization.commands.screen import put
from prompt_optimization.errors import InputError
from prompt_optimization.paths import user_path
from prompt_optimization.report.found import FOLDER
from prompt_optimization.report.overview import overview, shared, table


def main(arguments: Sequence[str], program: str) -> int:
    parser = Arguments(
        program,
        description="The runs below a folder, oldest first: what became of them, and what they "
        "gained on test rows, in points with a 95 % interval.",
    )
    parser.add_argument(
        "folder", nargs="?", type=user_path, default=FOLDER, help=f"({FOLDER}), however deep"
    )
    parser.add_argument("--json", action="store_true", help="as a JSON list, with the prompts")
    given = parser.parse_args(arguments)
    try:
        show_runs(given.folder, given.json)
    except InputError as error:
        return refused(error)
    return 0


def show_runs(folder: Path, as_json: bool = False) -> None:
    """Print the runs below ``folder``.

    Raises:
        InputError: there is no such folder, or no run in it.
    """
    lines, left_out = overview(folder)
    for reason in left_out:
        print(f"left out: {reason}", file=sys.stderr)
    if as_json:
        print(json.dumps([line.record() for line in lines], ensure_ascii=False, indent=1))
    elif lines:
        common = ", ".join(f"{name} {value}" for name, value in shared(lines).items())
        put(*([Text(f"{common}\n")] if common else []), table(lines))
