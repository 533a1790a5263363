"""Data sets: as published, and strict about what cannot be meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from GReaTer import GreaterDataloader, GreaterDataSet, InputError
from tests.library.conftest import PROMPT, entries


def test_a_file_and_a_list_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "task.jsonl"
    path.write_text("\n".join(json.dumps(entry | {"source": "made up"}) for entry in entries(5)))
    data = GreaterDataSet(data_path=path)
    assert list(data) == list(GreaterDataSet(custom_inputs=entries(5)))
    assert data.sha256 == GreaterDataSet(custom_inputs=entries(5)).sha256
    assert len(data) == 5 and data[0]["question"] == entries(1)[0]["question"]
    assert GreaterDataloader is GreaterDataSet
    part = data[1:3]
    assert isinstance(part, GreaterDataSet) and list(part) == list(data)[1:3]
    assert data[-1] == list(data)[-1] and [entry["id"] for entry in part] == ["1", "2"]


def test_other_task_files(task_file: Path) -> None:
    data = GreaterDataSet(data_path=task_file)
    assert len(data) == 48 and set(data[0]) == {"id", "question", "answer"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "give one of them"),
        ({"data_path": "a.jsonl", "custom_inputs": []}, "give one of them"),
        ({"custom_inputs": [*entries(1), {"qestion": "a"}]}, "entry 1 .* 'qestion'.*'question'"),
        ({"custom_inputs": [{"question": "a", "prompt": PROMPT}]}, "entry 0 .* no 'answer', only"),
        ({"custom_inputs": [{"question": "a", "answer": None}]}, "'answer' of entry 0 .* None"),
        ({"custom_inputs": [{"question": " ", "answer": "1"}]}, "'question' of entry 0 .* empty"),
        ({"custom_inputs": ["a question"]}, "entry 0 .* is a str"),
        ({"custom_inputs": 5}, "custom_inputs is a int; give a list"),
        ({"custom_inputs": [{"question": float("nan"), "answer": "1"}]}, "'question' .* nan"),
        ({"data_path": "/no/such/file.jsonl"}, "does not exist"),
    ],
)
def test_what_cannot_be_meant(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        GreaterDataSet(**given)


def test_data_frames_and_generators() -> None:
    frame = pd.DataFrame({"question": ["a", "b"], "prompt": [PROMPT, None], "answer": ["1", "2"]})
    rows = GreaterDataSet(custom_inputs=(row for _, row in frame.iterrows()))
    assert [entry["answer"] for entry in rows] == ["1", "2"] and "prompt" not in rows[1]
    assert list(GreaterDataSet(custom_inputs=frame.to_dict("records"))) == list(rows)


def test_the_own_names_count_before_the_others(tmp_path: Path) -> None:
    entry = {"question": "Q", "goal": "G", "answer": "A", "final_target": "T"}
    (found,) = GreaterDataSet(custom_inputs=[entry])
    assert (found["question"], found["answer"]) == ("Q", "A")


def test_numbers_are_answers() -> None:
    (entry,) = GreaterDataSet(custom_inputs=[{"question": "2 * 12 =", "answer": 24}])
    assert entry["answer"] == "24"
