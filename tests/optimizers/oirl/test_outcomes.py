"""Tables of outcomes: every count is kept, no question shared, and logs of others are read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.oirl.importing import of_pairs
from prompt_optimization.optimizers.oirl.outcomes import (
    Outcomes,
    both_sides,
    check_table,
    read_outcomes,
)
from prompt_optimization.optimizers.oirl.prompts import HELD_OUT, POOL, TRAINING
from prompt_optimization.optimizers.oirl.released import of_released, read_asked
from prompt_optimization.optimizers.oirl.settings import OirlSettings
from prompt_optimization.optimizers.oirl.split import parts_of

TEXTS = ("How many?", "how many?", "How  many?", "Which one?", "Who was it?", "Where to?")


def table_of(questions: tuple[str, ...], right: Any, draws: Any = None, **others: Any) -> Outcomes:
    right = np.array(right, float)
    prompts = tuple(f" prompt {number}" for number in range(right.shape[1]))
    return Outcomes(
        questions,
        ("",) * len(questions),
        prompts,
        prompts,
        **{
            "heldout": np.zeros(len(prompts), bool),
            "test": np.zeros(len(questions), bool),
            "right": right,
            "draws": np.ones_like(right, np.int64) if draws is None else np.array(draws),
        }
        | {name: np.array(value) for name, value in others.items()},
    )


@st.composite
def tables(draw: st.DrawFn) -> Outcomes:
    questions = tuple(draw(st.lists(st.sampled_from(TEXTS), min_size=3, max_size=12)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    draws = rng.integers(0, 4, (len(questions), 3))
    test = rng.random(len(questions)) < 0.4
    return table_of(questions, rng.integers(0, draws + 1), draws, test=test)


@given(tables())
def test_a_table_is_read_as_it_was_written(table: Outcomes) -> None:
    data = table.to_bytes()
    assert data == table.to_bytes()
    again = Outcomes.of_bytes(data)
    assert again.to_bytes() == data and again.questions == table.questions
    assert np.array_equal(again.draws, table.draws) and np.array_equal(again.test, table.test)


@given(tables())
def test_merging_loses_no_answer_and_leaves_every_question_once(table: Outcomes) -> None:
    merged = table.merged()
    assert merged.repeats == 0 and {*merged.keys} == {*table.keys}
    assert len(merged.questions) == len(table.questions) - table.repeats
    assert np.array_equal(merged.draws.sum(0), table.draws.sum(0))
    assert np.array_equal(merged.right.sum(0), table.right.sum(0))
    # What somebody has trained on is no test question.
    trained = {key for key, test in zip(table.keys, table.test, strict=True) if not test}
    assert [key not in trained for key in merged.keys] == merged.test.tolist()


@given(tables(), st.integers(0, 9), st.floats(0, 0.9), st.floats(0, 0.9))
def test_a_split_by_question_shares_none(
    table: Outcomes, seed: int, test: float, validation: float
) -> None:
    own = OirlSettings.default(test_share=test, validation=validation)
    parts = parts_of(table, own, seed)
    rows = [*parts.fit, *parts.validation, *parts.test]
    assert sorted(rows) == [*range(len(parts.table.questions))]
    assert parts.repeated == 0 and len(parts.fit)
    sets = [{parts.table.keys[row] for row in some} for some in (parts.fit, parts.test)]
    assert sets[0].isdisjoint(sets[1])
    assert parts.own_test == table.test.sum()
    assert parts.own_repeated == len(both_sides(table, table.test))


def test_a_question_on_both_sides_is_refused_unless_it_was_published() -> None:
    questions = ("One?", "Two?", "Three?", " one?")
    table = table_of(questions, [[0, 1]] * 4, test=[False, False, False, True])
    with pytest.raises(InputError, match=r"of 1 test rows.*row 3 and row 0: ' one\?'") as caught:
        parts_of(table, OirlSettings.default(split="table"), 0)
    assert caught.value.keys == ("oirl.split", "oirl.behaviour")
    parts = parts_of(table, OirlSettings.default(behaviour="published"), 0)
    assert parts.repeated == 1 and parts.test.tolist() == [3]
    # The last of the training rows validate; nothing is drawn.
    assert parts.fit.tolist() == [0, 1] and parts.validation.tolist() == [2]


def test_the_last_rows_of_a_table_without_marks_measure() -> None:
    table = table_of(tuple(f"{n}?" for n in range(10)), [[0, 1]] * 10)
    parts = parts_of(table, OirlSettings.default(split="table"), 0)
    assert parts.test.tolist() == [7, 8, 9] and len(parts.validation) == 1


@pytest.mark.parametrize(
    ("right", "heldout", "message"),
    [
        ([[0], [1]], [False], "the table has 1 prompt"),
        ([[0, 0], [0, 0]], [False, False], "every one of 4 answers is wrong"),
        ([[1, 1], [1, 1]], [False, False], "every one of 4 answers is right"),
        ([[1, 0], [1, 1]], [False, True], "every one of 2 answers is right"),
        ([[0.5, 0.5], [0.5, 0.5]], [False, False], "is worth the same"),
        ([[1, 0], [1, 1]], [True, True], "no outcome to learn from"),
    ],
)
def test_tables_that_teach_nothing(right: Any, heldout: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_table(table_of(("One?", "Two?"), right, heldout=heldout))


def test_files_that_are_no_table(tmp_path: Path) -> None:
    good = table_of(("One?", "Two?"), [[0, 1], [1, 1]]).to_bytes()
    path = tmp_path / "table.npz"
    for data in (b"", b"{}", good[:-40], good[: len(good) // 2]):
        path.write_bytes(data)
        with pytest.raises(InputError, match="is no table of outcomes"):
            read_outcomes(path, "oirl.table")
    with pytest.raises(InputError, match="does not exist"):
        read_outcomes(tmp_path / "none.npz", "oirl.table")
    # More right answers than answers, and an array that would have to be unpickled.
    for right in (np.full((2, 2), 2.0), np.array([[0, 1], [None, 1]], object)):
        texts = np.frombuffer(b'{"format": 1}', np.uint8)
        np.savez(path, right=right, texts=texts)
        with pytest.raises(InputError, match="is no table of outcomes"):
            read_outcomes(path, "oirl.table")


def released(folder: Path) -> tuple[Path, Path, dict[str, np.ndarray]]:
    """Labels and questions in the release's form: 10 training rows and 6 of test, repeated."""
    rng = np.random.default_rng(0)
    bits = {
        part: rng.integers(0, 2, shape).astype(np.uint8)
        for part, shape in (("tr", (6, 10)), ("te", (6, 6)), ("ho", (10, 6)))
    }
    labels, questions = folder / "labels.npz", folder / "some.json.gz"
    np.savez(labels, **{f"some_{part}": np.packbits(each, axis=1) for part, each in bits.items()})
    content = {
        "questions": [f"Number {n}?" for n in range(12)],
        "answers": [str(n) for n in range(12)],
        "rows": [*range(10), 10, 11, 0, 1, 2, 3],
        "train": 10,
    }
    questions.write_bytes(gzip.compress(json.dumps(content).encode()))
    return labels, questions, bits


def test_released_labels(tmp_path: Path) -> None:
    labels, questions, bits = released(tmp_path)
    table = of_released(labels, "", read_asked([questions]))
    assert table.names == tuple(POOL) and table.heldout.sum() == len(HELD_OUT)
    assert np.array_equal(table.right[:10, :6], bits["tr"].T)
    assert np.array_equal(table.right[10:], np.concatenate([bits["te"], bits["ho"]]).T)
    assert not table.draws[:10, 6:].any() and table.draws[10:].all()
    assert len(both_sides(table, table.test)) == 4 and table.test.sum() == 6
    assert table.questions[12] == table.questions[0] and table.answers[12] == "0"
    # The questions as two task files, the second longer than the part that was asked.
    files = [tmp_path / name for name in ("train.jsonl", "test.jsonl")]
    for path, start, count in ((files[0], 0, 10), (files[1], 20, 9)):
        rows = [{"question": f"Number {n}?", "answer": n} for n in range(start, start + count)]
        path.write_text("\n".join(map(json.dumps, rows)))
    other = of_released(labels, "some", read_asked(files))
    assert other.questions[:10] == table.questions[:10] and len(other.questions) == 18
    assert np.array_equal(other.right[:10], table.right[:10])


def test_released_labels_that_do_not_fit(tmp_path: Path) -> None:
    labels, questions, _ = released(tmp_path)
    asked = read_asked([questions])
    with pytest.raises(InputError, match="has labels of some and not of 'other'"):
        of_released(labels, "other", asked)
    with pytest.raises(InputError, match="does not exist"):
        of_released(tmp_path / "none", "some", asked)
    with pytest.raises(InputError, match="holds no released labels"):
        of_released(questions, "some", asked)
    short = tmp_path / "short.json"
    short.write_text(json.dumps({"questions": ["a"], "answers": ["b"], "rows": [0], "train": 1}))
    with pytest.raises(InputError, match=r"have the shape \(6, 2\), and 6 prompts on 1 questions"):
        of_released(labels, "some", read_asked([short]))
    for files in ([], [questions] * 3):
        with pytest.raises(InputError, match="give one with both parts, or two"):
            read_asked(files)
    with pytest.raises(InputError, match="does not hold questions, answers"):
        read_asked([labels])


def test_pairs_add_up(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(
        "question,prompt,right,draws,answer,split,heldout\n"
        "One?,think,true,,1,train,\n"
        "One?, think ,0.5,2,,,\n"
        "Two?,think,False,,2,test,no\n"
        f"Two?,{TRAINING['plain']},1,3,,,yes\n"
    )
    table = of_pairs(path)
    assert table.questions == ("One?", "Two?") and table.answers == ("1", "2")
    assert table.prompts == (" think", f" {TRAINING['plain']}")
    assert table.names == ("think", "plain")
    assert table.right.tolist() == [[2, 0], [0, 3]] and table.draws.tolist() == [[3, 0], [1, 3]]
    assert table.test.tolist() == [False, True] and table.heldout.tolist() == [False, True]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "One?", "prompt": "p"}, "has no column 'right'"),
        ({"question": "One?", "prompt": "p", "right": "maybe"}, "'right' of row 0 .*'maybe'"),
        ({"question": "One?", "prompt": "p", "right": 2}, "is 2; write true or false"),
        ({"question": "", "prompt": "p", "right": 1}, "'question' of row 0 .* is empty"),
        ({"question": "One?", "prompt": "p", "right": 1, "draws": 0}, "write a whole number"),
        ({"question": "One?", "prompt": "p", "right": 1, "split": "dev"}, "write train or test"),
    ],
)
def test_pairs_that_cannot_be_used(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(InputError, match=message) as caught:
        of_pairs(path)
    assert caught.value.keys == ("pairs",)
