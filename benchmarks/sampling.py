"""Drawn reasoning against greedy reasoning: one pool of rows, every way of drawing in turn.

All get the same rows and the same number of new tokens; no row ends by itself. Every way runs once
to warm up, then interleaved. Medians are printed, with the median of the ratios to the greedy run
of the same round: of the time that passed, and of the time that the main thread computed. Where
others use the CPU as well, only the latter is steady. It should count no waiting, so set
OMP_WAIT_POLICY to PASSIVE.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.sampling
"""

from __future__ import annotations

import argparse
import statistics
import time

from rich.console import Console
from rich.table import Table

from benchmarks.workload import (
    PROMPT,
    build_model,
    build_samples,
    command,
    machine,
    parser,
    read_examples,
    synchronise,
)
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.sampling import Sampling

WAYS: dict[str, Sampling | None] = {
    "greedy": None,
    "temperature 0.6": Sampling(0.6),
    "temperature 0.6, top_k 50": Sampling(0.6, top_k=50),
    "temperature 0.6, top_p 0.9": Sampling(0.6, top_p=0.9),
    "temperature 1": Sampling(1.0),
    "temperature 1, top_p 0.9": Sampling(1.0, top_p=0.9),
}


def options() -> argparse.Namespace:
    made = parser("drawn reasoning against greedy reasoning.")
    made.add_argument("--samples", type=int, default=24)
    made.add_argument("--new-tokens", type=int, default=32)
    made.add_argument("--dtype", default="auto")
    made.set_defaults(force_tokens=True, repeats=9)
    return made.parse_args()


def main() -> int:
    given = options()
    model = build_model(given, given.dtype)
    samples = build_samples(model, read_examples(given.data, given.samples))
    prompts = [samples.prompt_ids(PROMPT)]
    engine = Engine(model, given.max_rows)

    console = Console(highlight=False, width=100)
    console.print(
        f"{model.name}, {str(model.model.dtype).removeprefix('torch.')}; {len(samples)} rows, "
        f"{given.new_tokens} new tokens each; {given.repeats} rounds; {machine(model.device)}"
    )
    passed: dict[str, list[float]] = {name: [] for name in WAYS}
    computed: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(1 + given.repeats):
        for name, sampling in WAYS.items():
            start, start_of_thread = time.perf_counter(), time.thread_time()
            engine.run(samples, prompts, Decoding(given.new_tokens, sampling=sampling))
            synchronise(model.device)
            passed[name].append(time.perf_counter() - start)
            computed[name].append(time.thread_time() - start_of_thread)

    table = Table()
    for column in ("way", "passed, s", "ratio", "computed, s", "ratio", "least", "most"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for name in WAYS:
        ratios = ratios_to_greedy(computed, name)
        table.add_row(
            name,
            f"{statistics.median(passed[name][1:]):.2f}",
            f"{statistics.median(ratios_to_greedy(passed, name)):.3f}",
            f"{statistics.median(computed[name][1:]):.2f}",
            *(f"{value:.3f}" for value in (statistics.median(ratios), min(ratios), max(ratios))),
        )
    console.print(table)
    return 0


def ratios_to_greedy(seconds: dict[str, list[float]], name: str) -> list[float]:
    """Round by round, without the first, which warms up."""
    pairs = zip(seconds[name], seconds["greedy"], strict=True)
    return [one / greedy for one, greedy in pairs][1:]


if __name__ == "__main__":
    command(main)
