"""Two task files of one task, each a group of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain, zip_longest

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.table import Table

# What the rows of train_data and those of target_data are called.
SOURCE, TARGET = "source", "target"


def joined(tables: Mapping[str, Table]) -> dict[str, Table]:
    """``tables`` by split, with the rows of ``target`` among those of ``train``: one of each in
    turn, so that every cut has both, and numbered in this order.

    Raises:
        InputError: the rows have groups already, or test has a file of its own.
    """
    if grouped := next((t for t in tables.values() if any(e.group for e in t.examples)), None):
        raise InputError(
            f"'{grouped.path}' has a column 'group', and target_data makes the groups; leave one "
            "of the two out",
            key="target_data",
        )
    if "test" in tables:
        raise InputError(
            f"the test rows of '{tables['test'].path}' are none of the target's; leave test_data "
            "out, so that they are cut from both files, or give files with a column 'group'",
            key=("test_data", "target_data"),
        )
    found = {
        name: _in_group(table, TARGET if name == "target" else SOURCE)
        for name, table in tables.items()
    }
    turns = zip_longest(found["train"].examples, found["target"].examples)
    rows = filter(None, chain.from_iterable(turns))
    numbered = tuple(replace(each, row=number) for number, each in enumerate(rows))
    return found | {"train": replace(found["train"], examples=numbered)}


def _in_group(table: Table, group: str) -> Table:
    return replace(table, examples=tuple(replace(each, group=group) for each in table.examples))
