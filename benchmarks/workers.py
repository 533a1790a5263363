"""What a second worker brings: seconds per step and idle share, with one worker and with several.

The same search with 1, 2, ... workers, runs interleaved. On a CPU every worker has one thread, so
that two workers have twice what one has.

    python -m benchmarks.workers --workers 1 2 --steps 4
    python -m benchmarks.workers --device cuda --workers 1 2 4 8 --new-tokens 256
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.table import Table

from benchmarks.workload import (
    build_search,
    command,
    machine,
    parser,
    read_examples,
)
from prompt_optimization.models.loading import load_tokenizer
from prompt_optimization.models.model import Model
from prompt_optimization.models.placement import resolve_device
from prompt_optimization.models.process_executor import ProcessExecutor
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.models.worker import Worker
from prompt_optimization.optimizers.greater.search import GreaterSearch

PHASES = ("propose", "differentiate", "select")


@dataclass(frozen=True)
class Timed:
    """A step: the prompt after it, its seconds by phase, and those that each worker worked."""

    prompt: str
    seconds: dict[str, float]
    busy: list[float]


def options() -> argparse.Namespace:
    made = parser("One search by one worker and by several.")
    made.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    made.add_argument("--samples", type=int, default=24)
    made.add_argument("--new-tokens", type=int, default=64)
    made.add_argument("--steps", type=int, default=4, help="measured, after one that is not")
    made.add_argument("--dtype", default="auto")
    return made.parse_args()


def main() -> int:
    given = options()
    runs: dict[int, list[Timed]] = defaultdict(list)
    prompts: dict[int, list[str]] = defaultdict(list)
    for _ in range(given.repeats):
        for workers in given.workers:
            steps = search(given, workers)
            runs[workers].extend(steps[1:])
            prompts[workers] = [step.prompt for step in steps]
    table = Table(
        title=f"{given.model}, {given.samples} samples, {given.new_tokens} new tokens, "
        f"{given.dtype}; medians of {given.steps * given.repeats} steps; "
        f"{machine(resolve_device(given.device))}"
    )
    for column in ("workers", *PHASES, "step, s", "speed-up", "efficiency", "idle share each"):
        table.add_column(column, justify="right")
    one = statistics.median(total(step) for step in runs[given.workers[0]])
    for workers, steps in runs.items():
        seconds = statistics.median(map(total, steps))
        gain = one * given.workers[0] / seconds
        idle = [
            statistics.median(1 - step.busy[worker] / total(step) for step in steps)
            for worker in range(workers)
        ]
        table.add_row(
            str(workers),
            *(
                f"{statistics.median(step.seconds[phase] for step in steps):.2f}"
                for phase in PHASES
            ),
            f"{seconds:.2f}",
            f"{gain:.2f}",
            f"{100 * gain / workers:.0f} %",
            " ".join(f"{100 * share:.0f} %" for share in idle),
        )
    console = Console(highlight=False, width=140)
    console.print(table)
    same = all(each == prompts[given.workers[0]] for each in prompts.values())
    console.print(f"the same prompt after every step: {'yes' if same else 'no'}")
    return 0


def search(given: argparse.Namespace, workers: int) -> list[Timed]:
    """Steps of one search by ``workers`` workers."""
    kind = resolve_device(given.device).type
    names = [f"cuda:{i}" for i in range(workers)] if kind == "cuda" else ["cpu"] * workers
    models = [
        ModelSettings(given.model, None, "auto", {}, name, given.dtype, False, {}, {})
        for name in names
    ]
    # Also one worker lives in a process of its own, so that only their number differs.
    executor = ProcessExecutor(
        [partial(Worker.load, model, given.max_rows, given.gradient_rows) for model in models],
        threads=0 if kind == "cuda" else 1,
    )
    model = Model(executor, *load_tokenizer(models[0]))
    try:
        examples = read_examples(given.data, given.samples)
        search = build_search(model, examples, given.steps + 1, given.new_tokens)
        return [timed_step(search) for _ in range(given.steps + 1)]
    finally:
        model.close()


def timed_step(search: GreaterSearch) -> Timed:
    busy = list(search.models[0].executor.busy)
    search.scorer.activity.take_seconds()
    step = search.step()
    assert step is not None
    now = search.models[0].executor.busy
    return Timed(
        step.incumbent.text,
        search.scorer.activity.take_seconds(),
        [after - before for before, after in zip(busy, now, strict=True)],
    )


def total(step: Timed) -> float:
    return sum(step.seconds.values())


if __name__ == "__main__":
    command(main)
