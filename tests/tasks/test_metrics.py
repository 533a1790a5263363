"""What each metric finds right, what all of them keep, and what a broken one is told."""

from __future__ import annotations

import math as mathematics
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.answers import flexible_match, strict_match
from prompt_optimization.tasks.metrics.metric import Metric
from prompt_optimization.tasks.metrics.registry import METRICS, Options, own_metric
from prompt_optimization.tasks.table import Example

OPTIONS = Options(pattern=r"Answer: *(\S+)", tolerance=0.01, field="result.0.answer")
MADE = {name: make(OPTIONS) for name, make in METRICS.items()}


def value(metric: Metric, text: str, *references: str) -> float:
    answer, *others = references
    return metric.value(text, Example("Why?", answer, 3, tuple(others)))


@pytest.mark.parametrize(
    ("name", "text", "reference", "expected"),
    [
        ("choice", "(B) because it is", "B", 1),
        ("choice", "b", "B", 1),
        ("choice", "A or B", "B", 0),
        ("choice", "none of them", "all of them", 0),
        ("number", "about 3.149 metres", "3.14", 1),
        ("number", "3.16", "3.14", 0),
        ("number", "none", "3.14", 0),
        ("contains", "It is the  EIFFEL\ntower.", "Eiffel Tower", 1),
        ("contains", "concatenate", "cat", 0),
        ("contains", "It is 12.5", "12", 0),
        ("contains", "It is 1,250", "250", 0),
        ("contains", "It is -5", "5", 0),
        ("contains", "It is -5.", "-5", 1),
        ("contains", "It costs $5, no more", "5", 1),
        ("contains", "from 1990 to 1995", "1990 to 1995", 1),
        ("contains", "12.5 or 12", "12", 1),
        ("contains", "concatenate a cat", "cat", 1),
        ("regex", "Answer: 3, no, Answer: 12.", "12", 1),
        ("regex", "Answer: 12, no, Answer: 3", "12", 0),
        ("regex", "12", "12", 0),
        ("json_field", '{"result": [{"answer": 12.0}]}', "12", 1),
        ("json_field", 'So:\n```json\n{"result": [{"answer": "yes"}]}\n```\nDone [1].', "Yes", 1),
        ("json_field", 'I say {"result": [{"answer": true}]} and {"b": 1}.', "True", 1),
        ("json_field", '{"result": [{"answer": [1, {"a": 2}]}]}', '[1, {"a": 2}]', 1),
        ("json_field", '{"result": [{"answer": null}]}', "None", 0),
        ("json_field", '{"result": []}', "12", 0),
        ("json_field", "[" * 100_000, "12", 0),
        ("f1", "The cat sat.", "a cat, sat down", 0.8),
        ("f1", "", "cat", 0),
        ("f1", "", "the", 0),
        ("rouge_l", "the cat sat", "cat sat down", 2 / 3),
        ("rouge_l", "sat cat", "cat sat", 0.5),
        ("math", r"\frac{1}{2}$.", "0.5", 1),
        ("math", r"So 3, hence \boxed{\frac{3}{4}}.", "3/4", 1),
        ("math", "50%", r"\frac{1}{2}", 1),
        ("math", "50", "50%", 0),
        ("math", "5/3", "1 2/3", 1),
        ("math", "(1, 2)", "(1,2)", 1),
        ("math", r"2\pi", r"\pi + \pi", 1),
        ("math", "2", r"2\pi", 0),
        ("math", "12$. Then $13$ follows", "12", 1),
        ("math", "0.333", "1/3", 0),
        ("math", "no idea", "12", 0),
    ],
)
def test_values(name: str, text: str, reference: str, expected: float) -> None:
    assert value(MADE[name], text, reference) == pytest.approx(expected)
    assert value(MADE[name], text, "17", reference) >= value(MADE[name], text, reference)


texts = st.text(st.sampled_from("ab1.,-$ {}[]\"':\\\n()%/"), max_size=20)


@pytest.mark.parametrize("name", METRICS)
@given(text=texts, references=st.lists(texts, min_size=1, max_size=3))
def test_the_best_reference_counts(name: str, text: str, references: list[str]) -> None:
    found = value(MADE[name], text, *references)
    assert 0 <= found <= 1
    assert found == max(value(MADE[name], text, reference) for reference in references)
    if name in ("strict", "flexible"):
        match = strict_match if name == "strict" else flexible_match
        assert found == any(match(text, reference) for reference in references)


def test_all_references_may_count() -> None:
    mean = METRICS["rouge_l"](Options(over_references="mean"))
    assert value(mean, "the cat sat", "the cat sat", "cat sat down", "no") == pytest.approx(5 / 9)
    assert value(MADE["rouge_l"], "the cat sat", "no", "cat sat down") == pytest.approx(2 / 3)


@given(st.lists(st.sampled_from("cat dog 12 runs Paris".split()), min_size=1, max_size=6))
def test_who_writes_the_reference_is_right(words: list[str]) -> None:
    reference = " ".join(words)
    for name in ("contains", "f1", "rouge_l"):
        assert value(MADE[name], reference, reference) == 1


def test_one_reference_that_can_be_read_is_enough() -> None:
    for name, readable in (("number", "2"), ("math", "2"), ("choice", "B"), ("rouge_l", "two")):
        MADE[name].check([Example("Why?", "два", 3, (readable,))])
        with pytest.raises(InputError, match=f"the answer 'два' of row 3 .* '{name}' needs"):
            MADE[name].check([Example("Why?", readable, 2), Example("Why?", "два", 3)])
    with pytest.raises(InputError, match="the answer 'A' of row 3 has no word besides articles"):
        MADE["f1"].check([Example("Why?", "A", 3)])


def test_mathematics_outside_the_main_thread() -> None:
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.append(value(MADE["math"], "1/2", "0.50")))
    thread.start()
    thread.join()
    assert found == [1]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (mathematics.nan, "gave nan on row 3 for the text 'a text'; let it return a num"),
        (1.5, "gave 1.5 on row 3"),
        (-0.1, "gave -0.1 on row 3"),
        ("1", "gave '1' on row 3"),
        (None, "gave None on row 3"),
        (KeyError("a"), r"raised KeyError \('a'\) on row 3 for the text 'a text'"),
    ],
)
def test_a_function_that_gives_no_value_is_named_with_row_and_text(result: Any, words: str) -> None:
    def mine(text: str, references: Sequence[str]) -> float:
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[no-any-return]

    with pytest.raises(InputError, match=rf"the metric 'mine\(\)' {words}"):
        value(own_metric(mine), "a text", "12")


def test_what_is_almost_one_is_one() -> None:
    assert value(own_metric(lambda text, references: 0.1 * 3 + 0.7 + 1e-9), "", "a") == 1
