"""Data sets: as published, and strict about what cannot be meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from GReaTer import GreaterDataloader, GreaterDataSet, InputError
from GReaTer.inputs import data_set, groups_of
from prompt_optimization.tasks.examples import check_disjoint, read_table
from tests.library.conftest import PROMPT, entries


def test_a_file_and_a_list_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "task.jsonl"
    path.write_text("\n".join(json.dumps(entry | {"source": "made up"}) for entry in entries(5)))
    data = GreaterDataSet(data_path=path)
    assert list(data) == list(GreaterDataSet(custom_inputs=entries(5)))
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
        ({"data_path": 5}, "data_path is a int; give a file's path"),
        ({"custom_inputs": [{"zzz": "a"}]}, "unknown key 'zzz'; choose one of id, question"),
        ({"custom_inputs": [{"question": ["a"], "answer": "1"}]}, r"is \['a'\]; write it as a str"),
        ({"custom_inputs": [{"question": "\ud83d", "answer": "1"}]}, "entry 0 .* half a character"),
        ({"custom_inputs": [{"question": "a", "answer": "\ud83d"}]}, "entry 0 .* half a character"),
        (
            {"custom_inputs": [{"question": "a", "answer": "1", "prompt": "\ud83d"}]},
            "'prompt' of entry 0 of custom_inputs holds half a character",
        ),
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


def test_a_data_frame_itself_and_its_columns() -> None:
    frame = pd.DataFrame({"Text": ["a", "b"], "label": [1, 0], "n": [5, 6], "prompt": PROMPT})
    with pytest.warns(UserWarning, match="'(text|label)' of custom_inputs is read as the"):
        data = GreaterDataSet(custom_inputs=frame)
    assert [(e["question"], e["answer"], e["prompt"]) for e in data] == [
        ("a", "1", PROMPT.strip()),
        ("b", "0", PROMPT.strip()),
    ]
    assert data_set(frame[["Text", "label"]], "inputs")[1]["question"] == "b"
    named = GreaterDataSet(custom_inputs=frame, question_column="Text", answer_column=["n"])
    assert [e["answer"] for e in named] == ["5", "6"]
    listed = [{"q": "a", "a": 5}]
    (entry,) = GreaterDataSet(custom_inputs=listed, question_column="q", answer_column="a")
    assert (entry["question"], entry["answer"]) == ("a", "5")
    with pytest.raises(InputError, match=r"has no column 'x', only text, .* \(answer_column\)$"):
        GreaterDataSet(custom_inputs=frame, answer_column="x")


def test_a_data_frame_has_changed_whole_numbers() -> None:
    frame = pd.DataFrame({"question": ["a", "b", "c"], "answer": [12, None, 3]}).dropna()
    for rows in (frame.to_dict("records"), [row for _, row in frame.iterrows()]):
        with pytest.warns(
            UserWarning, match=r"'12\.0' \(entry 0 of custom_inputs\) are read as 12"
        ):
            data = GreaterDataSet(custom_inputs=rows)
        assert [entry["answer"] for entry in data] == ["12", "3"]


def test_a_file_is_read_as_the_harness_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    lines = [
        {"Question": " Is it? ", "context": "It is.", "answer": "So it is.\n#### 1,000"},
        {"Question": "Is it\nnot?", "context": "It is not.", "answer": "#### 2"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.warns(UserWarning) as caught:
        data = GreaterDataSet(data_path=path)
    table = read_table(path)
    assert [str(warning.message) for warning in caught] == list(table.notes)
    assert {warning.filename for warning in caught} == {__file__}
    assert (
        [entry["answer"] for entry in data] == [e.answer for e in table.examples] == ["1000", "2"]
    )
    # The library finds results by question, so it changes nothing about it.
    assert [entry["question"] for entry in data] == [
        "It is.\n\n Is it? ",
        "It is not.\n\nIs it\nnot?",
    ]
    assert [e.question for e in table.examples] == [entry["question"].strip() for entry in data]


def test_letters_and_truth_values() -> None:
    inputs = [{"question": "a", "answer": " (A) "}, {"question": "b", "answer": True}]
    assert [entry["answer"] for entry in GreaterDataSet(custom_inputs=inputs)] == ["A", "True"]


def test_a_blank_prompt_is_none() -> None:
    (entry,) = GreaterDataSet(custom_inputs=[{"question": "a", "answer": "1", "prompt": " "}])
    assert "prompt" not in entry


def of_questions(*questions: str) -> GreaterDataSet:
    return GreaterDataSet(custom_inputs=[{"question": q, "answer": "1"} for q in questions])


def test_the_same_question_in_two_splits() -> None:
    def check(**splits: GreaterDataSet) -> None:
        check_disjoint({name: data.rows for name, data in splits.items()}, "entry")

    inputs = of_questions("Is it cold?", "Is caf\u00e9  a word?")
    check(inputs=inputs, dev=of_questions("Is it old?"), test=of_questions("Is it bold?"))
    for again in ("Is it cold? ", "is it\ncold?", "Is cafe\u0301 a word?"):
        with pytest.raises(
            InputError, match=r"entry 1 of test asks the same as entry \d of inputs"
        ):
            check(inputs=inputs, test=of_questions("Is it old?", again))
    with pytest.raises(InputError, match="entry 0 of test asks the same as entry 1 of dev"):
        check(inputs=inputs, dev=of_questions("a", "b"), test=of_questions(" B"))


def test_an_initial_prompt_that_cannot_be_read() -> None:
    with pytest.raises(InputError, match="p_init holds half a character"):
        groups_of(of_questions("a"), "think \ud83d", per_question=False)


def test_the_own_names_count_before_the_others(tmp_path: Path) -> None:
    entry = {"question": "Q", "goal": "G", "answer": "A", "final_target": "T"}
    with pytest.warns(UserWarning, match=r"'(goal|final_target)' of custom_inputs is not used"):
        (found,) = GreaterDataSet(custom_inputs=[entry])
    assert (found["question"], found["answer"]) == ("Q", "A")


def test_numbers_are_answers() -> None:
    (entry,) = GreaterDataSet(custom_inputs=[{"question": "2 * 12 =", "answer": 24}])
    assert entry["answer"] == "24"
