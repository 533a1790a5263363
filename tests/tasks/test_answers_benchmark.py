"""The benchmark reads outputs files and knows the other readings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.readings import (
    Answer,
    disagreements,
    harness_flexible,
    harness_strict,
    read_answers,
    shares,
)
from prompt_optimization.errors import InputError
from prompt_optimization.tasks.answers import flexible_match, strict_match

READERS = {
    "strict": lambda text, reference, _: strict_match(text, reference),
    "flexible": lambda text, reference, _: flexible_match(text, reference),
    "harness": harness_flexible,
}


@pytest.mark.parametrize(
    ("text", "reference", "strict", "flexible"),
    [
        ("1,200 apples", "1200", True, True),
        ("15 * 5 = 75", "15", True, False),
        ("15 * 5 = 75.", "75", False, True),
        ("(A), not (B)", "A", False, False),
        ("(B).", "B", True, True),
        ("B.", "B", True, False),
        ("True or False", "False", False, True),
        ("Yes.", "Yes", True, True),
        ("a b c.", "a b c", True, False),
        ("a b c", "a b c", False, True),
        ("", "1", False, False),
    ],
)
def test_the_harness_filters(text: str, reference: str, strict: bool, flexible: bool) -> None:
    assert harness_strict(text, reference) is strict
    assert harness_flexible(text, reference) is flexible


@pytest.mark.parametrize(
    ("text", "reference", "question", "right"),
    [
        ("fern plant, as said", "B", "Which?\nOptions:\n(A) basil plant\n(B) fern plant", True),
        ("(A) or the fern plant", "B", "Which?\nOptions:\n(A) basil\n(B) fern plant", False),
        ("the list: melon ant. It is ant, melon", "ant melon", "Sort. List: melon ant", True),
        ("ant", "ant melon", "Sort. List: melon ant", False),
        ("so ( is closed by ) ]", ") ]", "", True),
        ("so it is ) ] )", ") ]", "", False),
    ],
)
def test_the_filters_that_know_the_question(
    text: str, reference: str, question: str, right: bool
) -> None:
    assert harness_flexible(text, reference, question) is right


def write(path: Path, **changes: object) -> None:
    record = {
        "task": "t",
        "question": "How many?",
        "answer": "15 * 5 = 75",
        "reference": "15",
        "strict": True,
        "flexible": True,
        "teacher_forced": True,
    }
    path.write_text(json.dumps(record | changes) + "\n")


def test_answers_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    write(tmp_path / "a.outputs.jsonl")
    write(tmp_path / "below" / "b.outputs.jsonl", answer="75", reference="75")
    one, other = read_answers(tmp_path, READERS)
    assert one.verdicts["recorded strict"] and not one.verdicts["strict"]
    assert other.verdicts["harness"] and other.verdicts["flexible"]
    assert shares([one, other]).row_count == 2
    assert disagreements([one, other], "recorded strict", 5).row_count == 1
    assert disagreements([one, other], "strict", 5).row_count == 0


def test_shapes_put_like_answers_together() -> None:
    shapes = {Answer("t", text, "5", {}).shape for text in ("3 * 7 = 21 pears", "4 * 8 = 32 figs")}
    assert len(shapes) == 1


def test_a_folder_without_outputs_and_a_file_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no"):
        read_answers(tmp_path, READERS)
    (tmp_path / "x.outputs.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"line 1 of .* is no output"):
        read_answers(tmp_path, READERS)
