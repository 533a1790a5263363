"""Reference answers out of solutions, decimals and letters in brackets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.examples import Source, Table, read_table
from prompt_optimization.tasks.open import read_task
from prompt_optimization.tasks.references import reference_answers
from prompt_optimization.tasks.settings import TaskSettings

SOURCE = Source("'a.csv'")
SOLUTION = "Tom begins with 2 and gets 1, so 2+1 = <<2+1=3>>3 apples."


def one_a_row(cells: Sequence[str]) -> tuple[list[str], list[str]]:
    """The references and notes of a column with one answer a row."""
    found, notes = reference_answers([[cell] for cell in cells], SOURCE)
    return [reference for (reference,) in found], notes


def references(*cells: str) -> list[str]:
    return one_a_row(cells)[0]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([f"{SOLUTION}\n#### 3", "#### 4 is not it.\n####1,234,567"], ["3", "1234567"]),
        ([f"{SOLUTION} #### C#"], ["C#"]),
        ([r"So \boxed{3}, or \boxed{\frac{1}{2}}.", r"\boxed{(A)}"], [r"\frac{1}{2}", "A"]),
        (["Not 4. The answer is 3.", "**Answer: 12**", "Final answer is: (B)."], ["3", "12", "B"]),
        (["<think>2+1</think><answer> 3 </answer>", "<answer>Yes</answer>\n"], ["3", "Yes"]),
    ],
)
def test_marked_answers(cells: list[str], expected: list[str]) -> None:
    found, (note,) = one_a_row(cells)
    assert found == expected
    assert "'a.csv' are taken from their mark '" in note and repr(found[0]) in note


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1), st.booleans())
def test_every_solution_of_gsm8k_gives_its_number(numbers: list[int], grouped: bool) -> None:
    cells = [f"{SOLUTION}\n#### {number:{',' if grouped else ''}}" for number in numbers]
    assert references(*cells) == [str(number) for number in numbers]


@pytest.mark.parametrize("mark", ["#### 3", r"\boxed{3}", "<answer>3</answer>"])
def test_a_row_without_the_mark_of_the_others_is_named(mark: str) -> None:
    with pytest.raises(InputError, match=r"the answer of row 1 of 'a.csv' is '4', without the '"):
        one_a_row([f"{SOLUTION} {mark}", "4"])


def test_words_that_only_some_answers_hold_mark_nothing() -> None:
    cells = ["the answer is blowing", "a wind"]
    assert one_a_row(cells) == (cells, [])


def test_solutions_without_a_mark_are_said() -> None:
    found, notes = one_a_row([SOLUTION, SOLUTION, "3"])
    assert found == [SOLUTION, SOLUTION, "3"]
    (note,) = notes
    assert "look like whole solutions (row 0: 'Tom begins" in note and "final_answer" in note


def test_texts_are_no_solutions_where_shared_words_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"question": f"Is it {i}?", "answer": SOLUTION} for i in range(3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    for metric, said in (("strict", 1), ("rouge_l", 0)):
        notes: list[str] = []
        task = TaskSettings(
            train_data=str(path), metric=metric, n_train_data=1, n_dev_data=1, n_test_data=1
        )
        read_task(task, notes.append)
        assert sum("look like whole solutions" in note for note in notes) == said


def test_long_lists_are_no_solutions() -> None:
    words = "ant bee cat dog eel fox gnu hen ibis jay"
    assert one_a_row([words, "] ) } > ] ) } > ] )"])[1] == []


def of_rows(folder: Path, *rows: dict[str, object]) -> Table:
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return read_table(folder / "a.jsonl")


@pytest.mark.parametrize(
    ("row", "answer", "other"),
    [
        ({"answer": SOLUTION, "target": "3"}, "3", "answer"),
        ({"answer": f"{SOLUTION}\n#### 3", "final_target": 3}, "3", "answer"),
        ({"answer": "3 apples", "final_answer": "3"}, "3", "answer"),
        ({"answer": "3", "target": SOLUTION}, "3", "target"),
        ({"answer": "A", "final_target": "B"}, "A", "final_target"),
        ({"target": SOLUTION, "final_target": "3"}, "3", None),
        ({"target": "Unknown", "final_target": "Uncertain"}, "Uncertain", None),
        ({"answer": "3", "target": "3"}, "3", None),
    ],
)
def test_of_several_answer_columns_the_short_answers_count(
    tmp_path: Path, row: dict[str, object], answer: str, other: str | None
) -> None:
    table = of_rows(tmp_path, {"question": "a?", **row}, {"question": "b?", **row})
    assert [example.answer for example in table.examples] == [answer, answer]
    assert len(table.notes) == (other is not None)
    assert all(f"column '{other}' of" in note for note in table.notes)


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1), st.data())
def test_whole_numbers_written_as_decimals(numbers: list[int], data: st.DataObject) -> None:
    forms = [str, lambda number: f"{number}.0", lambda number: f"{number}.00"]
    cells = [data.draw(st.sampled_from(forms))(number) for number in numbers]
    found, notes = one_a_row(cells)
    assert found == [str(number) for number in numbers]
    assert len(notes) == any("." in cell for cell in cells)


@given(st.lists(st.decimals(-1000, 1000, places=2), min_size=1))
def test_other_decimals_stay(numbers: list[object]) -> None:
    cells = [*map(str, numbers), "0.5"]
    assert references(*cells) == cells


@pytest.mark.parametrize(
    ("cells", "expected", "said"),
    [
        (["3.0", "none", "1e+22"], ["3", "none", "1" + "0" * 22], "'3.0' (row 0 of 'a.csv') are"),
        (["2.5", "3.0"], ["2.5", "3.0"], "write 3 where that is meant"),
        (["-0.0", "7"], ["0", "7"], "read as 0"),
        (["1e+999999999"], ["1e+999999999"], None),
        (["1.2.3", "1.0.0"], ["1.2.3", "1.0.0"], None),
        (["007", "010"], ["007", "010"], None),
        (["4", "nan"], ["4", "nan"], "row 1 of 'a.csv' is 'nan'"),
        (["None", "NA"], ["None", "NA"], None),
    ],
)
def test_numbers_and_empty_cells_of_table_programs(
    cells: list[str], expected: list[str], said: str | None
) -> None:
    found, notes = one_a_row(cells)
    assert found == expected
    assert (said is None) == (not notes) and all(said in note for note in notes if said)


def test_letters_in_brackets() -> None:
    cells = ["(A)", "(b)", "(AB)", "( A )", "B", "()", "(A) or (B)"]
    assert references(*cells) == ["A", *cells[1:]]


def test_a_row_may_have_several_references(tmp_path: Path) -> None:
    """As a list, or in numbered columns; each is put right as a single one is."""
    table = of_rows(
        tmp_path,
        {"question": "a?", "answer": [3.0, "(A)", "3"]},
        {"question": "b?", "answer": "5.0", "answer_10": "ten", "answer_2": 2},
        {"question": "c?", "answer": "1", "answer_2": None},
    )
    assert [example.references for example in table.examples] == [
        ("3", "A"), ("5", "2", "ten"), ("1",)
    ]  # fmt: skip
    assert [example.content for example in table.examples][1:] == [
        ["b?", ["5", "2", "ten"]], ["c?", "1"]
    ]  # fmt: skip
    (tmp_path / "a.csv").write_text("question,target,target_2\na?,Paris,City of Paris\nb?,Rome,\n")
    (one, other) = read_table(tmp_path / "a.csv").examples
    assert one.references == ("Paris", "City of Paris") and other.references == ("Rome",)


def test_marks_and_conflicts_are_looked_for_in_every_reference(tmp_path: Path) -> None:
    marked = {"question": "a?", "answer": ["So #### 3", "Or #### 1,234"]}
    assert of_rows(tmp_path, marked).examples[0].references == ("3", "1234")
    with pytest.raises(InputError, match=r"answer of row 1 .* '5', without the '####'"):
        of_rows(tmp_path, marked, {"question": "b?", "answer": ["#### 4", "5"]})
    rows = [{"question": "a?", "answer": ["x", "y"]}, {"question": "a?", "answer": "y"}]
    assert not of_rows(tmp_path, *rows).notes
    assert "asks the same" in of_rows(tmp_path, rows[0], rows[1] | {"answer": "z"}).notes[0]


def test_weights_and_groups(tmp_path: Path) -> None:
    rows = [
        {"question": "a?", "answer": "x", "weight": 2, "group": "north"},
        {"question": "b?", "answer": "y", "weight": "0.5", "group": 7},
    ]
    table = of_rows(tmp_path, *rows)
    assert [(each.weight, each.group) for each in table.examples] == [(2, "north"), (0.5, "7")]
    assert table.examples[0].content == ["a?", "x", {"weight": 2, "group": "north"}]
    assert "'weight'" in table.notes[0] and "'group'" in table.notes[1]
    assert of_rows(tmp_path, rows[0], rows[1] | {"weight": None}).examples[1].weight == 1
    for weight, words in ((0, "is '0', not a number from 1e-06"), ("kg", "'kg'")):
        with pytest.raises(InputError, match=f"'weight' of row 1 .*{words}"):
            of_rows(tmp_path, rows[0], rows[1] | {"weight": weight})
    with pytest.raises(InputError, match=r"'group' of row 1 .* is None; fill it in"):
        of_rows(tmp_path, rows[0], {"question": "c?", "answer": "x", "weight": 1})
