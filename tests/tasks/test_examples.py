"""Reading task files in every accepted form, splitting them, and refusing the rest by name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.examples import Example, Table, read_table, split_rows

CSV = 'goal,target,final_target\n"How many,\n""two""?",(B),B\nWhy?,(C),\u00e9\n'


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_published_form(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "task.json", CSV))
    assert table.examples == (
        Example('How many,\n"two"?', "B", 0),
        Example("Why?", "\u00e9", 1),
    )
    assert len(table.sha256) == 64


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "question,answer\nWhy?,(A)\n"),
        ("a.tsv", "question\tanswer\nWhy?\t(A)\n"),
        ("a.jsonl", '{"question": "Why?", "answer": "A", "id": 3}\n\n'),
        ("a.json", '{"examples": [{"input": "Why?", "target": "(A)"}]}'),
        ("a.json", "\ufeffgoal,final_target\r\nWhy?,A\r\n"),
    ],
)
def test_other_forms(tmp_path: Path, name: str, text: str) -> None:
    assert read_table(write(tmp_path, name, text)).examples == (Example("Why?", "A", 0),)


def test_further_columns_and_numbers(tmp_path: Path) -> None:
    line = {"question": "Why?", "prompt": "Think.", "answer": 42}
    (example,) = read_table(write(tmp_path, "a.jsonl", json.dumps(line))).examples
    assert example == Example("Why?", "42", 0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "", "holds no rows"),
        ("a.json", "goal,final_target\n", "holds no rows"),
        ("a.json", "text,final_target\nWhy?,A\n", "no question column"),
        ("a.json", "goal,solution\nWhy?,A\n", "no answer column"),
        ("a.json", "goal,final_target\nWhy?,A\nHow?, \n", "'final_target' is empty in row 1"),
        ("a.json", "goal,final_target\n,A\n", "'goal' is empty in row 0"),
        ("a.json", 'goal,final_target\n"Why?,A\n', "malformed"),
        ("a.json", "goal,final_target\nWhy,me?,A\n", "3 cells under a header of 2"),
        ("a.json", '{"examples": 3}', "no list of examples"),
        ("a.json", '{"examples": [', "starts like JSON but is not"),
        ("a.jsonl", '{"question": "Why?"}\n{"quest', "line 2"),
        ("a.jsonl", "3\n", "not a JSON object"),
    ],
)
def test_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_table(write(tmp_path, name, text))


def test_missing_and_not_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_table(tmp_path / "none.json")
    (tmp_path / "a.json").write_bytes(b"goal,final_target\n\xff\xfe,A\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_table(tmp_path / "a.json")


def made(questions: list[str], sha256: str = "one") -> Table:
    rows = tuple(Example(q, "A", row) for row, q in enumerate(questions))
    return Table(Path("made.json"), sha256, rows)


@given(data=st.data())
def test_splits_share_no_question(data: st.DataObject) -> None:
    names = st.text("ab", min_size=1, max_size=4)
    first = made(data.draw(st.lists(names, min_size=4, max_size=30)))
    second = data.draw(
        st.none()
        | st.lists(names, min_size=4, max_size=30).map(lambda questions: made(questions, "two"))
    )
    size = st.integers(0, 6)
    try:
        splits = split_rows(
            first,
            second,
            offset=data.draw(size),
            n_train=data.draw(st.integers(1, 6)),
            n_dev=data.draw(size),
            n_test=data.draw(size),
        )
    except InputError:
        return
    train = {e.question for e in splits.train}
    assert not train & {e.question for e in (*splits.dev, *splits.test)}
    assert not {e.question for e in splits.dev} & {e.question for e in splits.test}


def test_sizes() -> None:
    table = made([f"q{i}" for i in range(100)])
    splits = split_rows(table, None, offset=10, n_train=20, n_dev=30, n_test=40)
    assert [e.row for e in splits.train] == list(range(10, 30))
    assert [e.row for e in splits.dev] == list(range(30, 60))
    assert [e.row for e in splits.test] == list(range(60, 100))
    # The same file given twice is one table; dev gives way to test.
    short = split_rows(table, table, offset=0, n_train=50, n_dev=30, n_test=40)
    assert (len(short.dev), len(short.test)) == (10, 40)
    with pytest.raises(InputError, match=r"100 rows, but 80 training rows from row 30"):
        split_rows(table, None, offset=30, n_train=80, n_dev=0, n_test=0)
    with pytest.raises(InputError, match="49 rows left for testing"):
        split_rows(table, None, offset=0, n_train=50, n_dev=1, n_test=50)
    with pytest.raises(InputError, match="no rows left for the dev split"):
        split_rows(table, None, offset=0, n_train=100, n_dev=1, n_test=0)


@pytest.mark.skipif("GREATER_OFFICIAL" not in os.environ, reason="GREATER_OFFICIAL names no folder")
def test_official_files_are_read_as_they_are() -> None:
    paths = sorted(Path(os.environ["GREATER_OFFICIAL"]).glob("*/*.json*"))
    readable = [p for p in paths if p.parent.name in ("bbh", "gsm8k")]
    assert len(readable) >= 20
    for path in readable:
        assert len(read_table(path).examples) >= 140


def test_a_question_that_comes_again_costs_dev_a_row_and_not_test() -> None:
    questions = ["a", "b", "c", "d", "e", "f", "c", "g", "h", "i"]
    examples = tuple(Example(question, "1", row) for row, question in enumerate(questions))
    splits = split_rows(
        Table(Path("t"), "0" * 64, examples), None, offset=0, n_train=2, n_dev=3, n_test=5
    )
    assert len(splits.test) == 5 and len(splits.dev) == 2
    assert not {e.question for e in splits.dev} & {e.question for e in splits.test}
