"""The harness as its user calls it: one command, one log, one sentence when something is wrong."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.runs.harness import without_times
from tests.said import said

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "experiments"


@pytest.fixture
def flags(small_run: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A small run's flags."""
    return small_run | {
        "n_dev_data": 8,
        "n_test_data": 10,
        "n_steps": 3,
        "max_new_tokens": 6,
        "result_prefix": tmp_path / "results" / "run",
    }


def given(flags: dict[str, Any]) -> list[str]:
    return [f"--config.{key}={value}" for key, value in flags.items()]


def main(flags: dict[str, Any], config: str = "./configs/transfer_llama3.py") -> Any:
    return subprocess.run(
        [sys.executable, "main.py", f"--config={config}", *given(flags)],
        cwd=EXPERIMENTS,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def only_log(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "results").glob("*.json")
    log: dict[str, Any] = json.loads(path.read_text())
    return log


def test_a_run_and_its_log(flags: dict[str, Any], tmp_path: Path) -> None:
    done = main(flags | {"test_steps": 2, "temp": 3.0})
    assert done.returncode == 0, done.stderr
    log = only_log(tmp_path)
    assert log["status"] == "finished"
    assert len(log["steps"]) == len(log["controls"]) == len(log["losses"]) == 3
    assert len(log["runtimes"]) == 3 and len(log["tests"]) == 1
    assert log["params"]["n_steps"] == 3 and log["params"]["accept"] == "improve"
    environment = log["environment"]
    assert environment["data"]["train"]["rows"] == 48
    assert len(environment["chat_template"]["sha256"]) == 64
    assert {"torch", "transformers"} <= set(environment["packages"])
    rows = environment["rows"]
    assert not set(rows["train"]) & set(rows["dev"]) and not set(rows["dev"]) & set(rows["test"])
    step = log["steps"][1]
    assert step["position"] == 1 and step["proposals"] and len(step["shortlist"]) == 3
    assert set(step["seconds"]) >= {"propose", "differentiate", "select"}
    assert step["tokens"]["decoded"] > 0
    assert log["losses"] == sorted(log["losses"], reverse=True)
    test = log["evaluation"]["test"]
    for reading in ("strict", "flexible", "teacher_forced"):
        for prompt in ("initial", "best"):
            estimate = test[prompt][reading]
            assert estimate["n"] == 10 and estimate["low"] <= estimate["value"] <= estimate["high"]
        assert test["difference"][reading]["value"] == pytest.approx(
            test["best"][reading]["value"] - test["initial"][reading]["value"]
        )
    assert log["evaluation"]["chosen"] in [best["prompt"] for best in log["best"]]
    assert "temp has no effect: candidates are not sampled" in done.stdout
    assert "3/3" in done.stdout and "held-out accuracy" in done.stdout
    assert "\x1b[" not in done.stdout, "plain lines when the output is no terminal"


def test_the_same_command_gives_the_same_run(flags: dict[str, Any], tmp_path: Path) -> None:
    logs = []
    for name in ("one", "two"):
        folder = tmp_path / name
        done = main(flags | {"anneal": True, "result_prefix": folder / "results" / "run"})
        assert done.returncode == 0, done.stderr
        logs.append(without_times(only_log(folder)))
    assert logs[0] == logs[1]


def test_published_flags_work_verbatim(flags: dict[str, Any], tmp_path: Path) -> None:
    """Every key of the published README's command, on a small model."""
    published = {
        "progressive_goals": True,
        "stop_on_success": False,
        "allow_non_ascii": False,
        "num_train_models": 1,
        "n_train_data": 6,
        "n_test_data": 6,
        "n_steps": 2,
        "test_steps": 500,
        "anneal": True,
        "topk": 11,
        "topq": 6,
        "control_init": " proper logical reasoning and think step by step. "
        "Finally give the actual correct answer.",
        "extractor_text": "Therefore, the final answer (use exact format: '$A' or '$B') is $",
        "control_weight": 0.20,
        "target_weight": 1.0,
        "test_data": flags["train_data"],
        "behaviour": "published",
        "devices": "('cpu','cpu')",
        "tokenizer_paths": f"('{flags['model_paths']}',)",
        "conversation_templates": "llama-3",
    }
    done = main(flags | published, config="./configs/transfer_gemma2_2b.py")
    assert done.returncode == 0, done.stderr
    log = only_log(tmp_path)
    assert log["params"]["accept"] == "always" and log["params"]["objective"] == "mistakes"
    assert all(step["accepted"] for step in log["steps"])
    assert log["environment"]["chat_template"]["name"] == "llama-3"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_data": "/no/such.json"}, "'/no/such.json' does not exist"),
        ({"n_train_data": 500}, "48 rows, but 500 training rows"),
        ({"n_test_data": 500}, "rows left for testing"),
        ({"control_init": " "}, "the initial prompt is empty"),
        ({"control_init": " think"}, "is a single token"),
        ({"extractor_text": ""}, "no extractor"),
        ({"extractor_text": "the number is 1"}, "cannot be distinguished from the extractor"),
        ({"devices": "cuda:7"}, "device 'cuda:7' does not exist"),
        ({"model_paths": "./no/model"}, "model path './no/model' does not exist"),
        ({"topk": 2}, "raise topk (--config.topk and --config.shortlist_size)"),
        ({"greater.topk": 2}, "topk=2 proposes fewer tokens than shortlist_size=3 tries"),
        ({"n_steps": -1}, "-1 is too small; give at least 0 (--config.n_steps)"),
        ({"answer_temperature": 0.0}, "give a value above 0 (--config.answer_temperature)"),
        ({"max_seconds": "nan"}, "nan is not a number; give one (--config.max_seconds)"),
        ({"target_weight": "inf"}, "inf is not finite; give a finite number (--config.target_w"),
        ({"objective": "accuracy"}, "'accuracy' is unknown; choose one of mistakes, loss, answers"),
        ({"behaviour": "strange"}, "'strange' is unknown; choose one of sound, published"),
        ({"method": "greter"}, "method 'greter' is unknown; did you mean 'greater'?"),
        ({"method": "best_of_n"}, "(--config.best_of_n.prompts and --config.best_of_n.file)"),
        ({"num_train_models": 2}, "2 models are to be optimised for and 1 are given"),
        ({"max_new_tokens": 600}, "tokens, more than the 512"),
        ({"conversation_templates": "strange"}, "'strange' is unknown to fschat"),
        ({"result_prefix": "/proc/none/run"}, "log '/proc/none/run_"),
        ({"logfile": "/"}, "log '/' cannot be written (Is a directory)"),
        ({"model_kwargs": "({'no_such_argument': 1},)"}, "cannot be loaded"),
        ({"controll_init": " think"}, "'controll_init' is unknown; did you mean --config.control_"),
        ({"n_steps": "many"}, "n_steps='many' is not of type int; its default is 105"),
        ({"anneal": "maybe"}, "anneal='maybe' is not of type bool"),
        (
            {"chat_template_kwarg.date": "x"},
            "'chat_template_kwarg.date' is unknown; did you mean --config.model.chat",
        ),
    ],
)
def test_bad_input(
    flags: dict[str, Any],
    changes: dict[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(EXPERIMENTS)
    done = said("--config=./configs/transfer_llama3.py", *given(flags | changes))
    assert done.code == 2 and message in done.err, done.err
    assert not list(tmp_path.glob("results/*.json"))


@pytest.mark.parametrize("config", ["./configs/none.py", ""])
def test_missing_config(config: str) -> None:
    done = main({}, config=config)
    assert done.returncode == 2 and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("number", "workers"),
    [
        (signal.SIGINT, {}),
        (signal.SIGTERM, {"devices": "('cpu','cpu')"}),
        (signal.SIGTERM, {"workers": "ray"}),
    ],
)
def test_a_signal_leaves_a_run_to_go_on_with(
    flags: dict[str, Any], tmp_path: Path, number: signal.Signals, workers: dict[str, str]
) -> None:
    if "ray" in workers.values():
        pytest.importorskip("ray")
    flags = flags | workers | {"n_steps": 10_000}
    process = subprocess.Popen(
        [sys.executable, "main.py", "--config=./configs/transfer_llama3.py", *given(flags)],
        cwd=EXPERIMENTS,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs inherit an ignored Ctrl-C, and so would this child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while process.poll() is None:
        logs = list(tmp_path.glob("results/*.json"))
        if logs and len(json.loads(logs[0].read_text())["steps"]) >= 2:
            process.send_signal(number)
            break
        time.sleep(0.05)
    try:
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()  # a child that did not stop must not outlive the test
    assert process.returncode == 128 + number and "Traceback" not in stderr
    log = only_log(tmp_path)
    done = len(log["steps"])
    assert log["status"] == "interrupted" and done >= 2

    # The printed command, with fewer steps to go, ends that same run.
    command = shlex.split(stderr.strip().removeprefix("interrupted; continue with: "))
    command = [sys.executable, *command[1:], f"--config.n_steps={done + 1}"]
    again = subprocess.run(command, cwd=EXPERIMENTS, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    log = only_log(tmp_path)
    assert log["status"] == "finished" and len(log["steps"]) == done + 1
    assert [session["first_step"] for session in log["sessions"]] == [0, done]
    assert {path.suffix for path in (tmp_path / "results").iterdir()} == {".json", ".jsonl"}


def test_a_broken_model_is_named_and_the_log_kept(
    flags: dict[str, Any], tmp_path: Path, saved_model: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved_model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][7] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    done = main(flags | {"model_paths": folder})
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "not finite for prompt ' proper logical" in done.stderr
    assert "on row 0, after 0 steps in float32" in done.stderr
    log = only_log(tmp_path)
    assert log["status"] == "failed" and "not finite" in log["error"] and log["steps"] == []
