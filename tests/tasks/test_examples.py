"""Task files as questions and answers: which columns count, what a cell says, what is refused."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.errors import InputError, check_characters
from prompt_optimization.tasks.examples import Example, Table, read_table
from prompt_optimization.tasks.official import convert, official_files

CSV = 'goal,target,final_target\n"How many,\n""two""?",(B),B\nWhy?,(C),\u00e9\n'


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def table_of(folder: Path, *rows: dict[str, Any]) -> Table:
    return read_table(write(folder, "a.jsonl", "\n".join(map(json.dumps, rows))))


def asked_and_answered(table: Table) -> list[tuple[str, str]]:
    return [(example.question, example.answer) for example in table.examples]


def test_published_form(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "task.json", CSV))
    assert table.examples == (
        Example('How many,\n"two"?', "B", 0),
        Example("Why?", "\u00e9", 1),
    )
    assert len(table.sha256) == 64 and table.notes == ()


def test_further_columns_and_numbers(tmp_path: Path) -> None:
    line = {"question": "Why?", "prompt": "Think.", "answer": 42}
    table = table_of(tmp_path, line)
    assert table.examples == (Example("Why?", "42", 0),) and table.notes == ()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "", "holds no rows"),
        ("a.json", "goal,final_target\n", "holds no rows"),
        ("a.json", "words,final_target\nWhy?,A\n", "row 0 of .* no 'question', only words, final"),
        ("a.json", "goal,proof\nWhy?,A\n", "row 0 of .* no 'answer', only goal, proof; "),
        ("a.json", "goal,final_target\nWhy?,A\nHow?, \n", "'final_target' of row 1 .* is empty"),
        ("a.json", "goal,final_target\n,A\n", "'goal' of row 0 .* is empty; fill it in"),
        ("a.csv", "question,answer\nWhy?,\u200b\n", "'answer' of row 0 .* is empty"),
        ("a.csv", "answer,question,answer\nA,Why?,B\n", "given twice, as 'A' and 'B'"),
        ("a.csv", "question,answer\nWhy?,A\0\n", "'answer' of row 0 .* a NUL character"),
        ("a.jsonl", '{"question": "a?", "question": "b?", "answer": "1"}', "given twice"),
        ("a.jsonl", '{"question": "a?", "answer": null}', "'answer' of row 0 .* is None; fill"),
        ("a.jsonl", '{"question": "a?", "answer": NaN}', "'answer' of row 0 .* is nan; fill it in"),
        ("a.jsonl", '{"question": "a?", "answer": []}', "'answer' of row 0 .* is an empty list"),
        ("a.jsonl", '{"question": {"a": 1.5}, "answer": "x"}', "'question' of row 0 .*; write it"),
        ("a.jsonl", '{"question": "a?", "answer": Infinity}', "write it as a string"),
        ("a.jsonl", '{"question": "a?", "answer": 1e999999999}', r"is 1\.0+e\+999999999; write"),
        ("a.jsonl", '{"question": "a?", "answer": 1e9999999999999999999}', "write it as a string"),
        ("a.jsonl", f'{{"question": "a?", "answer": {"7" * 5000}}}', "write it as a string"),
        ("a.jsonl", '{"context": {"a": "b"}, "question": "a?", "answer": "x"}', "'context' of row"),
        (
            "a.jsonl",
            '{"question": "a \\ud83d?", "answer": "x"}',
            r"half a character \('.ud83d'\)",
        ),
        ("a.jsonl", '{"question": "a?", "answer": "\\ude00"}', "'answer' of row 0 .* half a char"),
        (
            "a.jsonl",
            '{"passage": "\\ud83d", "question": "a?", "answer": "x"}',
            "'passage' of row 0 .* half a character",
        ),
    ],
)
def test_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(InputError, match=message) as caught:
        read_table(path, key="test_data")
    lacks_a_column = re.search("has no '(question|answer)'", caught.value.problem)
    key = f"task.{lacks_a_column[1]}_column" if lacks_a_column else "test_data"
    assert caught.value.keys == (key,) and str(path) in caught.value.problem
    assert "\n" not in caught.value.problem


def test_values_that_are_never_used_do_no_harm(tmp_path: Path) -> None:
    text = (
        '{"question": "a?", "answer": "1", "x": 1e9999999999999999999, "y": NaN, "z": ["\\ud83d"], '
        f'"n": {"7" * 5000}, "x": 2}}'
    )
    assert asked_and_answered(read_table(write(tmp_path, "a.jsonl", text))) == [("a?", "1")]


@pytest.mark.parametrize(
    ("cell", "answer"),
    [
        ("0.1", "0.1"),
        ("0.30", "0.30"),
        ("1e-7", "0.0000001"),
        ("1e3", "1000"),
        ("1e22", "10000000000000000000000"),
        ("-0.0", "0"),
        ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
        ("true", "True"),
        ("false", "False"),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('"\\ufeff42\\u200b "', "42"),
    ],
)
def test_cells_of_json(tmp_path: Path, cell: str, answer: str) -> None:
    table = read_table(write(tmp_path, "a.jsonl", f'{{"question": "a?", "answer": {cell}}}'))
    assert asked_and_answered(table) == [("a?", answer)]


def test_names_of_columns_in_other_letters(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.csv", "ID,Question, Answer \n7,Why?,A\n"))
    assert asked_and_answered(table) == [("Why?", "A")] and table.notes == ()


def test_a_passage_is_put_before_its_question(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        {"context": " Ann is 4. ", "question": "Who is old?", "answer": "Ann"},
        {"question": "Who is tall?", "input": "Tom is.", "answer": "Tom"},
        {"premises": ["All is.", "Some is."], "input": "Is it?", "answer": "Yes", "context": None},
        {"context": "", "instruction": "Add them.", "input": "1 2", "output": "3"},
        {"passage": "It is.", "question": "It is. Is it?", "answer": "Yes"},
        {"Body": "Tom has 2.", "Question": "How many?", "Answer": 2},
    )
    assert asked_and_answered(table) == [
        ("Ann is 4.\n\nWho is old?", "Ann"),
        ("Tom is.\n\nWho is tall?", "Tom"),
        ("All is.\nSome is.\n\nIs it?", "Yes"),
        ("1 2\n\nAdd them.", "3"),
        ("It is. Is it?", "Yes"),
        ("Tom has 2.\n\nHow many?", "2"),
    ]
    assert [note.split(" of ")[0] for note in table.notes] == [
        f"column '{name}'" for name in ("context", "input", "premises", "passage", "body")
    ]
    assert all(note.endswith("is put before the question") for note in table.notes)


def test_an_input_alone_is_a_question(tmp_path: Path) -> None:
    table = table_of(tmp_path, {"input": "a?", "target": "1"})
    assert asked_and_answered(table) == [("a?", "1")] and table.notes == ()


def test_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    hint = "Think of all the numbers that stand between them."
    table = table_of(
        tmp_path,
        {"question": "a?", "goal": "A?", "answer": "1", "hint": hint, "source": "a book"},
        {"question": "b?", "goal": "B?", "answer": "2", "hint": hint, "choices": ["1", "2"]},
    )
    assert asked_and_answered(table) == [("a?", "1"), ("b?", "2")]
    said = "\n".join(table.notes)
    assert "column 'goal' of" in said and "because 'question' is" in said
    assert "column 'hint' of" in said and "column 'choices' of" in said
    assert len(table.notes) == 3


def test_rows_that_ask_the_same_and_answer_otherwise_are_named(tmp_path: Path) -> None:
    rows = [("a?", "1"), ("b?", "2"), ("A?", "1"), ("b? ", "3"), ("b?", "4")]
    table = table_of(tmp_path, *({"question": q, "answer": a} for q, a in rows))
    (note,) = table.notes
    assert "row 3 of" in note and "the same as row 1" in note and "'3' and not '2'" in note
    assert "1 more" in note


def test_characters_of_a_setting() -> None:
    check_characters("proper\tthinking \U0001f600", "the prompt")
    with pytest.raises(InputError, match="the prompt holds half a character") as caught:
        check_characters("think \udc80", "the prompt", key="control_init")
    assert caught.value.keys == ("control_init",)
    assert str(caught.value).isascii()


@pytest.mark.skipif("GREATER_OFFICIAL" not in os.environ, reason="GREATER_OFFICIAL names no folder")
def test_official_files_are_read_as_they_are() -> None:
    paths = sorted(Path(os.environ["GREATER_OFFICIAL"]).glob("*/*.json*"))
    readable = [p for p in paths if p.parent.name in ("bbh", "gsm8k")]
    assert len(readable) >= 20
    for path in readable:
        assert len(read_table(path).examples) >= 140


@pytest.mark.skipif("GREATER_OFFICIAL" not in os.environ, reason="GREATER_OFFICIAL names no folder")
def test_official_files_and_their_conversions_are_the_same_examples(tmp_path: Path) -> None:
    compared = 0
    for file in official_files(["bbh", "gsm8k"]):
        path = Path(os.environ["GREATER_OFFICIAL"]) / file.path
        if path.is_file():
            (tmp_path / "converted.json").write_bytes(convert(file, path.read_bytes()))
            converted = read_table(tmp_path / "converted.json")
            assert converted.examples == read_table(path).examples
            assert all("asks the same" in note for note in converted.notes)
            compared += 1
    assert compared >= 20
