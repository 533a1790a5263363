"""Runs by another metric than the strict one: graded, weighted, in groups, without an extractor."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from prompt_optimization.errors import InputError
from prompt_optimization.report.measured import read_results
from prompt_optimization.report.tables import all_tables
from prompt_optimization.runs.config import all_keys
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.evaluate import evaluate
from prompt_optimization.runs.evaluation_jobs import Request
from prompt_optimization.runs.store.log import read_log
from prompt_optimization.scoring.statistics import mean_value
from prompt_optimization.tasks.metrics.overlap import F1
from tests.conftest import QUESTIONS
from tests.runs.harness import carry_out, without_times

PROMPTS = (" count the apples.", " think step by step and add.")


@pytest.fixture
def rows_file(tmp_path: Path) -> Callable[..., Path]:
    """``rows_file(**columns)``: 24 rows, with what ``columns`` make of each row's number."""

    def make(**columns: Callable[[int], Any]) -> Path:
        path = tmp_path / "mine.jsonl"
        with path.open("w") as file:
            for number in range(24):
                question, answer = QUESTIONS[number % len(QUESTIONS)]
                row = {"question": f"Question {number}. {question}", "answer": answer}
                row |= {name: make(number) for name, make in columns.items()}
                file.write(json.dumps(row) + "\n")
        return path

    return make


@pytest.fixture
def flags(small_run: dict[str, Any], rows_file: Callable[..., Path], tmp_path: Path) -> Any:
    return small_run | {
        "train_data": rows_file(
            answer=lambda n: [f"answer {n}", "no add give the", "careful does"],
            weight=lambda n: 1 + n % 3,
            group=lambda n: "odd" if n % 2 else "even",
        ),
        "method": "best_of_n",
        "best_of_n.prompts": PROMPTS,
        "objective": "answers",
        "metric": "f1",
        "n_dev_data": 6,
        "n_test_data": 8,
        "max_new_tokens": 5,
        "answer_tokens": 6,
        "result_prefix": tmp_path / "results" / "run",
    }


def only_log(flags: dict[str, Any]) -> dict[str, Any]:
    prefix = Path(flags["result_prefix"])
    (path,) = prefix.parent.glob(f"{prefix.name}_*.json")
    return read_log(path)


def scored(flags: dict[str, Any], prefix: Path, **request: Any) -> tuple[dict[str, Any], str]:
    """What the evaluate command finds and shows."""
    given = {"model_paths", "devices", "dtype", "max_new_tokens", "answer_tokens"}
    values = {name: each.default for name, each in all_keys().items()}
    values |= {name: flags[name] for name in given} | {"result_prefix": str(prefix)}
    values |= {name: (str(flags[name]),) for name in ("model_paths", "devices")}
    display = Display(console=Console(file=io.StringIO(), width=250))
    report = evaluate(values, set(), Request(**request), display)
    display.results(report["results"], prefix)
    return report, display.console.file.getvalue()  # type: ignore[attr-defined]


def outputs_of(prefix: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(f"{prefix}.outputs.jsonl").read_text().splitlines()]


def test_a_graded_metric_with_weights_and_groups_from_search_to_report(
    flags: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = carry_out(flags).data
    shown = capsys.readouterr().out
    initial = log["initial"]
    assert initial["objective"] == pytest.approx(initial["wrong_answers"] + 0.02 * initial["nll"])
    test = log["evaluation"]["test"]
    rows = log["environment"]["rows"]["test"]
    for record in (test["initial"], test["best"]):
        assert record["metric"] == "f1" and isinstance(record["hits"]["strict"], str)
        assert record["weights"] == [1 + n % 3 for n in rows]
        values = [float(hit) for hit in record["hits"]["f1"]]
        expected = mean_value(values, record["weights"], graded=True)
        assert record["f1"]["value"] == pytest.approx(expected.value)
        assert {name: each["f1"]["n"] for name, each in record["by_group"].items()} == {
            name: record["groups"].count(name) for name in ("even", "odd")
        }
    assert any(0 < value < 1 for value in values)
    assert "the same by group, f1" in shown and "even" in shown
    on_dev = [log["evaluation"]["dev"]["initial"], *log["evaluation"]["dev"]["best"]]
    assert (
        log["evaluation"]["chosen"]
        == max(on_dev, key=lambda r: (r["f1"]["value"], -r["loss"]))["prompt"]
    )

    # The log brings its metric along; what it measured is found again.
    prefix = tmp_path / "results" / "again"
    report, seen = scored(flags, prefix, logs=(tmp_path / "results" / "run",))
    (result,) = report["results"]
    for name in ("f1", "hits", "weights", "groups", "by_group"):
        assert result[name] == json.loads(json.dumps(test["best"][name]))
    assert "test, odd" in seen and "f1" in seen
    outputs = outputs_of(prefix)
    assert all(
        float(hit) == F1.function(row["answer"], row["references"])
        for hit, row in zip(result["hits"]["f1"], outputs, strict=True)
    )

    results = read_results(tmp_path / "results")
    assert {m.title for m in results.measurements} >= {
        "initial prompt (metric=f1)", "best_of_n (metric=f1)"
    }  # fmt: skip
    tables = {table.title: table.data for table in all_tables(results)}
    assert set(tables["Accuracy by group"]["group"]) == {"even", "odd"}
    by_task = tables["Accuracy by task"]
    assert 100 * test["best"]["f1"]["value"] == pytest.approx(
        by_task[by_task["prompt"] == "best_of_n (metric=f1)"]["measured"].item()
    )
    assert len(read_results(tmp_path / "results", "flexible").measurements) == len(
        results.measurements
    )
    assert not read_results(tmp_path / "results", "rouge_l").measurements


def test_without_an_extractor_the_reasoning_is_the_answer(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    free = flags | {"extractor_text": "", "method": "random", "n_steps": 2, "resume": "auto"}
    log = carry_out(free).data
    assert log["params"]["extractor_text"] == "" and log["initial"]["loss"] is None
    assert log["initial"]["mistakes"] == log["initial"]["wrong_answers"]
    test = log["evaluation"]["test"]
    assert set(test["best"]["hits"]) == {"strict", "flexible", "f1"} == set(test["difference"])
    assert test["best"]["loss"] is None
    prefix = tmp_path / "results" / "again"
    report, _ = scored(flags, prefix, logs=(tmp_path / "results" / "run",))
    assert report["results"][0]["hits"] == json.loads(json.dumps(test["best"]["hits"]))
    outputs = outputs_of(prefix)
    assert all(row["answer"] == row["reasoning"] for row in outputs)
    assert {row["loss"] for row in outputs} == {row["teacher_forced"] for row in outputs} == {None}
    assert read_results(tmp_path / "results").measurements
    assert not read_results(tmp_path / "results", "teacher_forced").measurements
    whole = without_times(log)
    assert (
        without_times(carry_out(free | {"result_prefix": tmp_path / "twice" / "run"}).data) == whole
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"extractor_text": "", "objective": "loss"}, "objective 'loss' forces the answer"),
        ({"extractor_text": "", "method": "greater"}, "method 'greater' differentiates"),
        (
            {"extractor_text": "", "method": "hybrid", "hybrid.screen": "likelihood_ratio"},
            "screen=likelihood_ratio compares prompts .* there is none",
        ),
        ({"extractor_text": "", "metric": "strict"}, "no extractor; .* 'strict' needs"),
        ({"metric": "choice"}, r"answer 'answer 0' of row 0 is not the letter .* 'choice'"),
        ({"metric": "number"}, "answer 'answer 0' of row 0 is not a number"),
        ({"metric": "rogue_l"}, "'rogue_l' is unknown; choose one of strict, "),
        ({"metric": "regex", "task.pattern": "(a"}, r"'\(a' is no regular expression"),
        ({"metric": "regex"}, "pattern '' matches the empty text"),
        ({"metric": "json_field", "task.field": "a..b"}, r"field 'a\.\.b' names nothing"),
        ({"metric": "number", "task.tolerance": -1.0}, r"-1\.0 is too small"),
        ({"metric": "regex", "task.pattern": "<<(.*)>>"}, r"'regex' finds nothing .* on row 0"),
        ({"metric": "json_field", "task.field": "a"}, r"'json_field' finds nothing .* on row 0"),
    ],
)
def test_refused(flags: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        carry_out(flags | changes)
