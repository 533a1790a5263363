"""``python -m prompt_optimization.tasks.generate [--check] [--out FOLDER] [TASK ...]``"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from prompt_optimization.tasks.generate import TASKS, table

FOLDER = Path(__file__).resolve().parents[3] / "data" / "BBH"


def main() -> int:
    """Write the files, or compare them with what would be written."""
    parser = argparse.ArgumentParser(prog="python -m prompt_optimization.tasks.generate")
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="all when left out")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the files")
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 on difference")
    arguments = parser.parse_args()
    if unknown := [task for task in arguments.tasks if task not in TASKS]:
        parser.error(f"task '{unknown[0]}' is unknown; there are {', '.join(TASKS)}")
    different = []
    for task in arguments.tasks or TASKS:
        path, content = arguments.out / f"{task}.json", table(task).encode()
        if arguments.check:
            if not path.is_file() or path.read_bytes() != content:
                different.append(str(path))
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.write_bytes(content)
        os.replace(aside, path)
    if different:
        print("not as generated: " + ", ".join(different), file=sys.stderr)
        return 1
    number = len(arguments.tasks or TASKS)
    print(f"{number} task files {'are as generated' if arguments.check else 'written'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
