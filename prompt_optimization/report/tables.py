"""The paper's tables with our numbers beside the published ones, and what ours say by themselves.

Every table's data are long, one line a measurement; ``across`` names the column whose values stand
side by side when the table is shown. Accuracies are in percent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import pandas as pd

from prompt_optimization.report import published
from prompt_optimization.report.differences import differences
from prompt_optimization.report.measured import Measurement, Results
from prompt_optimization.report.names import method_name, order
from prompt_optimization.report.reading import alike
from prompt_optimization.runs.shift import shifts
from prompt_optimization.runs.store.log import method_of, metric_of, run_id
from prompt_optimization.scoring.statistics import Estimate, is_graded, mean_of, mean_value
from prompt_optimization.tasks.hub import stem_of
from prompt_optimization.tasks.registry import TABLE_1_BBH

BENCHMARK_TASKS = {"GSM8K": ("gsm8k",), "BBH": TABLE_1_BBH, "FOLIO": ("folio",)}

Line = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A titled table.

    Attributes:
        note: says how to read it and what is missing.
        across: see above.
        of_paper: it is one of the paper's, with the published figures.
    """

    title: str
    note: str
    data: pd.DataFrame
    across: str = ""
    of_paper: bool = False


def all_tables(results: Results) -> list[Table]:
    found = results.measurements
    return [
        table_1(found),
        per_task(found),
        *([per_group(found)] if any(m.groups for m in found) else []),
        *([contenders(results)] if any(map(_measures, results.runs.values())) else []),
        *([source_and_target(results)] if any(map(shifts, results.runs.values())) else []),
        table_3(found),
        ablations(results),
        significance(found),
    ]


def table_1(found: Sequence[Measurement]) -> Table:
    """Accuracy where a model uses the prompt that it has optimised itself. (paper, table 1)"""
    own = [m for m in found if not m.kind and m.optimised_by in ("", m.model)]
    methods = {"initial", *published.METHODS, *(m.method for m in own)} - {"prompt"}
    lines: list[Line] = []
    for model in [*published.MODELS, *_other_models(own)]:
        for method in sorted(methods, key=order):
            row: list[Line] = []
            for benchmark, tasks in BENCHMARK_TASKS.items():
                groups = [
                    [m for m in own if (m.task, m.model, m.method) == (task, model, method)]
                    for task in tasks
                ]
                comparable = alike(m.reading for group in groups for m in group)
                cells = _accuracies(groups) if comparable else []
                reported = published.TABLE_1.get((model, method, benchmark))
                # A mean over fewer tasks than the paper's is no figure to set beside it.
                whole = len(cells) == len(tasks)
                row.append(
                    {
                        "model": model,
                        "method": method_name(method),
                        "benchmark": benchmark,
                        "tasks": f"{len(cells)} of {len(tasks)}",
                        **_numbers(mean_of(cells) if cells else None),
                        **_beside(mean_of(cells) if whole else None, reported),
                    }
                )
            if any(cell[key] is not None for cell in row for key in ("measured", "published")):
                lines.extend(row)
    return _table(
        "Table 1: prompts used by the model that optimised them",
        "BBH is the mean over tasks that were read alike; beside the published value it counts "
        "only when all 21 are there. What was searched or read differently stands in the table by "
        "task.",
        lines,
        across="benchmark",
        of_paper=True,
    )


def per_task(found: Sequence[Measurement]) -> Table:
    """Accuracy task by task; the paper shows these as bars only."""
    own = [m for m in found if m.optimised_by in ("", m.model)]
    titles = sorted({(*order(m.method), m.variant, m.label, m.title) for m in own})
    lines = []
    for model, task in sorted({(m.model, m.task) for m in own}):
        for *_, title in titles:
            chosen = [m for m in own if (m.model, m.task, m.title) == (model, task, title)]
            if chosen:
                lines.append(
                    {"model": model, "task": task, "prompt": title, **_numbers(_accuracy(chosen))}
                )
    return _table(
        "Accuracy by task",
        "Several runs of a task are averaged; the interval counts every row once. A task with "
        "'(data ...)' is a file that is not the authors', such as a generated look-alike; a model "
        "with '(...)' has other weights or precision than its name alone; other brackets say what "
        f"was set differently. Read by: {_metrics(own)}.",
        lines,
        across="prompt",
    )


def per_group(found: Sequence[Measurement]) -> Table:
    """Accuracy by the groups that the task files name."""
    own = [m for m in found if m.groups and m.optimised_by in ("", m.model)]
    lines = []
    keys = dict.fromkeys((m.model, m.task, m.title) for m in own)
    for model, task, title in sorted(keys):
        chosen = [m for m in own if (m.model, m.task, m.title) == (model, task, title)]
        for group in dict.fromkeys(chosen[0].groups.values()):
            part = _accuracy([_in_group(m, group) for m in chosen])
            line = {"model": model, "task": task, "group": group, "prompt": title}
            lines.append({**line, **_numbers(part)})
    return _table("Accuracy by group", "As by task, on the rows of each group.", lines, "prompt")


def _in_group(m: Measurement, group: str) -> Measurement:
    return replace(m, hits={row: hit for row, hit in m.hits.items() if m.groups[row] == group})


def contenders(results: Results) -> Table:
    """What a method measures on test beside what was elected, by group."""
    lines: list[Line] = []
    for log in filter(_measures, results.runs.values()):
        test = log["evaluation"]["test"]
        metric = metric_of(test["best"])
        shared = {"run": stem_of(log["params"]["train_data"]), "method": method_of(log)}
        shared["seed"] = str(log["environment"]["seed"])
        for name, record in {"initial": test["initial"], **test["contenders"]}.items():
            for group, found in {**record.get("by_group", {}), "all": record}.items():
                line = {**shared, "contender": name, "group": group}
                lines.append({**line, **_numbers(Estimate(**found[metric]))})
    return _table(
        "Contenders",
        "What a method measures on test beside the prompt that was elected; a run each.",
        lines,
        "contender",
    )


def source_and_target(results: Results) -> Table:
    """What prompts lose on a source's rows and gain on a target's, as paired differences."""
    lines: list[Line] = []
    for log in results.runs.values():
        shared = {"run": stem_of(log["params"]["train_data"]), "method": method_of(log)}
        shared["seed"] = str(log["environment"]["seed"])
        for each in shifts(log):
            line = {**shared, "prompt": each.prompt, "against": each.against}
            for part, estimate in (("source loss", each.loss), ("target gain", each.gain)):
                lines.append({**line, "part": part, **_numbers(estimate)})
    return _table(
        "Source loss and target gain",
        "Paired differences on test, in points, with 95 % intervals: what a prompt lost on the "
        "source's rows and gained on the target's beside another one; a run each.",
        lines,
        "part",
    )


def _measures(log: dict[str, Any]) -> bool:
    """Whether a run's log holds contenders."""
    test = (log.get("evaluation") or {}).get("test") or {}
    return "contenders" in test


def table_3(found: Sequence[Measurement]) -> Table:
    """Accuracy where a prompt was optimised by another model. (paper, table 3)"""
    moved = [m for m in found if m.optimised_by not in ("", m.model)]
    ours = {(m.model, m.method, m.optimised_by, m.kind) for m in moved}
    theirs_first = [(*key, "") for key in published.TABLE_3]
    lines: list[Line] = []
    for target, method, by, kind in dict.fromkeys([*theirs_first, *sorted(ours)]):
        name = f"{method_name(method)} ({kind})" if kind else method_name(method)
        key = {"target": target, "method": name, "optimised by": by}
        theirs = [
            m
            for m in moved
            if (m.model, m.method, m.optimised_by, m.kind) == (target, method, by, kind)
        ]
        reported = None if kind else published.TABLE_3.get((target, method, by))
        tasks = published.TRANSFER_TASKS if reported else sorted({m.task for m in theirs})
        cells = []
        for place, task in enumerate(tasks):
            measured = _accuracy([m for m in theirs if m.task == task])
            cells.extend([measured] if measured else [])
            beside = _beside(measured, reported[place] if reported else None)
            lines.append({**key, "task": task, **_numbers(measured), **beside})
        whole = len(cells) == len(tasks) and alike(m.reading for m in theirs)
        mean = mean_of(cells) if whole else None
        beside = _beside(mean, fmean(reported) if reported else None)
        lines.append({**key, "task": "mean", **_numbers(mean), **beside})
    title = "Table 3: prompts moved to another model"
    return _table(title, "", lines, across="task", of_paper=True)


def ablations(results: Results) -> Table:
    """What the parts of a search are worth: training objective and held-out accuracy."""
    logs = {run_id(log): log for log in results.runs.values()}
    groups: defaultdict[tuple[Any, ...], list[Measurement]] = defaultdict(list)
    for m in results.measurements:
        if m.run in logs and m.optimised_by == m.model:
            groups[m.task, m.model, order(m.method), m.kind].append(m)
    lines = []
    for _, measurements in sorted(groups.items()):
        first = measurements[0]
        runs = [logs[run] for run in dict.fromkeys(m.run for m in measurements)]
        found = _accuracy(measurements)
        search = (first.model, first.task, first.method, first.kind)
        lines.append(
            {
                "model": first.model,
                "task": first.task,
                "search": first.title,
                "runs": len(runs),
                "objective before": fmean(log["initial"]["objective"] for log in runs),
                "objective after": fmean(log["best"][0]["objective"] for log in runs),
                **_numbers(found),
                **_beside(found, published.INITIAL_PROMPTS.get(search)),
            }
        )
    return _table(
        "Searches and their ablations",
        "Objective: on the training rows, of the initial and of the best prompt. Measured: "
        "accuracy of the chosen prompt on test rows.",
        lines,
    )


def significance(found: Sequence[Measurement]) -> Table:
    """Paired differences on the same rows."""
    return _table(
        "Differences on the same rows",
        "Points gained from one to the other, with 95 % interval; p: two-sided, by flipping the "
        "rows' signs at random. Rows that several runs answered count once. The intervals cover "
        "the choice of test rows, not the variation between searches.",
        differences(found),
    )


def _accuracy(measurements: Sequence[Measurement]) -> Estimate | None:
    """Mean over rows of the share of runs that were right; the interval counts every row once, as
    if further runs on it told nothing new."""
    if not measurements:
        return None
    rows: defaultdict[int, list[float]] = defaultdict(list)
    weights: dict[int, float] = {}
    for m in measurements:
        weights |= m.weights
        for row, hit in m.hits.items():
            rows[row].append(hit)
    graded = is_graded(hit for m in measurements for hit in m.hits.values())
    values = [fmean(hits) for hits in rows.values()]
    return mean_value(values, [weights.get(row, 1.0) for row in rows], graded)


def _metrics(found: Iterable[Measurement]) -> str:
    return ", ".join(sorted({m.reading["metric"] for m in found if "metric" in m.reading}))


def _accuracies(groups: Iterable[Sequence[Measurement]]) -> list[Estimate]:
    return [accuracy for group in groups if (accuracy := _accuracy(group)) is not None]


def _other_models(found: Iterable[Measurement]) -> list[str]:
    return sorted({m.model for m in found} - published.MODELS.keys())


def _numbers(estimate: Estimate | None) -> Line:
    if estimate is None:
        return {"measured": None, "low": None, "high": None, "n": None}
    return {
        "measured": 100 * estimate.value,
        "low": 100 * estimate.low,
        "high": 100 * estimate.high,
        "n": estimate.n,
    }


def _beside(measured: Estimate | None, reported: float | None) -> Line:
    if measured is None or reported is None:
        return {"published": reported, "difference": None}
    return {"published": reported, "difference": 100 * measured.value - reported}


def _table(
    title: str, note: str, lines: list[Line], across: str = "", of_paper: bool = False
) -> Table:
    data = pd.DataFrame(lines)
    missing = int(data["measured"].isna().sum()) if "measured" in data else 0
    if missing:
        note = f"{note} {missing} of {len(data)} cells are not measured.".strip()
    for name in ("n", "rows"):
        if name in data:
            data[name] = data[name].astype("Int64")
    return Table(title, note, data, across, of_paper)
