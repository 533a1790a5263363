"""The paper's tables with our numbers beside the published ones, and what ours say by themselves.

Every table's data are long, one line a measurement; ``across`` names the column whose values stand
side by side when the table is shown. Accuracies are in percent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from prompt_optimization.runs.report import published
from prompt_optimization.runs.report.measured import Measurement, Results
from prompt_optimization.runs.statistics import (
    Estimate,
    mean_difference,
    mean_of,
    sign_flip,
    wilson,
)
from prompt_optimization.tasks.registry import TABLE_1_BBH

NAMES = {"initial": "initial prompt", "prompt": "given prompt", **published.METHODS}
BENCHMARK_TASKS = {"GSM8K": ("gsm8k",), "BBH": TABLE_1_BBH, "FOLIO": ("folio",)}

Line = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A titled table; ``note`` says how to read it and what is missing."""

    title: str
    note: str
    data: pd.DataFrame
    across: str = ""


def all_tables(results: Results) -> list[Table]:
    found = results.measurements
    return [
        table_1(found),
        per_task(found),
        table_3(found),
        ablations(results),
        significance(found),
    ]


def table_1(found: Sequence[Measurement]) -> Table:
    """Accuracy where a model uses the prompt that it has optimised itself. (paper, table 1)"""
    own = [m for m in found if not m.variant and m.optimised_by in ("", m.model)]
    lines: list[Line] = []
    for model in [*published.MODELS, *_other_models(own)]:
        for method in ("initial", *published.METHODS):
            row: list[Line] = []
            for benchmark, tasks in BENCHMARK_TASKS.items():
                cells = _accuracies(_select(own, task, model, method) for task in tasks)
                reported = published.TABLE_1.get((model, method, benchmark))
                # A mean over fewer tasks than the paper's is no figure to set beside it.
                whole = len(cells) == len(tasks)
                row.append(
                    {
                        "model": model,
                        "method": NAMES[method],
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
        "BBH is the mean over tasks; beside the published value it counts only when all 21 are "
        "there.",
        lines,
        across="benchmark",
    )


def per_task(found: Sequence[Measurement]) -> Table:
    """Accuracy task by task; the paper shows these as bars only."""
    own = [m for m in found if m.optimised_by in ("", m.model)]
    titles = sorted(
        {(list(NAMES).index(m.method), m.variant, _title(m)) for m in own},
    )
    lines = []
    for model, task in sorted({(m.model, m.task) for m in own}):
        for _, _, title in titles:
            chosen = [m for m in own if (m.model, m.task, _title(m)) == (model, task, title)]
            if chosen:
                lines.append(
                    {"model": model, "task": task, "prompt": title, **_numbers(_accuracy(chosen))}
                )
    return _table(
        "Accuracy by task",
        "Several runs of a task are averaged; the interval counts every row once. A task with "
        "'(data ...)' is a file that is not the authors', such as a generated look-alike; a model "
        "with '(...)' has other weights or precision than its name alone; other brackets tell "
        "what was set otherwise.",
        lines,
        across="prompt",
    )


def table_3(found: Sequence[Measurement]) -> Table:
    """Accuracy where a prompt was optimised by another model. (paper, table 3)"""
    moved = [m for m in found if m.optimised_by not in ("", m.model)]
    ours = {(m.model, m.method, m.optimised_by, m.variant) for m in moved}
    theirs_first = [(*key, "") for key in published.TABLE_3]
    lines: list[Line] = []
    for target, method, by, kind in dict.fromkeys([*theirs_first, *sorted(ours)]):
        name = f"{NAMES[method]} ({kind})" if kind else NAMES[method]
        key = {"target": target, "method": name, "optimised by": by}
        theirs = [m for m in moved if (m.model, m.optimised_by, m.variant) == (target, by, kind)]
        reported = None if kind else published.TABLE_3.get((target, method, by))
        tasks = published.TRANSFER_TASKS if reported else sorted({m.task for m in theirs})
        cells = []
        for place, task in enumerate(tasks):
            measured = _accuracy(_select(theirs, task, target, method, kind))
            cells.extend([measured] if measured else [])
            beside = _beside(measured, reported[place] if reported else None)
            lines.append({**key, "task": task, **_numbers(measured), **beside})
        mean = mean_of(cells) if len(cells) == len(tasks) else None
        beside = _beside(mean, fmean(reported) if reported else None)
        lines.append({**key, "task": "mean", **_numbers(mean), **beside})
    return _table("Table 3: prompts moved to another model", "", lines, across="task")


def ablations(results: Results) -> Table:
    """What the parts of the search are worth: training objective and held-out accuracy."""
    logs = {log["sessions"][0]["run"]: log for log in results.runs.values()}
    groups: defaultdict[tuple[str, str, str], list[Measurement]] = defaultdict(list)
    for m in results.measurements:
        if m.run in logs and m.optimised_by == m.model:
            groups[m.task, m.model, m.variant].append(m)
    lines = []
    for (task, model, kind), measurements in sorted(groups.items()):
        runs = [logs[run] for run in dict.fromkeys(m.run for m in measurements)]
        found = _accuracy(measurements)
        reported = None
        if (model, task) == ("Llama-3-8B", "movie_recommendation"):
            reported = published.INITIAL_PROMPTS.get(kind)
        lines.append(
            {
                "model": model,
                "task": task,
                "search": kind or "GReaTer",
                "runs": len(runs),
                "objective before": fmean(log["initial"]["objective"] for log in runs),
                "objective after": fmean(log["best"][0]["objective"] for log in runs),
                **_numbers(found),
                **_beside(found, reported),
            }
        )
    return _table(
        "Searches and their ablations",
        "Objective: on the training rows, of the initial and of the best prompt. Measured: "
        "accuracy of the chosen prompt on test rows.",
        lines,
    )


def significance(found: Sequence[Measurement]) -> Table:
    """Paired differences between methods that answered the same rows."""
    lines: list[Line] = []
    for model in _models(found):
        ours = [m for m in found if m.model == model and m.optimised_by in ("", model)]
        searches = [m for m in ours if m.method == "greater"]
        for kind in sorted({m.variant for m in searches}):
            after = [m for m in searches if m.variant == kind]
            starts = {m.start for m in after}
            rivals = [m for m in ours if m.method == "initial" and m.start in starts]
            plain = [m for m in searches if not m.variant]
            lines.extend(_compared(rivals, after))
            lines.extend(_compared([m for m in ours if m.method == "zero_shot_cot"], after))
            if kind:
                lines.extend(_compared(after, plain))
    return _table(
        "Differences on the same rows",
        "Points gained from one to the other, with 95 % interval; p: two-sided, by flipping the "
        "rows' signs at random. Rows that several runs answered count once; how much hangs on "
        "which search one happens to make, the rows do not tell.",
        lines,
    )


def _compared(before: Sequence[Measurement], after: Sequence[Measurement]) -> list[Line]:
    """One line a task, and one for all together, in which every task counts alike."""
    differences = {
        task: _paired([m for m in before if m.task == task], [m for m in after if m.task == task])
        for task in sorted({m.task for m in after})
    }
    differences = {task: values for task, values in differences.items() if values}
    found = [(task, mean_difference(values), values) for task, values in differences.items()]
    if len(found) > 1:
        every = mean_of([estimate for _, estimate, _ in found])
        weighed = [value / len(values) for _, _, values in found for value in values]
        found.append((f"mean of {len(found)} tasks", every, weighed))

    def titles(some: Sequence[Measurement], task: str) -> str:
        own = {_title(m) for m in some if m.task == task or task not in differences}
        return " or ".join(sorted(own))

    return [
        {
            "model": after[0].model,
            "from": titles(before, task),
            "to": titles(after, task),
            "task": task,
            "rows": estimate.n,
            "difference": 100 * estimate.value,
            "low": 100 * estimate.low,
            "high": 100 * estimate.high,
            "p": sign_flip(values),
        }
        for task, estimate, values in found
    ]


def _paired(before: Sequence[Measurement], after: Sequence[Measurement]) -> list[float]:
    """Per row that both answered, the difference of their mean hits.

    Several searches of a task are matched by the rows that they were tested on, and all of a
    matched pair were read alike.
    """

    def key(m: Measurement) -> tuple[Any, ...]:
        reading = ("extractor", "dtype", "max_new_tokens", "answer_tokens")
        return (*m.hits, *(m.settings.get(name) for name in reading))

    found: defaultdict[int, list[float]] = defaultdict(list)
    for rows in sorted({key(m) for m in before} & {key(m) for m in after}, key=str):
        one, other = (
            [m.hits for m in measurements if key(m) == rows] for measurements in (before, after)
        )
        for row in one[0]:
            found[row].append(fmean(hits[row] for hits in other) - fmean(hits[row] for hits in one))
    return [fmean(values) for _, values in sorted(found.items())]


def _accuracy(measurements: Sequence[Measurement]) -> Estimate | None:
    """Mean over rows of the share of runs that were right; the interval counts every row once, as
    if further runs on it told nothing new."""
    if not measurements:
        return None
    rows: defaultdict[int, list[bool]] = defaultdict(list)
    for m in measurements:
        for row, hit in m.hits.items():
            rows[row].append(hit)
    return wilson(fmean(fmean(hits) for hits in rows.values()), len(rows))


def _accuracies(groups: Iterable[Sequence[Measurement]]) -> list[Estimate]:
    return [accuracy for group in groups if (accuracy := _accuracy(group)) is not None]


def _select(
    found: Iterable[Measurement], task: str, model: str, method: str, kind: str = ""
) -> list[Measurement]:
    return [
        m for m in found if (m.task, m.model, m.method, m.variant) == (task, model, method, kind)
    ]


def _models(found: Iterable[Measurement]) -> list[str]:
    return sorted({m.model for m in found})


def _other_models(found: Iterable[Measurement]) -> list[str]:
    return [model for model in _models(found) if model not in published.MODELS]


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


def _title(measurement: Measurement) -> str:
    name, kind = NAMES[measurement.method], measurement.variant
    if measurement.method == "prompt":
        name = f"'{measurement.prompt.strip()}'"
    return f"{name} ({kind})" if kind else name


def _table(title: str, note: str, lines: list[Line], across: str = "") -> Table:
    data = pd.DataFrame(lines)
    missing = int(data["measured"].isna().sum()) if "measured" in data else 0
    if missing:
        note = f"{note} {missing} of {len(data)} cells are not measured.".strip()
    for name in ("n", "rows"):
        if name in data:
            data[name] = data[name].astype("Int64")
    return Table(title, note, data, across)
