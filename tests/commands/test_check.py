"""A check says what a run would read, take and write, and refuses what the run would."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from absl.testing import flagsaver

from prompt_optimization.commands import check, optimize
from prompt_optimization.runs.check import Check, Expected, Measured, expected
from prompt_optimization.runs.check import check as check_run
from tests.runs import harness

Said = tuple[int, str, str]


@pytest.fixture
def flags(small_run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    few = {"n_dev_data": 6, "n_test_data": 6, "n_steps": 4, "max_new_tokens": 12}
    return {**small_run, **few, "result_prefix": "results/run"}


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], flags: Any) -> Callable[..., Said]:
    def called(command: Any, *more: str) -> Said:
        keys = [f"--config.{key}={value}" for key, value in flags.items()]
        with flagsaver.flagsaver():
            try:
                code = command.main(["--config=template", *keys, *more], "greater")
            except SystemExit as done:
                code = int(done.code or 0)
        return code, *capsys.readouterr()

    return called


def test_a_check_of_a_run_that_could_start(call: Any, tmp_path: Path) -> None:
    code, out, err = call(check)
    assert (code, err) == (0, "") and out.endswith("the run could start\n")
    sections = out[out.index("rows    '") :]
    assert all(len(line) <= 80 for line in sections.splitlines()[1:])
    for words in (
        "train: 6 rows from 0 to 5 of the train file",
        "30 rows are in no split",
        "question  | Question 0. Tom has 7 apples",
        "prompt    | proper logical reasoning and think step",
        "extractor |  Therefore, the final answer is $\n",
        "answer    | 12\n",
        "of the 512 of",
        "a step of greater: about ",
        "about 4 steps, ended by n_steps",
        "log, begun: results/run_",
    ):
        assert words in sections, words
    assert not list(tmp_path.iterdir()), "a check writes nothing"


def test_without_a_measurement_no_weights_are_read(
    call: Any, flags: Any, saved_model: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in saved_model.iterdir():
        if file.suffix == ".json":
            (bare / file.name).write_bytes(file.read_bytes())
    template = saved_model / "chat_template.jinja"
    if template.exists():
        (bare / template.name).write_bytes(template.read_bytes())
    flags["model_paths"] = bare
    code, out, err = call(check, "--nomeasure")
    assert (code, err) == (0, "") and "not measured (--nomeasure)" in out
    assert call(check)[0] == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"train_data": "/no/such.json"},
        {"n_train_data": 500},
        {"control_init": " think"},
        {"extractor_text": "the number is 1"},
        {"max_new_tokens": 600},
        {"devices": "cuda:7"},
        {"model_paths": "./no/model"},
        {"logfile": "/"},
        {"resume": "True"},
        {"max_evaluations": 3},
    ],
)
def test_it_refuses_what_the_run_would_refuse(
    call: Any, flags: Any, changes: dict[str, Any]
) -> None:
    flags |= changes
    refused = call(check, "--nomeasure")
    assert refused[0] == 2 and refused[2].count("\n") == 1
    assert refused[2] == call(optimize)[2]


def test_what_a_budget_allows(flags: Any) -> None:
    def of(**changes: Any) -> Expected:
        found: Check = check_run(
            harness.values(flags | changes), lambda _: None, lambda _: None, measure=False
        )
        assert expected(found) is None
        made = expected(replace(found, measured=Measured(2.0, step=40.0, evaluations=18.0)))
        assert made is not None
        return made

    # 6 training rows at first; then dev scores 11 prompts and test 2.
    assert of() == Expected(4, "n_steps", 12 + 4 * 40, (11 * 6 + 2 * 6) * 2.0)
    assert of(max_evaluations=42) == Expected(2, "max_evaluations", 12 + 2 * 40, 156)
    assert of(max_seconds=32.0).steps == 0.5
    assert of(max_decoded_tokens=12 * 24).reason == "max_decoded_tokens"


def test_a_finished_and_an_unfinished_run(call: Any, flags: Any) -> None:
    flags["n_steps"] = 1
    assert call(optimize)[0] == 0
    (log,) = Path("results").glob("*.json")
    assert "nothing: the run in" in call(check, "--nomeasure", "--config.resume=auto")[1]
    data = json.loads(log.read_text())
    log.write_text(json.dumps(data | {"status": "interrupted"}))
    out = call(check, "--nomeasure", "--config.resume=auto")[1]
    assert f"log, continued after step 1: {log}" in out
