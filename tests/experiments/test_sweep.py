"""A sweep over tasks: what fails, what is skipped, what goes on, what stops."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SWEEP = ROOT / "experiments" / "run_llama3_all.sh"


@pytest.fixture
def settings(saved_model: Path, task_file: Path, tmp_path: Path) -> dict[str, str]:
    """Two tasks and one whose file is broken, on a tiny model."""
    data = tmp_path / "BBH"
    data.mkdir()
    for name in ("object_counting", "navigate"):
        shutil.copy(task_file, data / f"{name}.json")
    (data / "hyperbaton.json").write_text("goal,target,final_target\n")
    flags = {
        "model_paths": saved_model, "dtype": "float32", "n_train_data": 6, "n_dev_data": 4,
        "n_test_data": 4, "n_steps": 2, "max_new_tokens": 4,
    }  # fmt: skip
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHON": sys.executable,
        "DATA": str(data),
        "TASKS": "object_counting hyperbaton navigate",
        "GPUS": "",
        "RESULTS": str(tmp_path / "results"),
        "EXTRA": " ".join(f"--config.{key}={value}" for key, value in flags.items()),
    }


def sweep(settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(SWEEP)], env=settings, capture_output=True, text=True)


def status(settings: dict[str, str], task: str) -> list[str]:
    logs = sorted(Path(settings["RESULTS"]).glob(f"{task}_*.json"))
    return [json.loads(log.read_text())["status"] for log in logs]


def test_a_failure_does_not_stop_the_others(settings: dict[str, str]) -> None:
    done = sweep(settings)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED  hyperbaton; the end of" in done.stdout and "holds no rows" in done.stdout
    assert (Path(settings["RESULTS"]) / "report.html").exists()
    assert "1 of 3 runs failed" in done.stdout
    # On a CPU one begins when the one before has ended.
    words = [line.split(" ")[0] for line in done.stdout.splitlines()]
    events = [word for word in words if word in ("start", "done", "FAILED")]
    assert events == ["start", "done", "start", "FAILED", "start", "done"]
    for task in ("object_counting", "navigate"):
        assert f"done    {task}" in done.stdout and status(settings, task) == ["finished"]
        assert f"{task}" in done.stdout.split(" gain ")[1], "the list names it"

    again = sweep(settings | {"TASKS": "object_counting navigate"})
    assert again.returncode == 0
    assert "finished already: object_counting navigate" in again.stdout
    assert status(settings, "navigate") == ["finished"]


def test_stopped_and_continued(settings: dict[str, str]) -> None:
    settings |= {"TASKS": "navigate", "EXTRA": f"{settings['EXTRA']} --config.n_steps=10000"}
    process = subprocess.Popen(
        ["bash", str(SWEEP)],
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    results = Path(settings["RESULTS"])
    while process.poll() is None:
        logs = list(results.glob("navigate_*.json"))
        if logs and json.loads(logs[0].read_text())["steps"]:
            process.send_signal(signal.SIGTERM)
            break
        time.sleep(0.05)
    try:
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143 and "the same command continues" in stderr
    assert status(settings, "navigate") == ["interrupted"], "no child outlives the sweep"
    steps = len(json.loads(logs[0].read_text())["steps"])
    done = sweep(settings | {"EXTRA": f"{settings['EXTRA']} --config.n_steps={steps + 1}"})
    assert done.returncode == 0, done.stdout
    assert status(settings, "navigate") == ["finished"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"CONFIG": "configs/none.py"}, "'configs/none.py' cannot be read: it does not exist"),
        ({"DATA": "/nowhere"}, "folder '/nowhere' does not exist"),
        ({"GPUS_PER_TASK": "two"}, "'two' is no number from 1 on"),
        ({"GPUS": "0", "GPUS_PER_TASK": "2"}, "the GPUs '0' are fewer than the 2 that a run takes"),
        ({"TASKS": "navigate objct_counting"}, "no file for task 'objct_counting' in"),
        ({"EXTRA": "--config.n_stps=2"}, "config key 'n_stps' is unknown; did you mean"),
        ({"EXTRA": "--config.resume=no"}, "a sweep sets resume for each run"),
        ({"EXTRA": "--n_steps=2"}, "'--n_steps=2' is not a flag of a sweep"),
        ({"EXTRA": "'--config"}, "cannot be read (No closing quotation)"),
        ({"METHODS": "random opr"}, "method 'opr' is unknown; did you mean 'opro'?"),
    ],
)
def test_bad_settings(settings: dict[str, str], changes: dict[str, Any], message: str) -> None:
    done = sweep(settings | changes)
    assert done.returncode == 2 and message in done.stderr


def test_only_its_own_finished_tasks_are_skipped(settings: dict[str, str]) -> None:
    results = Path(settings["RESULTS"])
    results.mkdir()
    # The end of another task's name, and another model's results.
    for name in ("object_counting_of_others_20260101-000000", "navigate_20260101"):
        (results / f"{name}.json").write_text('{\n "status": "finished"\n}')
    dry = settings | {"DRY_RUN": "1", "TASKS": "object_counting navigate"}
    assert "finished already" not in sweep(dry).stdout
    del dry["RESULTS"]
    other = sweep(dry | {"CONFIG": "configs/embedded.py"}).stdout
    assert "result_prefix=results/llama3_embedded/object_counting" in other


def test_quotes_in_extra_flags(settings: dict[str, str]) -> None:
    extra = """--config.n_steps=1 --config.control_init=" no thinking just feeling." """
    dry = settings | {"DRY_RUN": "1", "TASKS": "navigate", "EXTRA": extra}
    assert "'--config.control_init= no thinking just feeling.'" in sweep(dry).stdout


def test_a_dry_run_shows_the_commands(settings: dict[str, str]) -> None:
    done = sweep(settings | {"DRY_RUN": "1", "GPUS": "0 1 2 3", "GPUS_PER_TASK": "2"})
    commands = [line for line in done.stdout.splitlines() if line.startswith("CUDA_")]
    assert len(commands) == 3 and done.returncode == 0
    assert (
        commands[0].startswith("CUDA_VISIBLE_DEVICES=0,1 ") and "--config.n_steps=2" in commands[0]
    )
    assert commands[1].startswith("CUDA_VISIBLE_DEVICES=2,3 ")
    assert not list(Path(settings["RESULTS"]).glob("*.json"))


def test_methods_have_a_folder_each(settings: dict[str, str]) -> None:
    settings |= {"METHODS": "random greater", "TASKS": "navigate", "GPUS": ""}
    done = sweep(settings)
    assert done.returncode == 0, done.stdout + done.stderr
    for method in ("random", "greater"):
        assert status(settings, f"{method}/navigate") == ["finished"]
        assert f"{method}/navigate" in done.stdout.split(" gain ")[1], "the list names it"
    assert "random" in (Path(settings["RESULTS"]) / "report.html").read_text()
    again = sweep(
        settings | {"METHODS": "greater", "TASKS": "navigate object_counting", "DRY_RUN": "1"}
    )
    assert "finished already: greater/navigate" in again.stdout
