"""Splits that share no question, however it is written."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.examples import Example, Table, question_key, split_rows
from prompt_optimization.tasks.splits import ALL, repeated


def made(questions: list[str], sha256: str = "one") -> Table:
    rows = tuple(Example(q, "A", row) for row, q in enumerate(questions))
    return Table(Path("made.json"), sha256, rows)


@given(data=st.data())
def test_splits_share_no_question(data: st.DataObject) -> None:
    names = st.text("aBe\u0301\u00e9 \n", min_size=1, max_size=5)
    asked = st.lists(names, min_size=4, max_size=30)
    first = made(data.draw(asked))
    second = data.draw(st.none() | st.builds(made, asked, st.just("two")))
    third = data.draw(st.none() | st.builds(made, asked, st.just("three")))
    size = st.integers(ALL, 6)
    try:
        splits = split_rows(
            first,
            second,
            dev=third,
            offset=data.draw(st.integers(0, 6)),
            n_train=data.draw(size.filter(bool)),
            n_dev=data.draw(size),
            n_test=data.draw(size),
        )
    except InputError:
        return
    train, dev, test = (
        {question_key(example.question) for example in rows}
        for rows in (splits.train, splits.dev, splits.test)
    )
    assert not train & dev and not train & test and not dev & test


@given(st.text(), st.sampled_from([" ", "\n", "\t ", "\u00a0"]))
def test_what_makes_no_other_question(text: str, space: str) -> None:
    for form in ("NFC", "NFD"):
        written = unicodedata.normalize(form, text).replace(" ", space)
        assert question_key(f"{space}{written}{space}") == question_key(text)


@given(st.text("abcXYZ ?", min_size=1), st.text("abcXYZ ?", min_size=1))
def test_what_makes_another_question(one: str, other: str) -> None:
    def plain(text: str) -> str:
        words = " ".join(text.split())
        return "".join(
            letter.lower() if place in (0, len(words) - 1) else letter
            for place, letter in enumerate(words)
        )

    assert (question_key(one) == question_key(other)) == (plain(one) == plain(other))


def test_case_counts_within_a_question() -> None:
    assert question_key("is it cold?") == question_key("Is it cold?")
    assert question_key("What is the code of A?") != question_key("What is the code of a?")


def test_sizes() -> None:
    table = made([f"q{i}" for i in range(100)])
    splits = split_rows(table, None, offset=10, n_train=20, n_dev=30, n_test=40)
    assert [e.row for e in splits.train] == list(range(10, 30))
    assert [e.row for e in splits.dev] == list(range(30, 60))
    assert [e.row for e in splits.test] == list(range(60, 100))
    # The same file given twice is one table; dev gives way to test.
    short = split_rows(table, table, offset=0, n_train=50, n_dev=30, n_test=40)
    assert (len(short.dev), len(short.test)) == (10, 40)
    with pytest.raises(InputError, match=r"100 rows, but 80 training rows from row 30") as caught:
        split_rows(table, None, offset=30, n_train=80, n_dev=0, n_test=0)
    assert caught.value.keys == ("n_train_data", "data_offset")
    with pytest.raises(InputError, match="49 rows left for testing") as caught:
        split_rows(table, None, offset=0, n_train=50, n_dev=1, n_test=50)
    assert caught.value.keys == ("n_test_data",)
    with pytest.raises(InputError, match="no rows left for the dev split") as caught:
        split_rows(table, None, offset=0, n_train=100, n_dev=1, n_test=0)
    assert caught.value.keys == ("n_train_data", "n_dev_data")


def test_splits_with_tables_of_their_own() -> None:
    train, dev, test = made(["a", "b"], "1"), made(["c", "B ", "d"], "2"), made(["e", "D", "a"])
    splits = split_rows(train, test, dev=dev, offset=0, n_train=ALL, n_dev=ALL, n_test=ALL)
    assert [[row.question for row in rows] for rows in splits.named().values()] == [
        ["a", "b"], ["c", "d"], ["e"],
    ]  # fmt: skip
    assert repeated(dev.examples, splits, "dev") == 1
    assert repeated(test.examples, splits, "test") == 2
    with pytest.raises(InputError, match=r"1 rows left for testing .* 2 were asked for"):
        split_rows(train, test, dev=dev, offset=0, n_train=ALL, n_dev=ALL, n_test=2)
    with pytest.raises(InputError, match="0 rows left for testing"):
        split_rows(train, train, dev=dev, offset=0, n_train=ALL, n_dev=1, n_test=ALL)
    with pytest.raises(InputError, match="2 rows, but 1 training rows from row 2"):
        split_rows(train, test, dev=dev, offset=2, n_train=ALL, n_dev=ALL, n_test=ALL)


def test_a_question_that_comes_again_costs_dev_a_row_and_not_test() -> None:
    questions = ["a", "b", "c", "d", "e", "f", "C ", "g", "h", "i"]
    splits = split_rows(made(questions), None, offset=0, n_train=2, n_dev=3, n_test=5)
    assert len(splits.test) == 5 and len(splits.dev) == 2
    assert not {e.question for e in splits.dev} & {e.question for e in splits.test}
