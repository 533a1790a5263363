"""The run's JSON log, valid at every moment.

It holds ``params``, ``environment``, ``status``, the llm-attacks lists ``controls``, ``losses``,
``runtimes`` and ``tests`` that existing consumers read, then ``steps``, ``best`` and
``evaluation``. Every change writes the whole file aside and renames it into place. Two runs of
the same config on the same machine differ in ``sessions``, ``runtimes``, the ledgers' seconds and
the steps' ``seconds`` and ``busy`` only.
"""

from __future__ import annotations

import json
import os
import re
import socket
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError, require
from prompt_optimization.files import remove_leftovers, write_whole
from prompt_optimization.optimizers.registry import DEFAULT
from prompt_optimization.paths import user_path
from prompt_optimization.tasks.templates import END, Turns, turns_of

FORMAT = 2
LISTS = ("sessions", "controls", "losses", "runtimes", "tests", "steps", "best")

# The settings that say where a log is.
PLACE = ("result_prefix", "logfile")


class RunLog:
    """A log's content, and the file that holds it; one without a path is held in memory only."""

    def __init__(self, path: Path | None, data: dict[str, Any]) -> None:
        self.path = path
        self.data = data

    @classmethod
    def create(
        cls, path: Path | None, params: dict[str, Any], environment: dict[str, Any]
    ) -> RunLog:
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
                "method": params.get("method", DEFAULT),
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
                "ledger": None,
                "memory": [],
            },
        )
        log._begin_session([])
        log.data["sessions"][0]["run"] = uuid.uuid4().hex
        log.write()
        return log

    @property
    def run(self) -> str:
        """Names the run among all others."""
        return run_id(self.data)

    @classmethod
    def resume(
        cls, path: Path | None, data: dict[str, Any], steps: int, forced: list[str]
    ) -> RunLog:
        """Continue a run whose first ``steps`` steps count.

        Args:
            forced: the differences that the user has decided to ignore.

        Raises:
            InputError: the file cannot be written.
        """
        if path is not None:
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
        if self.path is not None:
            write_whole(self.path, text.encode(), PLACE)

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
        InputError: the file cannot be read, is no log, or another version wrote it.
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
    except (ValueError, RecursionError):
        raise _no_log(path) from None


def checked_log(path: Path, data: Any) -> dict[str, Any]:
    """``data`` of the file at ``path``, when it is a log.

    Raises:
        InputError: it is none, or another version wrote it.
    """
    try:
        number = int(data["format"])
        require(isinstance(data["status"], str) and data["sessions"][0]["run"])
        require(all(isinstance(data[key], dict) for key in ("params", "environment")))
        require(all(isinstance(data[key], list) for key in LISTS))
        require(data["sessions"][-1]["started"])
        if number == FORMAT and data["status"] == "finished":
            _check_finished(data)
    except (ValueError, LookupError, TypeError):
        raise _no_log(path) from None
    if number != FORMAT:
        raise InputError(
            f"log '{path}' has format {number} and this version reads {FORMAT}; use the version "
            f"that wrote it{', or a newer one' if number > FORMAT else ''}"
        )
    log: dict[str, Any] = data
    return log


def run_id(log: Mapping[str, Any]) -> str:
    """Names a run among all others."""
    return str(log["sessions"][0]["run"])


def found_prompt(log: Mapping[str, Any]) -> str:
    """What dev has elected, or the best prompt so far; empty where there is none. What is elected
    may be a rule, and then it is its name."""
    best = log["best"][0]["prompt"] if log["best"] else ""
    return str((log["evaluation"] or {}).get("chosen", best))


def method_of(log: Mapping[str, Any]) -> str:
    """The method of a log; those from before there were several do not say."""
    return str(log.get("method", DEFAULT))


def metric_of(record: Mapping[str, Any]) -> str:
    """The metric that counted in a held-out result; those from before there were several do not
    say."""
    return str(record.get("metric", "strict"))


def turns_in(log: Mapping[str, Any]) -> Turns:
    """The chat in which the prompts of a log stand; those from before there were several do not
    say."""
    params = log["params"]
    return turns_of(params.get("template", END), params.get("connector") or "")


def _no_log(path: Path) -> InputError:
    return InputError(
        f"'{path}' is no log of a run, or damaged; name another file, or move this one away"
    )


def _check_finished(data: dict[str, Any]) -> None:
    """Whoever reads a finished run's log relies on this."""
    environment, evaluation = data["environment"], data["evaluation"]
    require({"model", "weights", "dtype", "seed", "data", "rows"} <= set(environment))
    require(isinstance(evaluation["chosen"], str) and data["initial"] and data["best"])
    test = evaluation["test"]
    for key in ("initial", "best") if test else ():
        for metric, hits in test[key]["hits"].items():
            require(len(hits) == test[key][metric]["n"] == len(environment["rows"]["test"]))
        for name in {"weights", "groups"} & test[key].keys():
            require(len(test[key][name]) == len(environment["rows"]["test"]))


def log_path(prefix: str) -> Path:
    """A log file for ``prefix`` that does not exist yet: ``prefix_<date>-<time>.json``."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = user_path(f"{prefix}_{stamp}.json")
    number = 1
    while os.path.exists(path):  # which is false of what cannot be a path
        path = user_path(f"{prefix}_{stamp}-{number}.json")
        number += 1
    return path


def logs_of(prefix: str) -> list[Path]:
    """The logs of runs with this prefix, oldest first."""
    folder, start = os.path.split(os.path.expanduser(prefix))
    pattern = re.compile(re.escape(start) + r"_(\d{8}-\d{6})(?:-(\d+))?\.json")
    found = []
    for path in Path(folder).glob("*.json"):
        match = pattern.fullmatch(path.name)
        if match:
            found.append((match.group(1), int(match.group(2) or 0), path))
    return [path for _, _, path in sorted(found)]
