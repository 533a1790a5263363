"""What several methods gained at one budget: read off their logs, as a record, as tables.

The record is all that there is to know, as JSON holds it. The tables show its means over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from statistics import fmean
from types import MappingProxyType
from typing import Any

from rich.markup import escape
from rich.table import Table as Grid
from rich.text import Text

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.stoppers import StopSettings
from prompt_optimization.runs.config import all_keys
from prompt_optimization.runs.naming import metric_label, task_name
from prompt_optimization.runs.store.identity import MODEL, TASK, changes
from prompt_optimization.runs.store.log import metric_of, run_id
from prompt_optimization.scoring.statistics import (
    Estimate,
    crossed_difference,
    is_graded,
    mean_difference,
    mean_value,
    stratified_difference,
)

# What has to be the same in all runs. Writer and judge belong to their method.
ALIKE = {
    name: words for name, words in (MODEL | TASK).items() if name not in ("writer", "judge")
} | {"metric": "the metric"}

# The prompts that a run measures on test, as its log calls them.
SIDES = ("initial", "best")

# Shares of the budget at which the best objective so far is shown.
SHARES = (1 / 8, 1 / 4, 1 / 2, 1)

# What a budget may limit, in the table's words.
UNITS = {"max_evaluations": "rows", "max_work": "tokens of work"}

# What a ledger counts in tokens, in the table's words.
TOKENS = {
    "prefilled": "scorer reads",
    "decoded": "scorer writes",
    "differentiated": "differentiated",
    "asked": "writer reads",
    "written": "writer writes",
    "judge_asked": "judge reads",
    "judge_written": "judge writes",
}

COLUMNS = (
    "method", "seeds", "initial", "elected", "over rows", "over rows and seeds", "least seen",
    "by seed",
)  # fmt: skip

Log = Mapping[str, Any]


@dataclass(frozen=True)
class Sheet:
    """A titled table in words."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def comparison(
    logs: Mapping[str, Sequence[Log]],
    budget: int,
    counted: str = "max_evaluations",
    contenders: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> dict[str, Any]:
    """The record of what each contender gained.

    Args:
        logs: of finished runs, by contender, one a seed.
        budget: of each run.
        counted: what that limits: one of ``UNITS``.
        contenders: by name, the settings in which they were to differ.

    Raises:
        InputError: the runs were not made with the same model on the same rows, or another metric
            counted.
    """
    every = [log for own in logs.values() for log in own]
    first = every[0]
    for log in every[1:]:
        changed = changes(_circumstances(first), _circumstances(log), ALIKE)
        if changed:
            raise InputError(
                f"the runs cannot be compared, because {'; '.join(changed)} between two of them; "
                "give another folder",
                key="result_prefix",
            )
    most = max(log["ledger"]["search"]["evaluations"] for log in every)
    rows = budget if counted == "max_evaluations" else most
    points = sorted({math.ceil(rows * share) for share in SHARES})
    return {
        "task": task_name(first["params"]["train_data"]),
        "model": first["environment"]["model"],
        "rows": {split: len(rows) for split, rows in first["environment"]["rows"].items()},
        "metric": metric_label(first["params"]),
        "weighted": any(_weights(log) for log in every),
        "budget": budget,
        "counted": UNITS[counted],
        "points": points,
        "contenders": {name: dict(own) for name, own in contenders.items() if name in logs},
        "settings": _different({method: own[0]["params"] for method, own in logs.items() if own}),
        "methods": {
            method: _method(own, budget, counted, points) for method, own in logs.items() if own
        },
    }


def _circumstances(log: Log) -> dict[str, Any]:
    return {**log["environment"], "metric": metric_label(log["params"])}


def _different(params: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The settings for which methods bring defaults of their own and in which these differ: their
    values by method."""
    names = [name for name, each in all_keys().items() if each.by_method]
    values = {name: {method: own[name] for method, own in params.items()} for name in names}
    return {name: own for name, own in values.items() if len(set(own.values())) > 1}


def curve(log: Log) -> list[tuple[int, float]]:
    """The rows evaluated on train and the best objective after the initial prompt and after every
    step.

    An objective on some of the training rows only, as a search has it that adds rows as it goes,
    cannot stand beside others and is left out.
    """
    rows = len(log["environment"]["rows"]["train"]) * log["params"]["num_train_models"]
    initial = log["initial"]
    found = [(initial["samples"], initial["samples"], initial["objective"])]
    found += [
        (
            step["evaluations"],
            max(initial["samples"], step["incumbent"]["samples"]),
            step["best_objective"],
        )
        for step in log["steps"]
    ]
    return [(spent, objective) for spent, samples, objective in found if samples == rows]


def best_at(points: Sequence[tuple[int, float]], spent: int) -> float | None:
    """The best objective of a ``curve`` when at most ``spent`` rows were evaluated; None when that
    was too few for the initial prompt."""
    return next((objective for at, objective in reversed(points) if at <= spent), None)


def _method(
    logs: Sequence[Log], budget: int, counted: str, points: Sequence[int]
) -> dict[str, Any]:
    runs = [_run(log, budget, counted) for log in logs]
    found: dict[str, Any] = {
        "runs": runs,
        **dict.fromkeys((*SIDES, "difference", "difference_over_seeds", "detectable")),
    }
    if all(log["evaluation"]["test"] for log in logs):
        before, after = ([hits_of(log, side) for log in logs] for side in SIDES)
        weights, graded = _weights(logs[0]), is_graded(chain(*before, *after))
        gains = [
            [ours - theirs for theirs, ours in zip(*pair, strict=True)]
            for pair in zip(before, after, strict=True)
        ]
        by_row = [fmean(row) for row in zip(*gains, strict=True)]
        # Exactly zero where nothing but the initial prompt was elected, as in a run's own log.
        same = all(run["chosen"] == run["initial"] for run in runs)
        over_rows = (
            Estimate(0.0, 0.0, 0.0, len(by_row))
            if same
            else mean_difference(by_row, weights, graded)
        )
        found |= {
            "initial": _mean(before, weights),
            "best": _mean(after, weights),
            "difference": asdict(over_rows),
        }
        if len(by_row) > 1 and not weights and not same:
            found["detectable"] = stratified_difference([gains]).detectable
        if len(runs) > 1 and len(by_row) > 1:
            over_both = crossed_difference(gains, weights, graded)
            found["difference_over_seeds"] = asdict(over_both)
    reached = {point: [best_at(run["curve"], point) for run in runs] for point in points}
    found["objective"] = {
        str(point): fmean(each for each in own if each is not None) if None not in own else None
        for point, own in reached.items()
    }
    return found


def _run(log: Log, budget: int, counted: str) -> dict[str, Any]:
    search, evaluation = log["ledger"]["search"], log["evaluation"]
    spent, params = search["evaluations"], log["params"]
    if counted == "max_work":
        spent = round(StopSettings.of(dict(params)).work(search["tokens"]))
    test = evaluation["test"]
    return {
        "seed": log["environment"]["seed"],
        "run": run_id(log),
        "initial": log["initial"]["prompt"],
        "chosen": evaluation["chosen"],
        "difference": test["difference"][metric_of(test["best"])] if test else None,
        "evaluations": search["evaluations"],
        "spent": spent,
        "unused": max(0, budget - spent),
        "ended": log["ended"],
        "steps": len(log["steps"]),
        "seconds": search["seconds"],
        "tokens": search["tokens"],
        "requests": search.get("requests", 0),
        "curve": curve(log),
    }


def hits_of(log: Log, side: str) -> list[float]:
    """Per test row, what the metric gave to one of the prompts."""
    measured = log["evaluation"]["test"][side]
    return [float(hit) for hit in measured["hits"][metric_of(measured)]]


def _weights(log: Log) -> list[float]:
    """Per test row, how much it counts; empty where all count alike."""
    test = log["evaluation"]["test"]
    return test["best"].get("weights", []) if test else []


def _mean(hits: Sequence[Sequence[float]], weights: Sequence[float]) -> float:
    """Over runs and their rows."""
    return fmean(mean_value(own, weights).value for own in hits)


def sheets(record: Mapping[str, Any]) -> list[Sheet]:
    """The record's tables."""
    return [_differences(record), _costs(record), _objectives(record)]


def _differences(record: Mapping[str, Any]) -> Sheet:
    n, different = record["rows"].get("test", 0), ", ".join(record["settings"])
    return Sheet(
        f"Difference to the initial prompt on {n} test rows by {record['metric']}, in points",
        "The mean value of the elected prompt minus that of the initial one, mean over seeds, "
        "with 95 % intervals. Over rows: the same prompts on other rows. Over rows and seeds: "
        "prompts of other runs, too; that takes two seeds. Least seen: the smallest true "
        "difference that this many rows and seeds tell from 0 four times in five."
        + (" Rows count by their weights." if record["weighted"] else "")
        + (f" The methods have their own {different}." if different else ""),
        COLUMNS,
        [
            (
                method,
                str(len(own["runs"])),
                *("" if own[side] is None else f"{100 * own[side]:.1f}" for side in SIDES),
                points(own["difference"]),
                points(own["difference_over_seeds"]),
                "" if own["detectable"] is None else f"{100 * own['detectable']:.1f}",
                ", ".join(
                    f"{100 * run['difference']['value']:+.1f}"
                    for run in own["runs"]
                    if run["difference"]
                ),
            )
            for method, own in record["methods"].items()
        ],
    )


def _costs(record: Mapping[str, Any]) -> Sheet:
    methods: Mapping[str, Any] = record["methods"]
    every = [(method, run) for method, own in methods.items() for run in own["runs"]]
    kinds = [kind for kind in TOKENS if any(run["tokens"].get(kind) for _, run in every)]
    unit = record["counted"]
    # A search that its budget ended may have had too little left for another batch.
    unused = [
        f" {method} with seed {run['seed']} left {run['unused']:,} {unit} unused ({run['ended']})."
        for method, run in every
        if run["unused"]
    ]
    fields = {unit: "spent", UNITS["max_evaluations"]: "evaluations", "seconds": "seconds"}

    def means(runs: Sequence[Mapping[str, Any]]) -> list[float]:
        return [fmean(run[field] for run in runs) for field in fields.values()] + [
            fmean(run["tokens"].get(kind, 0) for run in runs) for kind in kinds
        ]

    return Sheet(
        f"What a search took of {record['budget']:,} {unit}",
        f"All of it is the mean over seeds; dev and test are not counted.{''.join(unused)}",
        ("method", *fields, *(TOKENS[kind] for kind in kinds)),
        [
            (method, *(f"{each:,.0f}" for each in means(own["runs"])))
            for method, own in methods.items()
        ],
    )


def _objectives(record: Mapping[str, Any]) -> Sheet:
    own_objectives = {"objective", "selection_control_weight"} & set(record["settings"])
    return Sheet(
        f"Best objective on {record['rows']['train']} train rows so far",
        "After N evaluated rows; mean over seeds, lower is better."
        + (" Objectives that differ cannot be compared." if own_objectives else ""),
        ("method", *(f"{point:,} rows" for point in record["points"])),
        [
            (method, *("" if each is None else f"{each:.3f}" for each in own["objective"].values()))
            for method, own in record["methods"].items()
        ],
    )


def grids(found: Sequence[Sheet]) -> list[Grid]:
    """The tables for the screen."""
    made = []
    for sheet in found:
        title, note = escape(sheet.title), escape(sheet.note)
        grid = Grid(title=title, caption=note, caption_justify="left")
        for number, column in enumerate(sheet.columns):
            grid.add_column(column, justify="right" if number else "left")
        for row in sheet.rows:
            grid.add_row(*map(Text, row))
        made.append(grid)
    return made


def markdown(record: Mapping[str, Any], found: Sequence[Sheet], failed: Sequence[str]) -> str:
    """The tables and the elected prompts as a page.

    Args:
        failed: sentences about runs that failed.
    """
    budget = f"{record['budget']:,} {record['counted']}"
    parts = [f"# {record['task']}, {record['model']}, {budget}\n"]
    for sheet in found:
        lines = [sheet.columns, ["---", *["---:"] * (len(sheet.columns) - 1)], *sheet.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts.append(f"## {sheet.title}\n\n{sheet.note}\n\n{table}\n")
    if record["contenders"]:
        parts.append("## Contenders\n")
        for name, own in record["contenders"].items():
            told = ", ".join(f"{key}={value}" for key, value in own.items())
            parts.append(f"- {name}: {told}")
        parts.append("")
    parts.append("## Elected prompts\n")
    for method, own in record["methods"].items():
        for run in own["runs"]:
            parts.append(f"- {method}, seed {run['seed']}:\n\n      {run['chosen'].strip()}\n")
    if failed:
        parts.append("## Failed\n")
        parts += [f"- {sentence}" for sentence in failed]
    return "\n".join(parts) + "\n"


def points(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None:
        return ""
    value, low, high = (f"{100 * estimate[key]:+.1f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
