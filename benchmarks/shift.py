"""A task with a shift: one-step arithmetic in digits, and other problems with numbers in words.

    python -m benchmarks.shift experiments/results/shift
    cd experiments
    python main.py --config=./configs/robust.py --config.robust.pool=results/shift/pool.txt

The first command writes the task file, whose rows are of both groups by turns, and six prompts.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

from prompt_optimization.tasks.generate import rows

POOL = (
    "Let's think step by step.",
    "Work the problem out, then state the number.",
    "Write the calculation in digits first, such as 3 * 4 = 12.",
    "Give only the final number.",
    "Decide first whether to add, subtract or multiply.",
    "Use a short calculation.",
)

UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def spelled(number: int) -> str:
    """A number below 1,000 in words."""
    if number < 20:
        return UNITS[number]
    if number < 100:
        tens, units = divmod(number, 10)
        return TENS[tens - 2] + (f"-{UNITS[units]}" if units else "")
    hundreds, rest = divmod(number, 100)
    return f"{UNITS[hundreds]} hundred" + (f" and {spelled(rest)}" if rest else "")


def main(folder: Path) -> None:
    """Write the task file and the pool into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    # Under this name the task brings its extractor along.
    with (folder / "one_step_arithmetic.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer", "group"])
        for number, row in enumerate(rows("one_step_arithmetic")):
            words = re.sub(r"\d+", lambda found: spelled(int(found[0])), row.goal)
            group = "words" if number % 2 else "digits"
            writer.writerow([words if number % 2 else row.goal, row.final_target, group])
    (folder / "pool.txt").write_text("\n".join(POOL) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
