"""Which run does a command mean, and may it go on?"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.runs.log import log_path, read_log

# Keys that a session may change: where it runs and is shown, its memory, and when it ends.
FREE = {
    "resume", "result_prefix", "logfile", "verbose", "model_paths", "devices", "workers",
    "ray_address", "worker_timeout",
    "max_seconds", "max_decoded_tokens", "max_evaluations", "stop_objective", "stop_plateau",
    "stop_file", "stop_on_success", "max_rows", "gradient_rows",
}  # fmt: skip

# Parts of a log's environment that must stay the same: what the model writes hangs on them.
MODEL = {
    "model": "the model's name",
    "weights": "the model's weights",
    "dtype": "the model's precision",
    "stop_ids": "the tokens that end a reasoning",
    "chat_template": "the chat template",
    "other_models": "the other models",
}
TASK = {
    "data": "the task file",
    "rows": "the chosen rows",
}


@dataclass(frozen=True)
class Place:
    """The log of a run, and what it holds already: None for a new one."""

    log: Path
    data: dict[str, Any] | None = None

    def read_again(self) -> Place:
        """The same place as it is now, to be asked for once its lock is held."""
        return Place(self.log, read_log(self.log)) if self.log.exists() else Place(self.log)

    @property
    def finished(self) -> bool:
        return self.data is not None and self.data["status"] == "finished"


def locate(params: dict[str, Any]) -> Place:
    """The run that ``logfile`` or else ``result_prefix`` names, under ``resume``.

    Raises:
        InputError: there is nothing to resume, or a new run would overwrite a log.
    """
    resume, prefix = params["resume"], params["result_prefix"]
    if params["logfile"]:
        log = Path(params["logfile"]).expanduser()
        try:
            exists = log.is_file() and log.stat().st_size > 0
        except OSError as error:
            raise InputError(
                f"log '{log}' cannot be read ({error.strerror}); choose another --config.logfile"
            ) from None
        found = [Place(log, read_log(log))] if exists else []
        if found and resume == "no":
            raise InputError(
                f"log '{log}' exists; go on with it by --config.resume=True, or choose another "
                "--config.logfile"
            )
        fresh = Place(log)
    else:
        found = [] if resume == "no" else [Place(log, read_log(log)) for log in logs_of(prefix)]
        fresh = Place(log_path(prefix))
    if resume == "no":
        return fresh
    unfinished = [place for place in found if not place.finished]
    if unfinished:
        return unfinished[-1]
    if resume == "auto":
        return _finished(found, params) if found else fresh
    raise InputError(
        f"there is {'only a finished' if found else 'no'} run of "
        f"'{params['logfile'] or prefix}' to go on with; start one with --config.resume=no"
    )


def _finished(found: list[Place], params: dict[str, Any]) -> Place:
    """The newest of the finished runs that had these settings.

    Raises:
        InputError: none had.
    """
    different: list[str] = []
    for place in reversed(found):
        assert place.data is not None
        # Steps cannot be added to what has been evaluated; keys may have come since.
        before = place.data["params"]
        different = _settings(before, params, FREE | (params.keys() - before.keys()))
        if not different:
            return place
    raise InputError(
        f"the run in '{found[0].log}' is finished, with other settings: {'; '.join(different)}; "
        "begin another one with --config.resume=no or another --config.result_prefix"
    )


def differences(
    data: dict[str, Any], params: dict[str, Any], environment: dict[str, Any]
) -> list[str]:
    """What differs from the run in the log ``data`` and would lead it elsewhere; a phrase each."""
    free = set(FREE)
    if params["accept"] != "anneal":
        free.add("n_steps")  # only annealing looks ahead to the last step
    found = _settings(data["params"], params, free)
    return found + changes(data["environment"], environment, MODEL | TASK)


def _settings(before: dict[str, Any], params: dict[str, Any], free: set[str]) -> list[str]:
    now = json.loads(json.dumps(params, default=str))
    return [
        f"--config.{key} was {before.get(key)!r} and is {now.get(key)!r}"
        for key in sorted({*before, *now} - free)
        if before.get(key) != now.get(key)
    ]


def changes(
    before: dict[str, Any], environment: dict[str, Any], parts: dict[str, str]
) -> list[str]:
    """What differs between ``parts`` of a log's environment and of this one; a phrase each."""
    found = []
    now = json.loads(json.dumps(environment, default=str))
    for key, words in parts.items():
        for name, old, new in _leaves(key, before.get(key), now.get(key)):
            if old != new:
                found.append(f"{words} changed ({name} was {_short(old)} and is {_short(new)})")
                break
    return found


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


def _leaves(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new} - {"file", "official"}):
            yield from _leaves(f"{name}.{key}", old.get(key), new.get(key))
    else:
        yield name, old, new


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
