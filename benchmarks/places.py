"""One optimisation step with the prompt after the question, before it, and in the system turn.

The same rows and token limit in every place; no row ends by itself, so that all decode the same
number of tokens. Runs are interleaved; medians are printed, of the wall's time and of the
processor's, which a busy machine disturbs less.

    python -m benchmarks.places --samples 24 --new-tokens 32
"""

from __future__ import annotations

import statistics
import time

from rich.console import Console
from rich.table import Table

from benchmarks.schedules import PHASES, EngineSchedule, Measured
from benchmarks.workload import (
    PROMPT,
    build_model,
    build_samples,
    build_work,
    command,
    machine,
    parser,
    read_examples,
)
from prompt_optimization.tasks.templates import PRESETS


def main() -> int:
    made = parser("One step in every place of the prompt.")
    made.add_argument("--samples", type=int, default=24)
    made.add_argument("--new-tokens", type=int, default=32)
    made.add_argument("--position", type=int, default=3)
    made.add_argument("--dtype", default="auto")
    given = made.parse_args()
    given.force_tokens = True
    model = build_model(given, given.dtype)
    examples = read_examples(given.data, given.samples)
    engines, works = {}, {}
    for place in PRESETS:
        samples = build_samples(model, examples, template=place)
        works[place] = build_work(samples, PROMPT, given.position, 3, given.new_tokens)
        engines[place] = EngineSchedule(model, samples, given.max_rows, given.gradient_rows)
    runs: dict[str, list[Measured]] = {place: [] for place in PRESETS}
    processor: dict[str, list[float]] = {place: [] for place in PRESETS}
    for _ in range(given.repeats):
        for place, engine in engines.items():
            engine.prepare(works[place])
            start = time.process_time()
            runs[place].append(engine.step(works[place]))
            processor[place].append(time.process_time() - start)

    console = Console(highlight=False, width=130)
    console.print(
        f"{model.name}, {model.model.dtype}; {given.samples} samples, {given.new_tokens} new "
        f"tokens; median of {given.repeats}; {machine(model.device)}"
    )
    phases = [name for name in PHASES if name in runs["end"][0].seconds]
    table = Table()
    kinds = ("prefilled", "differentiated", "decoded")
    for column in ("template", "step, s", "processor, s", "ratio", *phases, *kinds):
        table.add_column(column, justify="left" if column == "template" else "right")
    for place, measured in runs.items():
        pairs = zip(processor[place], processor["end"], strict=True)
        tokens = [sum(each[kind] for each in measured[0].tokens.values()) for kind in kinds]
        table.add_row(
            place,
            f"{statistics.median(run.total for run in measured):.2f}",
            f"{statistics.median(processor[place]):.2f}",
            f"{statistics.median(own / end for own, end in pairs):.2f}",
            *(f"{statistics.median(run.seconds[name] for run in measured):.2f}" for name in phases),
            *map(str, tokens),
        )
    console.print(table)
    return 0


if __name__ == "__main__":
    command(main)
