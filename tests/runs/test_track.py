"""Trackers are sent what logs hold, and cannot end a run."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.commands.track import main
from prompt_optimization.errors import InputError
from prompt_optimization.runs import trackers
from prompt_optimization.runs.run import run
from prompt_optimization.runs.track import step_figures, tried_prompts
from tests.report.records import OLD, folder_of, log
from tests.runs.harness import carry_out, die_at_write, outcome, session, values

SMALL = {"max_new_tokens": 2, "n_dev_data": 0, "n_test_data": 2, "n_steps": 3, "top_prompts": 1}


class Silent:
    """A screen that keeps its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    """What TensorBoard reads."""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = module.EventAccumulator(str(folder))
    read.Reload()
    return [(each.step, each.value) for each in read.Scalars(name)]


def test_a_killed_and_resumed_run_is_there_once(small_run: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    flags = small_run | SMALL | {
        "method": "random", "track": "tensorboard", "result_prefix": tmp_path / "run",
        "resume": "auto",
    }  # fmt: skip
    # Killed after the log of the second step and before its checkpoint, so that it is made again.
    assert outcome(session(flags, partial(die_at_write, 6, 1))) < 0
    finished = carry_out(flags)
    assert len(finished.data["sessions"]) == 2 and len(finished.data["steps"]) == 3
    folder = tmp_path / "tensorboard" / finished.path.stem  # type: ignore[union-attr]
    sent = scalars(folder, "objective")
    assert sent == list(enumerate(pytest.approx(each) for each in finished.data["losses"]))
    ((step, gain),) = scalars(folder, "test/gain")
    measured = finished.data["evaluation"]["test"]["difference"]["strict"]["value"]
    assert step == 2 and gain == pytest.approx(100 * measured)
    # From the log the same comes out, and nothing is there twice.
    assert main([str(tmp_path), "--to=tensorboard"], "greater track") == 0
    assert scalars(folder, "objective") == sent


@pytest.mark.parametrize("moment", ["import", "open", "log", "close"])
def test_a_tracker_that_fails_ends_nothing(
    moment: str, small_run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self) -> None:
            self.open() if moment == "import" else None

        def _fails(self, *_: Any) -> None:
            raise OSError("the disk is full")

        def _works(self, *_: Any) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            return self._fails if name == moment or moment == "import" else self._works

    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", (Broken, ()))
    display = Silent()
    flags = small_run | SMALL | {
        "method": "random", "track": "tensorboard", "logfile": tmp_path / "log.json", "n_steps": 1,
    }  # fmt: skip
    done = run(values(flags), display)  # type: ignore[arg-type]
    assert done.data["status"] == "finished"
    warned = [text for text in display.warnings if "Track failed" in text]
    assert len(warned) == 1 and "the disk is full" in warned[0]


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prompt_optimization.extras.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package trackio; .*\[track\]"):
        carry_out({"track": "trackio"})


def test_logs_in_trackio(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    folder = folder_of(tmp_path / "logs", log("first", method="climb"), log("second"))
    (folder / "torn.json").write_text('{"sessions": [')
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "store"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "prompt_optimization", "track", str(folder), "--to=trackio"]
    for _ in range(2):  # the second time in place of the first
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "2 of 2 runs sent to trackio\n" and "torn.json" in done.stderr
    with sqlite3.connect(tmp_path / "store" / "greater.db") as store:
        rows = store.execute("select run_name, step, metrics from metrics").fetchall()
    sent = [(name, step, json.loads(figures)) for name, step, figures in rows]
    objectives = [(n, s, each["objective"]) for n, s, each in sent if "objective" in each]
    assert objectives == [(f"{n}-{i}", s, 0.5) for n, i in ((0, "first"), (1, "second"))
                          for s in (0, 1)]  # fmt: skip
    (gain, _) = [each["test/gain"] for _, _, each in sent if "test/gain" in each]
    assert gain == 50


def test_what_a_step_has_in_numbers() -> None:
    step = log("a", method="climb")["steps"][0]
    figures = step_figures(step)
    assert figures["seconds"] == 3.0 and figures["seconds/select"] == 2.0
    assert figures["tokens/decoded"] == 24 and figures["accepted"] == 1
    assert [(each["label"], each["accepted"]) for each in tried_prompts(step)] == [
        (" well", True), (" not", False)
    ]  # fmt: skip
    assert tried_prompts(OLD["steps"][0]) == []


def test_nothing_to_send(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    for place, said in ((tmp_path, "holds no log of a run"), (tmp_path / "none", "is no log")):
        assert main([str(place), "--to=tensorboard"], "greater track") == 2
        assert said in capsys.readouterr().err
