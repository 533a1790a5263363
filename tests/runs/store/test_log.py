"""The log is valid JSON at every moment and never lost by a failed write."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.runs.store.identity import check_writable
from prompt_optimization.runs.store.log import RunLog, log_path


def record(number: int) -> dict[str, object]:
    return {
        "step": number,
        "incumbent": {"prompt": " think", "objective": 0.5},
        "seconds": {"a": 1.0},
    }


def test_keys_and_growth(tmp_path: Path) -> None:
    log = RunLog.create(tmp_path / "deep" / "run.json", {"n_steps": 2}, {"seed": 0})
    log.step(record(0), [{"prompt": " think"}])
    data = json.loads(log.path.read_text())
    assert data["status"] == "running" and data["params"] == {"n_steps": 2}
    assert (data["controls"], data["losses"], data["runtimes"]) == ([" think"], [0.5], [1.0])
    log.finish("finished", evaluation={})
    assert json.loads(log.path.read_text())["status"] == "finished"
    assert [path.name for path in log.path.parent.iterdir()] == ["run.json"]


def test_a_full_disk_leaves_the_last_log(tmp_path: Path) -> None:
    """In a process whose files may not grow beyond 20 kB."""
    code = f"""
import resource, signal
from pathlib import Path
from prompt_optimization.errors import InputError
from prompt_optimization.runs.store.log import RunLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = RunLog.create(Path({str(tmp_path / "run.json")!r}), {{}}, {{}})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    for number in range(1000):
        log.step({{"step": number, "incumbent": {{"prompt": "x" * 500, "objective": 1.0}},
                  "seconds": {{}}}}, [])
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout and "setting result_prefix" in done.stdout
    assert len(json.loads((tmp_path / "run.json").read_text())["steps"]) > 3
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_names_do_not_collide(tmp_path: Path) -> None:
    paths = set()
    for _ in range(3):
        path = log_path(str(tmp_path / "run"))
        path.write_text("{}")
        paths.add(path)
    assert len(paths) == 3


def test_not_a_number_is_never_written(tmp_path: Path) -> None:
    log = RunLog.create(tmp_path / "run.json", {}, {})
    with pytest.raises(ValueError):
        log.finish("finished", evaluation=float("nan"))
    assert json.loads(log.path.read_text())["status"] == "running"


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written") as caught:
        check_writable(tmp_path / "file" / "run.json")
    assert set(caught.value.keys) == {"result_prefix", "logfile"}
