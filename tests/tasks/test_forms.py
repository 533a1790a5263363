"""The form of the answers decides what asks for them."""

from __future__ import annotations

import pytest

from prompt_optimization.tasks.forms import form_of
from prompt_optimization.tasks.registry import STYLES, TASKS
from prompt_optimization.tasks.table import Example


@pytest.mark.parametrize(
    ("answers", "name", "ending"),
    [
        ("3 -4 +12", "integer", "is $"),
        ("3 0.5 -.25", "number", "is $"),
        ("A C B", "letter", "is $"),
        ("yes no", "labels", "exactly $ yes or $ no) is $ "),
        ("False True", "labels", "exactly $ True or $ False) is $ "),
        ("red green blue " * 3, "labels", "exactly $ blue or $ green or $ red) is $ "),
        ("red green blue", "phrase", "is $ "),
        ("yes yes", "phrase", "is $ "),
        ("12% $5 3/4", "phrase", "is $ "),
        (") ] }", "brackets", "is $ "),
    ],
)
def test_the_form_of_answers(answers: str, name: str, ending: str) -> None:
    form = form_of([Example(f"{i}?", a, i) for i, a in enumerate(answers.split())])
    assert form.name == name
    assert form.extractor("dollar").endswith(ending)
    assert form.extractor("stars").endswith("**")


def test_texts_are_asked_for_by_nothing() -> None:
    text = "It is a long story, and it has more words than an answer should."
    form = form_of([Example("Why?", text, 0)])
    assert form.name == "text" and {form.extractor(style) for style in STYLES} == {""}


def test_a_form_asks_as_the_tasks_of_the_papers_do() -> None:
    for name, answers in (("navigate", "Yes No"), ("multistep_arithmetic_two", "-3 12")):
        examples = [Example(f"{i}?", a, i) for i, a in enumerate(answers.split())]
        assert form_of(examples).extractor("dollar") == TASKS[name].extractor("dollar")
