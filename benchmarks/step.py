"""One optimisation step by the published schedule and by the engine, side by side in one run.

Both get the same model, samples, prompt, shortlist and token limits. Runs are interleaved; medians
are printed, with whether both found the same. In float32 they must: otherwise the exit code is 1.

    python -m benchmarks.step --samples 24 --new-tokens 64
    python -m benchmarks.step --shape llama3-8b --random-weights --device cuda:0 --samples 50 \\
        --new-tokens 256 --force-tokens --published-dtype bfloat16 --dtypes bfloat16
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.schedules import PHASES, EngineSchedule, Measured, PublishedSchedule
from benchmarks.workload import (
    PROMPT,
    alike,
    build_model,
    build_samples,
    build_work,
    command,
    machine,
    parser,
    read_examples,
)
from prompt_optimization.models.loading import resolve_dtype
from prompt_optimization.models.placement import resolve_device
from prompt_optimization.optimizers.greater.differentiate import aggregate


def options() -> argparse.Namespace:
    made = parser("One step, published schedule against engine.")
    made.add_argument("--samples", type=int, default=24)
    made.add_argument("--new-tokens", type=int, default=64)
    made.add_argument("--shortlist", type=int, default=3)
    made.add_argument("--position", type=int, default=3)
    made.add_argument(
        "--collect", action="store_true", help="let (a) collect garbage as the released code does"
    )
    made.add_argument("--published-dtype", default="float32")
    made.add_argument("--dtypes", default="float32,auto", help="of the engine, by commas")
    return made.parse_args()


def main() -> int:
    given = options()
    examples = read_examples(given.data, given.samples)
    device = resolve_device(given.device)
    published_dtype = resolve_dtype(given.published_dtype, device)
    dtypes = dict.fromkeys(resolve_dtype(name, device) for name in given.dtypes.split(","))
    models = {published_dtype: build_model(given, given.published_dtype)}
    for dtype in dtypes:
        if dtype not in models:
            models[dtype] = build_model(given, str(dtype).removeprefix("torch."))

    published = PublishedSchedule(
        models[published_dtype], build_samples(models[published_dtype], examples), given.collect
    )
    engines = {
        dtype: EngineSchedule(
            models[dtype],
            build_samples(models[dtype], examples),
            given.max_rows,
            given.gradient_rows,
        )
        for dtype in dtypes
    }
    work = build_work(published.samples, PROMPT, given.position, given.shortlist, given.new_tokens)

    baseline: list[Measured] = []
    runs: dict[str, list[Measured]] = {}
    for _ in range(given.repeats):
        for dtype, engine in engines.items():
            engine.prepare(work)
            name = f"engine, {str(dtype).removeprefix('torch.')}"
            runs.setdefault(name, []).append(engine.step(work))
        baseline.append(published.step(work))

    console = Console(highlight=False, width=100)
    console.print(
        f"{published.model.name}; {given.samples} samples, {given.new_tokens} new tokens, "
        f"{given.shortlist} candidates; median of {given.repeats}; {machine(device)}"
    )
    name = f"published schedule, {str(published_dtype).removeprefix('torch.')}"
    console.print(table(name, baseline))
    agreed = True
    for (name, measured), dtype in zip(runs.items(), dtypes, strict=True):
        console.print(table(name, measured))
        same, line = agreement(baseline[-1], measured[-1])
        console.print(f"{ratio(baseline, measured):.1f} times as fast; {line}")
        agreed &= same or dtype != published_dtype
    return 0 if agreed else 1


def table(title: str, runs: Sequence[Measured]) -> Table:
    made = Table(title=title)
    for column in ("phase", "seconds", "decoded", "prefilled", "differentiated", "rows"):
        made.add_column(column, justify="left" if column == "phase" else "right")
    for name in PHASES:
        if name in runs[0].seconds:
            tokens = runs[0].tokens[name]
            made.add_row(
                name,
                f"{statistics.median(run.seconds[name] for run in runs):.2f}",
                *(str(tokens[k]) for k in ("decoded", "prefilled", "differentiated", "rows")),
            )
    made.add_section()
    seconds = sorted(run.total for run in runs)
    made.add_row("step", f"{statistics.median(seconds):.2f}")
    made.caption = (
        f"steps took {', '.join(f'{s:.1f}' for s in seconds)} s; "
        f"peak {max(run.peak for run in runs):.2f} GiB beyond the weights"
    )
    return made


def ratio(baseline: Sequence[Measured], runs: Sequence[Measured]) -> float:
    """Median over the interleaved pairs."""
    return statistics.median(
        slow.total / fast.total for slow, fast in zip(baseline, runs, strict=True)
    )


def agreement(published: Measured, engine: Measured) -> tuple[bool, str]:
    """Whether both found the same, and how far they agree."""
    same, rows = alike(published.reasonings, engine.reasonings)
    gap = max(
        abs(a - b)
        for one, other in zip(published.losses, engine.losses, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    cosine = float(aggregate(published.gradient) @ aggregate(engine.gradient))
    choice = published.choice == engine.choice
    return same == rows and gap < 1e-3 and choice, (
        f"same reasoning {same} of {rows}, largest loss difference {gap:.2g}, "
        f"gradient cosine {cosine:.6f}, {'same' if choice else 'another'} choice"
    )


if __name__ == "__main__":
    command(main)
