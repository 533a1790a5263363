"""Write the generated look-alike tasks, or compare files with them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from prompt_optimization.commands.arguments import Arguments, refused
from prompt_optimization.errors import InputError
from prompt_optimization.files import write_whole
from prompt_optimization.paths import data_folder
from prompt_optimization.tasks.generate import TASKS, table


def main(arguments: Sequence[str], program: str) -> int:
    parser = Arguments(
        program, description="Write the generated look-alike tasks of BIG-Bench Hard."
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="all when left out")
    parser.add_argument("--out", type=Path, default=data_folder() / "BBH", help="their folder")
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 on difference")
    given = parser.parse_args(arguments)
    if unknown := [task for task in given.tasks if task not in TASKS]:
        parser.error(f"task '{unknown[0]}' is unknown; there are {', '.join(TASKS)}")
    different = []
    for task in given.tasks or TASKS:
        path, content = given.out / f"{task}.json", table(task).encode()
        if given.check:
            if not path.is_file() or path.read_bytes() != content:
                different.append(str(path))
            continue
        try:
            write_whole(path, content, "out")
        except InputError as error:
            return refused(error)
    if different:
        print("not as generated: " + ", ".join(different), file=sys.stderr)
        return 1
    number = len(given.tasks or TASKS)
    done = "are as generated" if given.check else "written"
    print(f"{number} task files in {given.out} {done}")
    return 0
