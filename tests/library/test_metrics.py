"""What an answer is worth, in the library: by name, or as a function of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from GReaTer import GreaterDataSet, InputError, OptimizeConfig
from tests.library.conftest import EXTRACTOR, entries


def letters(text: str, references: Sequence[str]) -> float:
    return sum(map(str.isalpha, text)) / max(1, len(text))


pytestmark = pytest.mark.filterwarnings("ignore:column '(weight|group)':UserWarning")


@pytest.fixture
def data() -> GreaterDataSet:
    rows = [
        entry | {"answer": [entry["answer"], "e"], "weight": 1 + n, "group": "ab"[n % 2]}
        for n, entry in enumerate(entries(4))
    ]
    return GreaterDataSet(custom_inputs=rows)


def test_a_function_of_ones_own(make_optimizer: Any, data: GreaterDataSet, tmp_path: Path) -> None:
    assert list(GreaterDataSet(custom_inputs=data)) == list(data)
    assert data[1]["answer"] == ["2", "e"] and (data[1]["weight"], data[1]["group"]) == (2, "b")
    optimizer = make_optimizer(metric=letters, objective="answers")
    test = GreaterDataSet(custom_inputs=[*(e | {"answer": ["e", "f"]} for e in entries(4, 10))])
    call = {"inputs": data, "p_extractor": EXTRACTOR, "rounds": 2, "test": test}
    outputs = optimizer.optimize(**call, resume=tmp_path)
    (initial,) = outputs.initial
    found = optimizer.evaluate(initial.text, data)
    values = [letters(row["answer"], row["references"]) for row in found.rows]
    weights = [1, 2, 3, 4]
    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / 10
    assert found.metric == "letters()" and 0 < mean < 1
    assert found.value.value == pytest.approx(mean)
    assert initial.objective == pytest.approx(1 - mean + 0.02 * initial.nll)
    assert [row["letters()"] for row in found.rows] == pytest.approx(values)
    assert found.by_group["b"].value.value == pytest.approx((2 * values[1] + 4 * values[3]) / 6)
    assert "by letters()" in str(found) and "letters()" in outputs.to_json()
    frame = outputs.to_dataframe()
    assert frame["test_value"][0] == pytest.approx(outputs.best_prompt.test.value.value)
    again = make_optimizer(metric=letters, objective="answers").optimize(**call, resume=tmp_path)
    assert again.best == outputs.best and len(again.history) == 2
    with pytest.raises(InputError, match=r"metric was 'letters\(\)' and is 'f1'"):
        make_optimizer(metric="f1", objective="answers").optimize(**call, resume=tmp_path)

    def other(text: str, references: Sequence[str]) -> float:
        return float(bool(text))

    other.__name__ = letters.__name__
    with pytest.raises(InputError, match="metric_values was "):
        make_optimizer(metric=other, objective="answers").optimize(**call, resume=tmp_path)


def test_without_an_extractor(make_optimizer: Any, data: GreaterDataSet) -> None:
    optimizer = make_optimizer(metric=letters, objective="answers", method="random")
    outputs = optimizer.optimize(data, "", rounds=1, test=[e for e in entries(3, 10)])
    assert outputs.best_prompt.loss is None and outputs.history[0].loss is None
    test = outputs.best_prompt.test
    assert all(row["answer"] == row["reasoning"] for row in test.rows)
    assert "teacher_forced" not in test.hits and "loss" in outputs.to_json()


@pytest.mark.parametrize(
    ("config", "extractor", "words"),
    [
        ({"metric": "rogue"}, EXTRACTOR, r"'rogue' is unknown; .* \(metric\)"),
        ({"metric": 5}, EXTRACTOR, r"5 is not a text"),
        ({"metric": "regex"}, EXTRACTOR, r"'' matches the empty text.* \(task.pattern\)"),
        ({"metric": letters}, "", r"'loss' forces the answer .* \(objective and p_extractor\)"),
        (
            {"metric": lambda text, references: 2, "objective": "answers"},
            EXTRACTOR,
            r"'<lambda>\(\)' gave 2 on row 0",
        ),
    ],
)
def test_refused(
    make_optimizer: Any, data: GreaterDataSet, config: dict[str, Any], extractor: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        make_optimizer(**config).optimize(data, extractor, rounds=1)


def test_a_name_is_checked_at_once() -> None:
    with pytest.raises(InputError, match="'rogue' is unknown; choose one of strict, flexible"):
        OptimizeConfig(metric="rogue")
