"""Two task files that are the groups of one task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.runs.config import advice, plan
from prompt_optimization.tasks.open import read_task
from tests.runs.harness import values


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """A source of six questions as CSV, and a target of four as JSON without answers."""
    source, target = tmp_path / "source.csv", tmp_path / "target.json"
    lines = [f"What is {i} in digits?,{i}" for i in range(6)]
    source.write_text("\n".join(["question,answer", *lines]))
    target.write_text(json.dumps([{"question": f"In words, {i}?", "answer": ""} for i in range(4)]))
    return {"train_data": source, "target_data": target, "n_dev_data": 0, "n_test_data": 0}


def read(own: dict[str, Any]) -> Any:
    found = plan(values(own))
    return found, *read_task(found.task, lambda _: None, found.method.unlabelled)


def test_the_rows_of_two_files_come_in_turn(
    small_run: dict[str, Any], files: dict[str, Any]
) -> None:
    run = small_run | files | {"method": "robust", "n_train_data": 6, "robust.min_rows": 3}
    found, tables, splits = read(run | {"n_test_data": 2})
    assert [each.group for each in splits.train] == ["source", "target"] * 3
    assert [each.row for each in splits.train] == list(range(6))
    assert splits.train[5].question == "In words, 2?" and not splits.train[5].labelled
    # What nobody can measure by is no test row; what follows the shorter file is the source's.
    assert [(each.row, each.group) for each in splits.test] == [(6, "source")]
    assert [*tables] == ["train", "target"] and len(tables["train"].examples) == 10
    assert (found.method.source, found.method.target) == ("source", "target")
    found.method.check_examples(splits.train)
    with pytest.raises(InputError, match="nothing bounds what") as caught:
        plan(values(run | {"robust.bound": True})).method.check_examples(splits.train)
    assert caught.value.keys == ("robust.bound",)


def test_another_method_reads_the_same_rows(
    small_run: dict[str, Any], files: dict[str, Any]
) -> None:
    target = Path(files["target_data"])
    target.write_text(target.read_text().replace('"answer": ""', '"answer": "1"'))
    run = small_run | files | {"n_train_data": 8}
    groups = [
        [(each.row, each.group) for each in read(run | {"method": method})[2].train]
        for method in ("robust", "random")
    ]
    assert groups[0] == groups[1] and (7, "target") in groups[1]


@pytest.mark.parametrize(
    ("own", "words", "key"),
    [
        ({"target_data": "nowhere.csv"}, "nowhere.csv", "target_data"),
        ({"test_data": "itself"}, "are none of the target's; leave test_data out", "test_data"),
        ({"target_data": "grouped"}, "has a column 'group', and target_data makes", "target_data"),
        ({"method": "random"}, "row 0 of .*target.json", "target_data"),
    ],
)
def test_what_does_not_go_together_is_refused(
    small_run: dict[str, Any],
    files: dict[str, Any],
    grouped_file: Path,
    own: dict[str, Any],
    words: str,
    key: str,
) -> None:
    places = {"itself": files["train_data"], "grouped": grouped_file}
    own = {name: places.get(value, value) for name, value in own.items()}
    with pytest.raises(InputError, match=words) as caught:
        read(small_run | {"method": "robust"} | files | own)
    assert key in caught.value.keys


def test_the_key_is_not_the_methods() -> None:
    assert advice("robust.target_data", ()) == "target_data names the file, for every method"
