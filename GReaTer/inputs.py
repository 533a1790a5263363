"""From what the user gives to groups of inputs that are optimised together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from GReaTer.dataset import GreaterDataSet, Row
from prompt_optimization.errors import InputError, check_characters
from prompt_optimization.tasks.entries import Entries, Frame

Inputs = GreaterDataSet | Entries


@dataclass(frozen=True)
class Group:
    """Inputs that are optimised together, because they share their prompt."""

    prompt: str
    rows: tuple[Row, ...]


def data_set(given: Inputs | None, what: str) -> GreaterDataSet:
    """``given`` as a data set.

    Raises:
        InputError: it is none, or empty.
    """
    if not isinstance(given, GreaterDataSet):
        if isinstance(given, str | Path | Mapping) or not isinstance(given, Iterable | Frame):
            wanted = "a GreaterDataSet, a list of dicts or a data frame"
            raise InputError(f"{what} is a {type(given).__name__}; give {wanted}")
        given = GreaterDataSet(custom_inputs=given)
    if not len(given):
        raise InputError(f"{what} is empty; give at least one question")
    return given


def groups_of(data: GreaterDataSet, p_init: str | None, per_question: bool) -> list[Group]:
    """The inputs of every prompt, or every input by itself.

    Raises:
        InputError: an input has no prompt, or asks the same as another; ``p_init`` cannot be read.
    """
    if p_init is not None:
        check_characters(p_init, "p_init")
    groups: dict[object, tuple[str, list[Row]]] = {}
    questions: dict[str, int] = {}
    for row in data.rows:
        if row.question in questions:
            raise InputError(
                f"entry {row.row} of inputs asks the same as entry {questions[row.question]}; "
                "results are looked up by question, so leave one of them out"
            )
        questions[row.question] = row.row
        prompt = p_init if p_init is not None else row.prompt
        if prompt is None:
            raise InputError(
                f"entry {row.row} of inputs has no prompt; add it, or give optimize() a p_init"
            )
        if not prompt.strip():
            raise InputError("p_init is empty; give a prompt of at least two words")
        key = row.row if per_question else prompt.strip()
        groups.setdefault(key, (prompt, []))[1].append(row)
    return [Group(prompt, tuple(rows)) for prompt, rows in groups.values()]
