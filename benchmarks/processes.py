"""Whole runs as a user starts them: wall clock, processor's seconds and peak memory.

Every run is a process of its own, from its first instruction to its last. With ``--before`` those
of an older revision and of this tree take turns. What follows ``--`` is what greater optimize gets.
Without it the run is as good as its start: one step on one row with one new token.

    python -m benchmarks.processes --before HEAD~1 --repeats 5
    python -m benchmarks.processes --repeats 1 -- --config=demo --config.n_train_data=6 \\
        --config.n_dev_data=100 --config.n_test_data=0 --config.max_new_tokens=512 \\
        --config.n_steps=1
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.revisions import ROOT, checked_out
from benchmarks.workload import command
from prompt_optimization.errors import InputError

START = (
    "--config=demo", "--config.n_train_data=1", "--config.n_dev_data=0", "--config.n_test_data=0",
    "--config.n_steps=1", "--config.max_new_tokens=1", "--config.top_prompts=1",
)  # fmt: skip


@dataclass(frozen=True)
class Spent:
    """What a process took: seconds by the clock and of the processor, and its peak in MiB."""

    wall: float
    processor: float
    peak: float


def options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description="Whole runs: seconds and peak memory.")
    made.add_argument("--before", help="an older revision that is run in turn with this tree")
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("flags", nargs="*", help="after --: what greater optimize gets")
    return made.parse_args()


def main() -> int:
    given = options()
    if sys.platform != "linux":
        raise InputError("the peak of a process is read as Linux has it; run this on Linux")
    flags = given.flags or START
    spent: dict[str, list[Spent]] = {}
    with ExitStack() as opened:
        trees = {"this tree": ROOT}
        if given.before:
            trees = {given.before: opened.enter_context(checked_out(given.before)), **trees}
        for _ in range(given.repeats):
            for name, tree in trees.items():
                spent.setdefault(name, []).append(run(tree, flags))
    table = Table("revision", "wall, s", "processor, s", "peak, MiB")
    for name, some in spent.items():
        wall, processor, peak = (
            statistics.median(getattr(each, field) for each in some)
            for field in ("wall", "processor", "peak")
        )
        table.add_row(name, f"{wall:.2f}", f"{processor:.2f}", f"{peak:.0f}")
    console = Console(highlight=False)
    console.print(f"median of {given.repeats}: greater optimize {' '.join(flags)}")
    console.print(table)
    return 0


def run(tree: Path, flags: Sequence[str]) -> Spent:
    """What ``greater optimize`` takes with ``flags``, by the code in ``tree``.

    Raises:
        InputError: the run fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        script = [sys.executable, "-m", "prompt_optimization", "optimize"]
        start = time.perf_counter()
        with output.open("wb") as file:
            child = subprocess.Popen(
                [*script, *flags, f"--config.logfile={folder}/log.json"],
                # Elsewhere, because the folder it starts in comes before the tree.
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(tree)},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
        if child.returncode:
            last = (output.read_text(errors="replace").strip().splitlines() or [""])[-1]
            raise InputError(f"the run by '{tree}' failed: {last}")
    return Spent(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


if __name__ == "__main__":
    command(main)
