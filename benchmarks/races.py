"""Prompts of different lengths that race on a few questions: a pool for each length against shared
pools.

The prompts are beginnings of the paper's, each a token shorter than the one before. Both ways run
interleaved after one run each to warm up; medians are printed, with the share of rows that reason
alike.

    python -m benchmarks.races --samples 12 --new-tokens 12
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

from rich.console import Console
from rich.table import Table

from benchmarks.workload import (
    PROMPT,
    alike,
    build_model,
    build_samples,
    command,
    interleaved,
    machine,
    parser,
    read_examples,
)
from prompt_optimization.models import pools
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.layout import Ids

APART, SHARED = "a pool for each length", "shared pools"


def options() -> argparse.Namespace:
    made = parser("Pools of one length against shared pools.")
    made.add_argument("--samples", type=int, default=12)
    made.add_argument("--new-tokens", type=int, default=12)
    made.add_argument(
        "--prompts", type=int, default=8, help="each a token shorter than the one before"
    )
    made.add_argument("--dtype", default="auto")
    return made.parse_args()


def main() -> int:
    given = options()
    model = build_model(given, given.dtype)
    samples = build_samples(model, read_examples(given.data, given.samples))
    longest = samples.prompt_ids(PROMPT)
    prompts: list[Ids] = [longest[: len(longest) - cut] for cut in range(given.prompts)]
    engine = Engine(model, given.max_rows)
    kind = model.device.type
    worth = {APART: 0.0, SHARED: pools.STEP_READS.get(kind, pools.STEP_READS["cpu"])}

    def run(way: str) -> list[list[Ids]]:
        pools.STEP_READS[kind] = worth[way]
        outcomes = engine.run(samples, prompts, Decoding(given.new_tokens))
        return [[outcome.reasoning for outcome in row] for row in outcomes]

    seconds, found = interleaved(
        {way: partial(run, way) for way in worth}, given.repeats, model.device
    )
    table = Table(
        title=f"{len(prompts)} prompts x {given.samples} rows, {given.new_tokens} new tokens"
    )
    for heading in ("way", "seconds", "times as fast"):
        table.add_column(heading)
    median = {way: statistics.median(times[1:]) for way, times in seconds.items()}
    for way, own in median.items():
        table.add_row(way, f"{own:.2f}", f"{median[APART] / own:.2f}")
    console = Console(highlight=False)
    console.print(table)
    same, rows = alike(found[APART], found[SHARED])
    console.print(f"same reasoning: {same} of {rows}; {machine(model.device)}")
    return 0


if __name__ == "__main__":
    command(main)
