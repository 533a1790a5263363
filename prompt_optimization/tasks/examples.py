"""Task files, read and cut into splits: what the rest of the system asks this folder for.

A task file is a table with a column of questions and one of answers. ``file_kinds`` says which
kinds of files are read, ``columns`` what the columns may be called, ``references`` what becomes of
the answers, ``splits`` how rows are divided. The library reads its files by the same code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from prompt_optimization.errors import InputError
from prompt_optimization.paths import user_path
from prompt_optimization.tasks.columns import (
    ANSWER_COLUMNS,
    CONTEXT_COLUMNS,
    QUESTION_COLUMNS,
    read_examples,
)
from prompt_optimization.tasks.file_kinds import read_rows
from prompt_optimization.tasks.splits import SPLITS, Splits, check_disjoint, split_rows
from prompt_optimization.tasks.table import Example, Source, Table, question_key

__all__ = [
    "ANSWER_COLUMNS",
    "CONTEXT_COLUMNS",
    "QUESTION_COLUMNS",
    "SPLITS",
    "Example",
    "Source",
    "Splits",
    "Table",
    "check_disjoint",
    "question_key",
    "read_examples",
    "read_rows",
    "read_table",
    "split_rows",
]


def read_table(
    path: str | Path, *, key: str | Iterable[str] = (), unlabelled: bool = False
) -> Table:
    """Read every row of a task file.

    Args:
        key: the setting that names the file, for messages.
        unlabelled: rows without an answer are read too.

    Raises:
        InputError: the file cannot be read, a row lacks a question or an answer, or one of them
            cannot be used.
    """
    path = user_path(str(path))
    try:
        rows, sha256 = read_rows(path)
        examples, notes = read_examples(rows, Source(f"'{path}'"), unlabelled)
    except InputError as error:
        raise InputError(error.problem, key=key) from None
    stripped = (replace(example, question=example.question.strip()) for example in examples)
    return Table(path, sha256, tuple(stripped), tuple(notes))
