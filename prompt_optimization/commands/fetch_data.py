"""Fetch the authors' data.

Writes data/official/BBH, GSM8K, FOLIO and so on, which git ignores. Files that are there already,
unchanged, are left alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from prompt_optimization.commands.arguments import Arguments
from prompt_optimization.errors import InputError
from prompt_optimization.paths import data_folder
from prompt_optimization.tasks.official import SOURCES, fetch, is_fetched, official_files


def main(arguments: Sequence[str], program: str) -> int:
    parser = Arguments(program, description="Fetch the data as their authors publish them.")
    parser.add_argument("benchmarks", nargs="+", choices=sorted(SOURCES))
    parser.add_argument("--out", type=Path, default=data_folder() / "official")
    parser.add_argument("--mirror", help="a folder or URL that holds bbh/, gsm8k/ and so on")
    given = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    wanted = official_files(given.benchmarks)
    missing = [file for file in wanted if not is_fetched(file, given.out)]
    if given.mirror == "":
        parser.error("--mirror is empty; give a folder or URL, or leave it out")
    folder = given.mirror is not None and "://" not in given.mirror
    failures: list[InputError] = []
    try:
        for file in track(missing, "fetching", console=console, disable=not missing):
            try:
                fetch(file, given.out, given.mirror, console.print)
            except InputError as error:
                failures.append(error)
                if not folder:
                    break  # a network that is closed for one file is closed for all
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    if failures:
        others = f" (and {len(failures) - 1} more files)" if len(failures) > 1 else ""
        print(f"error: {failures[0].worded('--{}'.format)}{others}", file=sys.stderr)
        return 2
    rows = sum(file.rows for file in wanted)
    print(f"{len(wanted)} files with {rows} rows in {given.out}, {len(missing)} of them new")
    if unchecked := sum(not file.sha256 for file in missing):
        print(f"{unchecked} of the new ones could only be checked for their number of rows")
    return 0
