"""What the contenders of several comparisons gained, over all tasks and seeds together.

    bash benchmarks/proof/run.sh OUT OFFICIAL
    python -m benchmarks.proof OUT

``OUT`` holds a folder a task, each made by ``greater compare`` with the same contenders. Where a
comparison is unfinished, the seeds count that all contenders have.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.workload import command
from prompt_optimization.errors import InputError
from prompt_optimization.report.comparison import TOKENS, hits_of, points
from prompt_optimization.runs.store.log import read_log
from prompt_optimization.scoring.statistics import Stratified, stratified_difference

LOG = re.compile(r"(?P<name>.+)_seed(?P<seed>\d+)_\d{8}-\d{6}(-\d+)?\.json")

# By task, contender and seed: what the metric gave to the initial and to the elected prompt, by
# test row.
Hits = dict[str, dict[str, dict[int, tuple[list[float], list[float]]]]]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.proof", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("folder", type=Path, help="of a folder a task")
    parser.add_argument("--against", default="published", help="the contender to compare with")
    parser.add_argument("--only", default="", help="some of the contenders, by commas")
    given = parser.parse_args()
    logs = finished(given.folder)
    hits = by_side(logs)
    names = list(dict.fromkeys(name for own in hits.values() for name in own))
    if given.only:
        chosen = given.only.split(",")
        for name in chosen:
            check_contender(name, names)
        names = chosen
    hits = whole(hits, names)
    if not hits:
        raise InputError(
            f"'{given.folder}' holds no task with a seed that every contender has finished"
        )
    check_contender(given.against, names)
    console = Console(highlight=False)
    console.print(tasks_table(hits, names))
    console.print(pooled_table(hits, names, given.against))
    console.print(cost_table(logs, names))
    return 0


def check_contender(name: str, names: Sequence[str]) -> None:
    """
    Raises:
        InputError: ``names`` lack it.
    """
    if name not in names:
        raise InputError(f"there is no contender '{name}'; there are {', '.join(names)}")


def finished(folder: Path) -> dict[str, dict[str, dict[int, Mapping[str, Any]]]]:
    """The logs of finished runs by task, contender and seed.

    Raises:
        InputError: one cannot be read.
    """
    found: dict[str, dict[str, dict[int, Mapping[str, Any]]]] = {}
    for path in sorted(folder.glob("*/*.json")):
        named = LOG.fullmatch(path.name)
        if named is None:
            continue
        log = read_log(path)
        if log["status"] == "finished":
            own = found.setdefault(path.parent.name, {})
            own.setdefault(named["name"], {})[int(named["seed"])] = log
    return found


def by_side(logs: Mapping[str, Mapping[str, Mapping[int, Mapping[str, Any]]]]) -> Hits:
    return {
        task: {
            name: {s: (hits_of(log, "initial"), hits_of(log, "best")) for s, log in own.items()}
            for name, own in by.items()
        }
        for task, by in logs.items()
    }


def whole(hits: Hits, names: Sequence[str]) -> Hits:
    """The seeds that every contender has finished."""
    found: Hits = {}
    for task, by in hits.items():
        seeds = set.intersection(*(set(by.get(name, ())) for name in names))
        if seeds:
            found[task] = {name: {s: by[name][s] for s in sorted(seeds)} for name in names}
    return found


def gains(hits: Hits, name: str) -> list[list[list[float]]]:
    """By task, seed and row: the elected prompt less the initial one."""
    return [
        [[a - b for b, a in zip(*pair, strict=True)] for pair in by[name].values()]
        for by in hits.values()
    ]


def against(hits: Hits, name: str, other: str) -> list[list[list[float]]]:
    """By task, seed and row: the elected prompt of one contender less that of another."""
    elected = [
        [(by[name][seed][1], by[other][seed][1]) for seed in by[name]] for by in hits.values()
    ]
    return [
        [[ours - theirs for ours, theirs in zip(*pair, strict=True)] for pair in pairs]
        for pairs in elected
    ]


def tasks_table(hits: Hits, names: Sequence[str]) -> Table:
    table = Table(title="Gain over the initial prompt by task, in points, mean over seeds")
    for column in ("task", "seeds", "initial", *names):
        table.add_column(column, justify="left" if column == "task" else "right", overflow="fold")
    for task, by in hits.items():
        seeds = list(by[names[0]].values())
        row = [task, str(len(seeds)), f"{100 * fmean(fmean(b) for b, _ in seeds):.1f}"]
        for name in names:
            gained = fmean(fmean(a) - fmean(b) for b, a in by[name].values())
            row.append(f"{100 * gained:+.1f}")
        table.add_row(*row)
    return table


def pooled_table(hits: Hits, names: Sequence[str], other: str) -> Table:
    searches = sum(len(by[names[0]]) for by in hits.values())
    table = Table(
        title=f"Mean over {len(hits)} tasks, {searches} searches each, in points [95 %]",
        caption="The intervals are for other rows and other searches of the same tasks. "
        "Least seen: the smallest true difference that this many rows and seeds show four times "
        "in five.",
        caption_justify="left",
    )
    columns = ("contender", "gain", "least seen", f"less {other}", "least seen")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for name in names:
        row = [name, *told(stratified_difference(gains(hits, name)))]
        beside = against(hits, name, other)
        row += told(stratified_difference(beside)) if name != other else ["", ""]
        table.add_row(*row)
    return table


def told(found: Stratified) -> list[str]:
    return [points(asdict(found.mean)), f"{100 * found.detectable:.1f}"]


def cost_table(
    logs: Mapping[str, Mapping[str, Mapping[int, Mapping[str, Any]]]], names: Sequence[str]
) -> Table:
    table = Table(title="What a search took, mean over all that are finished, tokens in thousands")
    kinds = ("prefilled", "decoded", "differentiated", "asked", "written")
    columns = ("contender", "searches", "steps", "rows", "seconds", *(TOKENS[k] for k in kinds))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for name in names:
        every = [log for by in logs.values() for log in by.get(name, {}).values()]
        searches = [log["ledger"]["search"] for log in every]
        means = [
            fmean(len(log["steps"]) for log in every),
            *(fmean(each[key] for each in searches) for key in ("evaluations", "seconds")),
            *(fmean(each["tokens"].get(kind, 0) for each in searches) / 1000 for kind in kinds),
        ]
        table.add_row(name, str(len(every)), *(f"{mean:,.0f}" for mean in means))
    return table


if __name__ == "__main__":
    command(main)
