"""One process at a time works on a run, and files that a killed one has left are no obstacle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.runs.store.lock import RunLock

# Takes the lock, is alone while it holds it, and releases it, a number of times.
TAKE = """
import sys
from pathlib import Path
from prompt_optimization.errors import InputError
from prompt_optimization.runs.store.lock import RunLock
log, taken = Path(sys.argv[1]), 0
while taken < 40:
    try:
        with RunLock(log):
            alone = log.with_name("alone")
            alone.touch(exist_ok=False)
            alone.unlink()
            taken += 1
    except InputError as error:
        assert "another process works on" in str(error), error
"""


def test_nobody_gets_a_lock_that_is_held(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE, str(tmp_path / "run")]
    takers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [taker.communicate()[1] for taker in takers] == [""] * 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("note", [None, "{", "[1]", '{"pid": 1}'])
def test_a_note_that_says_nothing(tmp_path: Path, note: str | None) -> None:
    with RunLock(tmp_path / "run"):
        left = tmp_path / "run.owner"
        left.unlink()
        if note is not None:
            left.write_text(note)
        with pytest.raises(InputError, match=r"works on '.*run' \(its owner is unknown\); wait"):
            RunLock(tmp_path / "run")


def test_a_place_that_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "run.lock").mkdir()
    with pytest.raises(InputError, match=r"run.lock' cannot be locked \(.+\); choose another"):
        RunLock(tmp_path / "run")
    (tmp_path / "other.owner").mkdir()
    with pytest.raises(InputError, match=r"other.lock' cannot be locked \(Is a directory\)"):
        RunLock(tmp_path / "other")
    assert not (tmp_path / "other.lock").exists()
