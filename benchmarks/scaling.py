"""How the time of a step grows: with samples, new tokens, shortlist and prompt length.

One quantity is varied at a time. Time should follow the tokens: a straight line through all points,
and memory the rows. Writes a plot beside the printed table.

    python -m benchmarks.scaling --plot benchmarks/scaling.png
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.schedules import EngineSchedule
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
from prompt_optimization.errors import InputError


@dataclass(frozen=True)
class Setting:
    samples: int = 24
    new_tokens: int = 64
    shortlist: int = 3
    sentences: int = 1  # copies of the prompt's sentences


@dataclass(frozen=True)
class Point:
    """Medians of one setting: seconds per step, tokens by kind, peak memory in GiB."""

    sweep: str
    setting: Setting
    prompt_tokens: int
    seconds: float
    decoded: int
    read: int
    differentiated: int
    peak: float


SWEEPS: dict[str, tuple[int, ...]] = {
    "samples": (6, 12, 24, 48),
    "new_tokens": (32, 64, 128),
    "shortlist": (3, 6, 12),
    "sentences": (1, 2, 4),
}


def options() -> argparse.Namespace:
    made = parser("How the time of a step grows.")
    made.add_argument("--dtype", default="auto")
    made.add_argument("--plot", default="", help="a PNG file to write")
    return made.parse_args()


def main() -> int:
    given = options()
    console = Console(highlight=False, width=110)
    model = build_model(given, given.dtype)
    everyone = read_examples(given.data, max(SWEEPS["samples"]))
    known: dict[Setting, Point] = {}
    points: list[Point] = []
    for sweep, values in SWEEPS.items():
        for value in values:
            setting = replace(Setting(), **{sweep: value})
            if setting not in known:
                examples = everyone[: setting.samples]
                prompt = PROMPT * setting.sentences
                engine = EngineSchedule(
                    model,
                    build_samples(model, examples, prompt),
                    given.max_rows,
                    given.gradient_rows,
                )
                work = build_work(engine.samples, prompt, 3, setting.shortlist, setting.new_tokens)
                runs = []
                for _ in range(given.repeats):
                    engine.prepare(work)
                    runs.append(engine.step(work))
                tokens = sum(runs[0].tokens.values(), Counter[str]())
                known[setting] = Point(
                    sweep,
                    setting,
                    len(work.prompt),
                    statistics.median(run.total for run in runs),
                    tokens["decoded"],
                    tokens["prefilled"],
                    tokens["differentiated"],
                    max(run.peak for run in runs),
                )
            points.append(replace(known[setting], sweep=sweep))

    console.print(f"{model.name}, {machine(model.device)}; median of {given.repeats}")
    console.print(table(points))
    x = np.array([point.decoded for point in known.values()], dtype=float)
    y = np.array([point.seconds for point in known.values()])
    slope, start = np.polyfit(x, y, 1)
    explained = np.corrcoef(x, y)[0, 1] ** 2
    console.print(
        f"seconds = {start:.1f} + {1000 * slope:.2f} per 1000 decoded tokens, R2 = {explained:.3f}"
    )
    if given.plot:
        plot(points, float(slope), float(start), given.plot)
    return 0


def table(points: list[Point]) -> Table:
    made = Table()
    for column in (
        "sweep", "samples", "new tokens", "shortlist", "prompt", "seconds", "decoded", "read",
        "differentiated", "GiB",
    ):  # fmt: skip
        made.add_column(column, justify="left" if column == "sweep" else "right")
    for point in points:
        setting = point.setting
        made.add_row(
            point.sweep,
            *(str(n) for n in (setting.samples, setting.new_tokens, setting.shortlist)),
            str(point.prompt_tokens),
            f"{point.seconds:.1f}",
            *(str(n) for n in (point.decoded, point.read, point.differentiated)),
            f"{point.peak:.2f}",
        )
    return made


def plot(points: list[Point], slope: float, start: float, path: str) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("plots need matplotlib; install it with pip install matplotlib") from None
    figure = Figure(figsize=(10, 4), layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    names = {"new_tokens": "new tokens", "sentences": "prompt length"}
    for sweep, marker in zip(SWEEPS, "osD^", strict=True):
        some = [point for point in points if point.sweep == sweep]
        label = names.get(sweep, sweep)
        decoded = [point.decoded / 1000 for point in some]
        time_axes.plot(decoded, [p.seconds for p in some], marker, label=label)
        cells = [(p.decoded + p.read) / 1000 for p in some]
        memory_axes.plot(cells, [p.peak for p in some], marker, label=label)
    furthest = max(point.decoded for point in points)
    time_axes.plot(
        [0, furthest / 1000], [start, start + slope * furthest], "-", color="0.6", zorder=0
    )
    time_axes.set(
        xlabel="thousand tokens decoded per step", ylabel="seconds per step", xlim=(0, None),
        ylim=(0, None), title="Time of a step",
    )  # fmt: skip
    memory_axes.set(
        xlabel="thousand tokens read and decoded per step", ylabel="GiB beyond the weights",
        xlim=(0, None), ylim=(0, None), title="Peak memory",
    )  # fmt: skip
    time_axes.legend()
    for axes in (time_axes, memory_axes):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    command(main)
