"""The logs below a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.runs.config import all_keys
from prompt_optimization.runs.store.evaluations import EVALUATION
from prompt_optimization.runs.store.log import checked_log, read_json


@dataclass
class Collection:
    """Logs by file, oldest first, and what could not be read, in words."""

    logs: dict[Path, dict[str, Any]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def finished(self) -> dict[Path, dict[str, Any]]:
        """Finished runs; of those with the same settings the newest."""
        newest: dict[str, tuple[Path, dict[str, Any]]] = {}
        for path, log in self.logs.items():
            if log["status"] == "finished":
                newest[_settings(log)] = path, log
        return dict(newest.values())


def files_below(folder: Path) -> list[Path]:
    """The files below ``folder`` that may be logs, however deep.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"folder '{folder}' does not exist; give one that holds logs")
    return [path for path in sorted(folder.rglob("*.json")) if not path.name.endswith(EVALUATION)]


def name_below(folder: Path, path: Path) -> str:
    """What the run with the log at ``path`` is called: its place below ``folder``, without the
    ending."""
    return path.relative_to(folder).with_suffix("").as_posix()


def read_if_log(path: Path) -> dict[str, Any] | None:
    """The log in a file; None where it holds other JSON.

    Raises:
        InputError: it cannot be read, is damaged, or another version wrote it.
    """
    data = read_json(path)
    return checked_log(path, data) if isinstance(data, dict) and "sessions" in data else None


def read_collection(folder: Path) -> Collection:
    """All logs below ``folder``, however deep.

    Raises:
        InputError: there is no such folder.
    """
    found = Collection()
    logs = {}
    for path in files_below(folder):
        try:
            if log := read_if_log(path):
                logs[path] = log
        except InputError as error:
            found.left_out.append(str(error))
    # The time of a log's last session; names are the user's.
    when = {path: (log["sessions"][-1]["started"], str(path)) for path, log in logs.items()}
    found.logs = {path: logs[path] for path in sorted(logs, key=when.__getitem__)}
    return found


def _settings(log: dict[str, Any]) -> str:
    # The number of steps sets runs apart here, although a resumed run may change it.
    free = {name for name, each in all_keys().items() if each.free} - {"n_steps"}
    kept = {key: value for key, value in log["params"].items() if key not in free}
    environment = log["environment"]
    made = [environment["weights"], environment.get("tokenizer"), environment["data"]]
    return json.dumps([kept, *made], sort_keys=True)
