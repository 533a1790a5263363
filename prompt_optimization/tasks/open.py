"""From the settings of a task to its rows, and to what an answer is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.examples import Splits, Table, read_table, split_rows
from prompt_optimization.tasks.metrics.metric import Metric
from prompt_optimization.tasks.metrics.registry import METRICS, Options
from prompt_optimization.tasks.settings import TaskSettings
from prompt_optimization.tasks.splits import repeated


def open_metric(settings: TaskSettings) -> Metric:
    """The metric that the settings name.

    Raises:
        InputError: it cannot be made.
    """
    options = Options(
        settings.pattern, settings.tolerance, settings.field, settings.over_references
    )
    return METRICS[settings.metric](options)


def read_task(
    settings: TaskSettings, warn: Callable[[str], None], unlabelled: bool = False
) -> tuple[dict[str, Table], Splits]:
    """The task files, ``train`` and perhaps ``dev`` and ``test``, and the rows that are cut from
    them.

    Args:
        warn: told what was read in another way than it stands in the files, which files repeat
            questions of splits before theirs, and where a split is smaller than it was asked to be.
        unlabelled: training rows need no answers. Dev and test are left without such rows.

    Raises:
        InputError: a file cannot be used, or has too few rows.
    """
    files = {
        "train": settings.train_data,
        "dev": settings.dev_data,
        "test": settings.test_data,
    }
    tables = {
        name: read_table(file, key=f"{name}_data", unlabelled=unlabelled)
        for name, file in files.items()
        if file
    }
    for note in dict.fromkeys(note for table in tables.values() for note in table.notes):
        warn(note)
    splits = split_rows(
        tables["train"],
        tables.get("test"),
        dev=tables.get("dev"),
        offset=settings.data_offset,
        n_train=settings.n_train_data,
        n_dev=settings.n_dev_data,
        n_test=settings.n_test_data,
    )
    if len(splits.dev) < settings.n_dev_data:
        warn(f"dev has {len(splits.dev)} rows: the task has no more")
    for name in ("dev", "test"):
        own = tables.get(name, tables["train"])
        if own.sha256 != tables["train"].sha256 and (n := repeated(own.examples, splits, name)):
            warn(
                f"{name} leaves out {n} of the rows of '{own.path}': they ask what the search sees"
            )
    return tables, _measurable(splits, warn)


def _measurable(splits: Splits, warn: Callable[[str], None]) -> Splits:
    """``splits`` without the dev and test rows that no answer is known of.

    Raises:
        InputError: a split would have no rows left.
    """
    for name in ("dev", "test"):
        rows = getattr(splits, name)
        kept = tuple(row for row in rows if row.labelled)
        if rows and not kept:
            raise InputError(
                f"none of the {len(rows)} rows of {name} has an answer to measure by; give a file "
                f"with answers, or set the {name} rows to 0",
                key=(f"{name}_data", f"n_{name}_data"),
            )
        if len(kept) < len(rows):
            warn(f"{name} leaves out {len(rows) - len(kept)} rows without an answer")
            splits = replace(splits, **{name: kept})
    return splits
