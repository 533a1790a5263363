"""From the settings of a task to its rows, and to what an answer is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.examples import (
    Columns,
    Example,
    Splits,
    Table,
    check_disjoint,
    read_table,
    split_rows,
)
from prompt_optimization.tasks.groups import joined
from prompt_optimization.tasks.metrics.metric import Metric
from prompt_optimization.tasks.metrics.registry import METRICS, OF_WORDS, Options
from prompt_optimization.tasks.settings import TaskSettings
from prompt_optimization.tasks.splits import repeated
from prompt_optimization.tasks.templates import marked, resolved, slots_of, with_solved


def open_metric(settings: TaskSettings) -> Metric:
    """The metric that the settings name.

    Raises:
        InputError: it cannot be made.
    """
    options = Options(
        settings.pattern, settings.tolerance, settings.field, settings.over_references
    )
    return METRICS[settings.metric](options)


def template_of(settings: TaskSettings) -> str:
    """The template that the settings mean, as logs hold it: with what marks question and answer,
    and with the solved questions.

    Raises:
        InputError: it is none, or there are no solved questions.
    """
    template = resolved(settings.template)
    if settings.include_qa:
        template = marked(template, settings.connector)
    if not settings.few_shot:
        return template
    solved = read_solved(settings)
    for each in solved:
        if slots := slots_of(each.question + each.answer):
            raise InputError(
                f"row {each.row} of the solved questions holds the slot {{{slots[0]}}}; leave the "
                "row out",
                key="task.few_shot_data",
            )
    pairs = [(each.question, each.answer) for each in solved]
    return with_solved(template, settings.connector, pairs)


def read_solved(settings: TaskSettings) -> tuple[Example, ...]:
    """The questions that are asked, with their answers, before each question.

    Raises:
        InputError: their file is not given or cannot be used.
    """
    if not settings.few_shot_data:
        raise InputError(
            "few_shot asks solved questions, and the task has no file of them beside its training "
            "file; give one",
            key="task.few_shot_data",
        )
    columns = settings.columns
    table = read_table(settings.few_shot_data, key="task.few_shot_data", columns=columns)
    return table.examples[: settings.few_shot_number]


def read_tables(
    files: Mapping[str, str],
    columns: Columns,
    unlabelled: bool = False,
    texts_are_meant: bool = False,
) -> dict[str, Table]:
    """The task files of the splits that have one, and of the target.

    Args:
        files: by split, and ``target``, whose rows are among those of ``train`` then.
        unlabelled: rows need no answers.
        texts_are_meant: answers are meant to be whole texts.

    Raises:
        InputError: one cannot be used.
    """
    tables = {
        name: read_table(
            file,
            key=f"{name}_data",
            unlabelled=unlabelled,
            columns=columns,
            texts_are_meant=texts_are_meant,
        )
        for name, file in files.items()
        if file
    }
    return joined(tables) if "target" in tables else tables


def read_task(
    settings: TaskSettings, warn: Callable[[str], None], unlabelled: bool = False
) -> tuple[dict[str, Table], Splits]:
    """The task files, ``train`` and perhaps ``dev``, ``test`` and ``target``, and the rows that are
    cut from them.

    Args:
        warn: told what was read in another way than it stands in the files, which files repeat
            questions of splits before theirs, and where a split is smaller than it was asked to be.
        unlabelled: training rows need no answers. Dev and test are left without such rows.

    Raises:
        InputError: a file cannot be used, or has too few rows, or a solved question is asked.
    """
    files = {
        "train": settings.train_data,
        "dev": settings.dev_data,
        "test": settings.test_data,
        "target": settings.target_data,
    }
    # Shared words are counted in texts of any length.
    texts_are_meant = settings.metric in OF_WORDS
    tables = read_tables(files, settings.columns, unlabelled, texts_are_meant)
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
    if settings.few_shot_data:
        solved = read_solved(settings)
        check_disjoint({"the solved questions": solved, **splits.named()})
        if len(solved) < settings.few_shot_number:
            warn(f"{len(solved)} solved questions are shown: their file has no more")
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
