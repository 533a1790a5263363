"""What a run needs is there on Windows too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization import files
from prompt_optimization.errors import InputError

# What Windows lacks is taken away before anything is imported. A run dies when its log has its
# second step and its checkpoint has not.
ELSEWHERE = """
import json, os, signal, sys
sys.modules["fcntl"] = None
del signal.pthread_sigmask, os.fork
import GReaTer
from prompt_optimization.runs.store.log import RunLog
from tests.runs.harness import carry_out
flags, killed = json.loads(sys.argv[1]), sys.argv[2] == "killed"
step = RunLog.step
def counted(self, record, best):
    step(self, record, best)
    if killed and len(self.data["steps"]) == 2:
        os._exit(9)
RunLog.step = counted
carry_out(flags)
"""


def test_a_run_and_a_resume_without_what_windows_lacks(
    small_run: dict[str, Any], tmp_path: Path
) -> None:
    flags = small_run | {
        "n_steps": 4, "n_dev_data": 4, "n_test_data": 4, "max_new_tokens": 4,
        "resume": "auto", "result_prefix": tmp_path / "run",
    }  # fmt: skip

    def session(fate: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", ELSEWHERE, json.dumps(flags, default=str), fate],
            capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    killed = session("killed")
    assert killed.returncode == 9, killed.stderr
    resumed = session("resumed")
    assert resumed.returncode == 0, resumed.stderr
    (log,) = tmp_path.glob("*.json")
    assert not set(log.name) & set('<>:"/\\|?*')
    data = json.loads(log.read_text())
    assert data["status"] == "finished"
    assert [each["first_step"] for each in data["sessions"]] == [0, 1] and len(data["steps"]) == 4


def test_a_file_that_is_being_read_is_replaced_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.json"
    replace, refusals = os.replace, 3

    def replace_unless_read(source: str, target: Path) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", replace_unless_read)
    monkeypatch.setattr(files, "REPLACE_WAIT", 0)
    with pytest.raises(InputError, match="cannot be written"):  # elsewhere nobody waits
        files.write_whole(path, b"first")
    monkeypatch.setattr(files, "WINDOWS", True)
    files.write_whole(path, b"second")
    assert path.read_bytes() == b"second" and not refusals
    refusals = files.REPLACE_TRIES
    with pytest.raises(InputError, match="cannot be written"):
        files.write_whole(path, b"third")
    assert [each.name for each in tmp_path.iterdir()] == ["log.json"]
