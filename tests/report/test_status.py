"""A log that says ``running`` may have lost its process."""

from __future__ import annotations

import json
import os
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.report import status
from prompt_optimization.report.status import status_of
from prompt_optimization.runs.store.lock import RunLock, lock_path
from prompt_optimization.runs.store.now import Now, now_path, read_now, remove_now, write_now
from tests.report.records import log


def running(tmp_path: Path, host: str) -> tuple[Path, dict[str, Any]]:
    """A log that says ``running``, last written an hour ago by a process on ``host``."""
    made = log("a") | {"status": "running", "evaluation": None}
    made["sessions"][0]["host"] = host
    path = tmp_path / "a.json"
    path.write_text(json.dumps(made))
    os.utime(path, (time.time() - 3600,) * 2)
    return path, made


@pytest.mark.parametrize("lock", ["a.json", "optimize"])
def test_running_needs_a_process(lock: str, tmp_path: Path) -> None:
    path, made = running(tmp_path, socket.gethostname())
    with RunLock(tmp_path / lock):
        found = status_of(path, made)
        assert (found.name, found.since) == ("running", made["sessions"][0]["started"])
    lock_path(tmp_path / lock).write_text("{}")  # as a killed process leaves it
    found = status_of(path, made)
    assert found.name == "stopped"
    assert datetime.fromisoformat(found.since).timestamp() == int(path.stat().st_mtime)
    assert str(found) == f"stopped since {found.since[:10]} {found.since[11:]}"


def test_looking_takes_no_lock(tmp_path: Path) -> None:
    path, made = running(tmp_path, socket.gethostname())
    status_of(path, made)
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
    with RunLock(path):
        assert status_of(path, made).name == "running"


def test_a_run_elsewhere_lives_while_it_writes(tmp_path: Path) -> None:
    path, made = running(tmp_path, "another machine")
    assert status_of(path, made).name == "stopped"
    write_now(path, Now("select", 3, 8, "2026-11-26T08:00:00"))
    found = status_of(path, made)
    assert found.name == "running" and found.now == Now("select", 3, 8, "2026-11-26T08:00:00")
    os.utime(now_path(path), (time.time() - 2 * status.SILENCE,) * 2)
    assert status_of(path, made).name == "stopped"
    remove_now(path)
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_what_ended_is_what_its_log_says(tmp_path: Path) -> None:
    path, made = running(tmp_path, socket.gethostname())
    for name in ("finished", "failed", "interrupted"):
        assert status_of(path, made | {"status": name}).name == name


@pytest.mark.parametrize("text", ["", "{", "[]", '{"phase": "select"}', '{"phase": 1, "done": {}}'])
def test_a_file_that_tells_nothing_is_passed_over(text: str, tmp_path: Path) -> None:
    now_path(tmp_path / "a.json").write_text(text)
    assert read_now(tmp_path / "a.json") is None
