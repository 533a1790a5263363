"""Task files, read and cut into splits: what the rest of the system asks this folder for.

A task file is a table with a column of questions and one of answers. ``file_kinds`` says which
kinds of files are read, ``hub`` how a data set's name is read in a file's place, ``columns`` what
the columns may be called, ``references`` what becomes of the answers, ``splits`` how rows are
divided. The library reads its files by the same code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from prompt_optimization.errors import InputError
from prompt_optimization.paths import user_path
from prompt_optimization.tasks.columns import (
    ANSWER_COLUMNS,
    BY_NAME,
    CONTEXT_COLUMNS,
    QUESTION_COLUMNS,
    Columns,
    read_examples,
)
from prompt_optimization.tasks.file_kinds import read_rows
from prompt_optimization.tasks.hub import is_hub_name, read_hub
from prompt_optimization.tasks.splits import SPLITS, Splits, check_disjoint, split_rows
from prompt_optimization.tasks.table import Example, Rows, Source, Table, question_key

__all__ = [
    "ANSWER_COLUMNS",
    "CONTEXT_COLUMNS",
    "QUESTION_COLUMNS",
    "SPLITS",
    "Columns",
    "Example",
    "Source",
    "Splits",
    "Table",
    "check_disjoint",
    "question_key",
    "read_examples",
    "read_rows",
    "read_table",
    "rows_of",
    "split_rows",
]


def rows_of(data: str | Path) -> Rows:
    """The rows of a task file or of a data set on a hub.

    Raises:
        InputError: they cannot be read.
    """
    if is_hub_name(data):
        return read_hub(str(data))
    path = user_path(str(data))
    return Rows(path, *read_rows(path))


def read_table(
    data: str | Path,
    *,
    key: str | Iterable[str] = (),
    unlabelled: bool = False,
    columns: Columns = BY_NAME,
    texts_are_meant: bool = False,
) -> Table:
    """Read every row of a task file or of a data set on a hub.

    Args:
        key: the setting that names it, for messages.
        unlabelled: rows without an answer are read too.
        columns: those that hold questions and answers, where their names do not say it.
        texts_are_meant: answers are meant to be whole texts.

    Raises:
        InputError: it cannot be read, a row lacks a question or an answer, or one of them cannot
            be used.
    """
    try:
        rows = rows_of(data)
        source = Source(f"'{rows.path}'")
        examples, notes = read_examples(rows.cells, source, unlabelled, columns, texts_are_meant)
    except InputError as error:
        raise InputError(error.problem, key=error.keys or key) from None
    stripped = (replace(example, question=example.question.strip()) for example in examples)
    return Table(rows.path, rows.sha256, tuple(stripped), (*rows.notes, *notes), rows.commit)
