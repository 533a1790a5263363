"""The run's JSON log, valid at every moment.

It holds ``params``, ``environment``, ``status``, the llm-attacks lists ``controls``, ``losses``,
``runtimes`` and ``tests`` that existing consumers read, then ``steps``, ``best`` and
``evaluation``. Every change writes the whole file aside and renames it into place. Two runs of
the same config on the same machine differ in ``sessions``, ``runtimes`` and the steps' ``seconds``
only.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.files import remove_leftovers, write_whole

FORMAT = 2
LISTS = ("sessions", "controls", "losses", "runtimes", "tests", "steps", "best")


class RunLog:
    """A log file and its content."""

    def __init__(self, path: Path, data: dict[str, Any]) -> None:
        self.path = path
        self.data = data

    @classmethod
    def create(cls, path: Path, params: dict[str, Any], environment: dict[str, Any]) -> RunLog:
        """Begin a run.

        Raises:
            InputError: the folder cannot be made or written.
        """
        log = cls(
            path,
            {
                "format": FORMAT,
                "status": "running",
                "ended": None,
                "sessions": [],
                "params": params,
                "environment": environment,
                "controls": [],
                "losses": [],
                "runtimes": [],
                "tests": [],
                "initial": None,
                "steps": [],
                "best": [],
                "evaluation": None,
            },
        )
        log._begin_session([])
        log.data["sessions"][0]["run"] = uuid.uuid4().hex
        log.write()
        return log

    @property
    def run(self) -> str:
        """Names the run among all others."""
        name: str = self.data["sessions"][0]["run"]
        return name

    @classmethod
    def resume(cls, path: Path, data: dict[str, Any], steps: int, forced: list[str]) -> RunLog:
        """Go on with a run whose first ``steps`` steps count.

        Args:
            forced: the differences that the user has decided to ignore.

        Raises:
            InputError: the file cannot be written.
        """
        remove_leftovers(path)
        for key in ("controls", "losses", "runtimes", "steps"):
            del data[key][steps:]
        data["tests"] = [test for test in data["tests"] if test["step"] < steps]
        data.update(status="running", evaluation=None)
        data.pop("error", None)
        log = cls(path, data)
        log._begin_session(forced)
        log.write()
        return log

    def step(self, record: dict[str, Any], best: list[dict[str, Any]]) -> None:
        """Add one finished step."""
        self.data["steps"].append(record)
        self.data["controls"].append(record["incumbent"]["prompt"])
        self.data["losses"].append(record["incumbent"]["objective"])
        self.data["runtimes"].append(sum(record["seconds"].values()))
        self.data["best"] = best
        self.write()

    def finish(self, status: str, **fields: Any) -> None:
        """Set the final status and whatever else is known now."""
        self.data.update(fields, status=status)
        self.write()

    def write(self) -> None:
        """Put the log on the disk as it is now.

        Raises:
            InputError: it cannot be written; the log on disk stays as it was.
        """
        text = json.dumps(self.data, ensure_ascii=False, allow_nan=False, indent=1, default=str)
        write_whole(self.path, text.encode())

    def _begin_session(self, forced: list[str]) -> None:
        session = {
            "started": datetime.now().isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "first_step": len(self.data["steps"]),
        }
        self.data["sessions"].append(session | ({"forced": forced} if forced else {}))


def read_log(path: Path) -> dict[str, Any]:
    """The content of a log.

    Raises:
        InputError: the file cannot be read, is no log, or a newer version wrote it.
    """
    return checked_log(path, read_json(path))


def read_json(path: Path) -> Any:
    """What a file that should be a log holds.

    Raises:
        InputError: it cannot be read, or holds no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"log '{path}' cannot be read ({error.strerror})") from None
    except ValueError:
        raise _no_log(path) from None


def checked_log(path: Path, data: Any) -> dict[str, Any]:
    """``data`` of the file at ``path``, when it is a log.

    Raises:
        InputError: it is none, or another version wrote it.
    """
    try:
        number = int(data["format"])
        assert isinstance(data["status"], str) and data["sessions"][0]["run"]
        assert all(isinstance(data[key], dict) for key in ("params", "environment"))
        assert all(isinstance(data[key], list) for key in LISTS)
        assert data["sessions"][-1]["started"]
        if number == FORMAT and data["status"] == "finished":
            _check_finished(data)
    except (ValueError, LookupError, TypeError, AssertionError):
        raise _no_log(path) from None
    if number != FORMAT:
        raise InputError(
            f"log '{path}' has format {number} and this version reads {FORMAT}; use the version "
            f"that wrote it{', or a newer one' if number > FORMAT else ''}"
        )
    log: dict[str, Any] = data
    return log


def _no_log(path: Path) -> InputError:
    return InputError(
        f"'{path}' is no log of a run, or damaged; name another file, or move this one away"
    )


def _check_finished(data: dict[str, Any]) -> None:
    """Whoever reads a finished run's log relies on this."""
    environment, evaluation = data["environment"], data["evaluation"]
    assert {"model", "weights", "dtype", "seed", "data", "rows"} <= set(environment)
    assert isinstance(evaluation["chosen"], str) and data["initial"] and data["best"]
    test = evaluation["test"]
    for key in ("initial", "best") if test else ():
        for hits in test[key]["hits"].values():
            assert len(hits) == test[key]["strict"]["n"] == len(environment["rows"]["test"])


def log_path(prefix: str) -> Path:
    """A log file for ``prefix`` that does not exist yet: ``prefix_<date>-<time>.json``."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = Path(f"{prefix}_{stamp}.json").expanduser()
    number = 1
    while path.exists():
        path = Path(f"{prefix}_{stamp}-{number}.json").expanduser()
        number += 1
    return path
