"""What comes out of logs: lists, prompts, differences, other tools' files."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.commands import diff, export, screen, show
from prompt_optimization.commands import list as listing
from prompt_optimization.report.export.promptfoo import escaped
from prompt_optimization.report.found import find
from tests.report.records import OLD, folder_of, held_out, log

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """``call(command, *arguments)``: exit code, stdout and stderr."""

    def called(command: Any, *arguments: str) -> tuple[int, str, str]:
        try:
            code = command.main(list(map(str, arguments)), "greater it")
        except SystemExit as stopped:  # argparse
            code = int(str(stopped.code))
        return code, *capsys.readouterr()

    return called


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``results`` with a finished run, one of another method that has lost its process, and a torn
    log; the current folder is above."""
    monkeypatch.chdir(tmp_path)
    stopped = log("b" * 32, method="climb") | {"status": "running", "evaluation": None}
    folder = folder_of(tmp_path / "results", log("a" * 32), stopped)
    os.utime(folder / "1.json", (1, 1))  # so long ago that no other machine works on it
    (folder / "torn.json").write_text(json.dumps(OLD)[:700])
    return folder


def test_the_runs_of_a_folder(call: Call, results: Path) -> None:
    code, out, err = call(listing)
    assert code == 0 and "torn.json" in err and err.count("\n") == 1
    told, _, head, *lines = out.splitlines()
    assert told == "task task, model tiny", "what all share stands there once"
    assert head.split() == ["run", "status", "method", "gain", "since"]
    assert lines[0].split()[:5] == ["0", "finished", "greater", "+50.0", "[-10.0,"]
    assert lines[1].split()[:3] == ["1", "stopped", "climb"]

    code, out, _ = call(listing, "results", "--json")
    first, second = json.loads(out)
    assert code == 0 and first["gain"] == {"value": 50, "low": -10, "high": 90}
    assert first["prompt"] == "think well" and second["gain"] is None
    assert second["id"] == "b" * 32


def test_a_list_fits_eighty_columns(
    call: Call, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = log("c" * 32, method="a_rather_long_name", model="some-company/a-model-of-7B-instruct")
    (results / "a_run_whose_name_is_longer_than_most_20261126-080138.json").write_text(
        json.dumps(other)
    )
    monkeypatch.setattr(screen, "WIDE", 80)
    _, out, _ = call(listing)
    assert max(map(len, out.splitlines())) <= 80
    assert "+50.0 [-10.0, +90.0]" in out and "…" not in out


@pytest.mark.parametrize("name", ["0", "results/0.json", "results/0", "a" * 6])
def test_a_prompt_and_nothing_else(call: Call, results: Path, name: str) -> None:
    assert call(show, name) == (0, "think well\n", "")


def test_the_forms_of_a_prompt(call: Call, results: Path) -> None:
    assert call(show, "0", "--initial") == (0, "think\n", "")
    assert call(show, "0", "--rank=2") == (0, "think\n", "")
    assert call(show, "1") == (0, "think well\n", ""), "the best so far"
    assert call(show, "0", "--as=template")[1] == "<user>{question}. Use think well<model>\n"
    chat = json.loads(call(show, "0", "--as=chat")[1])
    assert chat == [{"role": "user", "content": "{question}. Use think well"}]
    whole = json.loads(call(show, "0", "--as=json")[1])
    assert whole["messages"] == chat and whole["gain"]["value"] == 50
    assert json.loads(call(show, "0", "--as=json", "--rank=2")[1])["gain"] is None


def test_a_prompt_in_a_template_of_its_own(call: Call, results: Path) -> None:
    made = log("d" * 32, template="system")
    made["environment"]["chat_template"] = {
        **made["environment"]["chat_template"], "pieces": ["<system>", "<user>", "<model>"]
    }  # fmt: skip
    (results / "system.json").write_text(json.dumps(made))
    assert call(show, "system", "--as=template")[1] == "<system>think well<user>{question}<model>\n"
    assert json.loads(call(show, "system", "--as=chat")[1])[0]["role"] == "system"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none"], "'none' is no log and no run in 'results'; choose one of 0, 1"),
        ([""], "an empty name is no run"),
        (["results"], "holds 2 logs (0, 1); name one of them"),
        (["results/torn.json"], "is no log of a run, or damaged"),
        (["bbbbbb", "--rank=9"], "keeps 2 prompts and has none of rank 9"),
        (["x" * 5000], "is no log and no run"),
        (["a\0b"], "is no log and no run"),
    ],
)
def test_no_such_prompt(call: Call, results: Path, arguments: list[str], said: str) -> None:
    code, out, err = call(show, *arguments)
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    assert said in err


def test_a_finalist_that_is_no_text(call: Call, results: Path) -> None:
    made = log("d" * 32)
    made["evaluation"] |= {"kind": "rule", "chosen": "by length"}
    (results / "rule.json").write_text(json.dumps(made))
    code, out, err = call(show, "rule")
    assert (code, out) == (2, "") and "of kind 'rule'" in err and "--rank=1" in err
    assert call(show, "rule", "--rank=1")[1] == "think well\n"


def test_two_runs_beside_each_other(call: Call, results: Path) -> None:
    other = log("d" * 32, topk=20)
    other["evaluation"]["chosen"] = " think hard"
    # Three of the four rows are shared; on them the first is right twice, the second never.
    other["environment"]["rows"]["test"] = [7, 8, 9, 5]
    other["evaluation"]["test"]["best"] = held_out(" think hard", "0001")
    (results / "other.json").write_text(json.dumps(other))
    code, out, _ = call(diff, "0", "other")
    assert code == 0
    assert ["topk", "10", "20"] in [line.split() for line in out.splitlines()]
    assert "think [-well-]{+hard+}" in out
    assert "Second minus first: -100.0 points" in out and "on 3 shared test rows: 100.0 %" in out
    assert "No paired difference: not both have results on test rows." in call(diff, "0", "1")[1]


def test_two_prompts_beside_each_other(call: Call, results: Path) -> None:
    assert call(diff, "think a lot", "think a bit") == (0, "think a [-lot-]{+bit+}\n", "")
    assert call(diff, "0", "think not well")[1] == "think {+not +}well\n"
    code, _, err = call(diff, "0", "nothing")
    assert code == 2 and "'nothing' is no log" in err


def test_single_files(call: Call, results: Path, tmp_path: Path) -> None:
    assert call(export, "0", "--to=text") == (0, "think well\n", "")
    code, out, _ = call(export, "0", "--to=json", f"--out={tmp_path}/a/prompt.json")
    assert code == 0 and json.loads(Path(out.strip()).read_text())["prompt"] == "think well"
    code, out, err = call(export, "0", "--to=dspy")
    assert json.loads(out)["signature"]["instructions"] == "Use think well"
    assert code == 0 and "not those of the log" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["0", "--to=text", "--out="], "an empty place is none"),
        (["0", "--to=text", "--out=results/0.json/x"], "cannot be written"),
        (["1", "--to=lm-eval"], "is not finished (running) and has chosen no prompt"),
        (["0", "--to=lm-eval"], "'task.json' does not exist"),
        (["0", "--to=promptfoo"], "'task.json' does not exist"),
    ],
)
def test_what_cannot_be_exported(
    call: Call, results: Path, arguments: list[str], said: str
) -> None:
    code, out, err = call(export, *arguments)
    assert (code, out) == (2, "") and err.count("\n") == 1 and said in err


def test_mlflow_that_is_not_installed(
    call: Call, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prompt_optimization.extras.find_spec", lambda name: None)
    code, _, err = call(export, "0", "--to=mlflow")
    assert code == 2 and "needs the package mlflow" in err


def test_texts_are_no_templates_of_promptfoo() -> None:
    assert escaped("{{x}} {%y%} {z}") == "{{ '{{' }}x}} {{ '{%' }}y%} {z}"


def test_a_log_is_found_wherever_it_is(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = results / "run_20261126-080138.json"
    moved.write_text(json.dumps(copy.deepcopy(OLD)))
    later = results / "run_20261126-090138.json"
    later.write_text(json.dumps(log("later")))
    assert find("results/run").path.resolve() == later == find("run").path.resolve()
    folder = results / "task_of_mine"
    folder.mkdir()
    later = later.rename(folder / later.name)
    assert find("task_of_mine").path.resolve() == later, "the folder that a run's screen names"
    monkeypatch.chdir(os.sep)
    assert find(str(moved)).path == moved
