"""Which run does a command mean, and may it be continued?"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.paths import user_path
from prompt_optimization.runs.config import all_keys
from prompt_optimization.runs.store.log import PLACE, log_path, logs_of, read_log

# Parts of a log's environment that must stay the same: what the model writes depends on them.
MODEL = {
    "model": "the model's name",
    "weights": "the model's weights",
    "tokenizer": "the tokenizer",
    "dtype": "the model's precision",
    "stop_ids": "the tokens that end a reasoning",
    "chat_template": "the chat template",
    "other_models": "the other models",
    "writer": "the writer",
    "judge": "the judge",
}
TASK = {
    "data": "the task file",
    "rows": "the chosen rows",
}


# What these parts tell besides.
UNCOMPARED = {"file", "official", "commit", "dated"}
# Settings of which the environment tells what they do: the chat template's text.
TOLD = {"chat_template_kwargs"}


@dataclass(frozen=True)
class ExistingRun:
    """A run's log, and what it holds already: None for a new run."""

    log: Path
    data: dict[str, Any] | None = None

    def read_again(self) -> ExistingRun:
        """The same run as it is now, to be called once its lock is held."""
        data = read_log(self.log) if self.log.exists() else None
        return ExistingRun(self.log, data)

    @property
    def finished(self) -> bool:
        return self.data is not None and self.data["status"] == "finished"


def locate(params: dict[str, Any], free: Set[str]) -> ExistingRun:
    """The run that ``logfile`` or else ``result_prefix`` names, under ``resume``.

    Args:
        free: the settings that a resumed run may change.

    Raises:
        InputError: there is nothing to resume, or a new run would overwrite a log.
    """
    resume, prefix = params["resume"], params["result_prefix"]
    if params["logfile"]:
        log = user_path(params["logfile"])
        found = [ExistingRun(log, read_log(log))] if _holds_something(log) else []
        if found and resume == "no":
            raise InputError(
                f"log '{log}' exists; continue it or choose another one", key=("resume", "logfile")
            )
        new = ExistingRun(log)
    else:
        logs = [] if resume == "no" else logs_of(prefix)
        found = [ExistingRun(log, read_log(log)) for log in logs]
        new = ExistingRun(log_path(prefix))
    if resume == "no":
        return new
    unfinished = [run for run in found if not run.finished]
    if unfinished:
        return unfinished[-1]
    if resume == "auto":
        return _finished(found, params, free) if found else new
    raise InputError(
        f"there is {'only a finished' if found else 'no'} run of "
        f"'{params['logfile'] or prefix}' to continue; start one",
        key="resume",
    )


def _holds_something(log: Path) -> bool:
    try:
        return log.is_file() and log.stat().st_size > 0
    except OSError as error:
        raise InputError(
            f"log '{log}' cannot be read ({error.strerror}); choose another one", key="logfile"
        ) from None


def _finished(found: list[ExistingRun], params: dict[str, Any], free: Set[str]) -> ExistingRun:
    """The newest of the finished runs that had these settings.

    Raises:
        InputError: none had.
    """
    different: list[str] = []
    for run in reversed(found):
        assert run.data is not None
        # Steps cannot be added to what has been evaluated. An unfinished run knows its model by the
        # weights, wherever they lie now; here none are loaded, so that the name has to do.
        fixed = {"n_steps", "model_paths"}
        different = changed_settings(run.data["params"], params, free - fixed)
        if not different:
            return run
    raise InputError(
        f"the run in '{found[0].log}' is finished, with other settings: {'; '.join(different)}; "
        "start another one, or choose another place",
        key=("resume", "result_prefix"),
    )


def differences(
    data: dict[str, Any],
    params: dict[str, Any],
    environment: dict[str, Any],
    free: Set[str],
    parts: dict[str, str],
) -> list[str]:
    """What differs from the run in the log ``data`` and would lead it elsewhere; a phrase each."""
    found = changed_settings(data["params"], params, free)
    return found + changes(data["environment"], environment, parts)


def changed_settings(before: dict[str, Any], params: dict[str, Any], free: Set[str]) -> list[str]:
    """The settings that differ; a phrase each. Keys may have come since ``before`` was written."""
    now = json.loads(json.dumps(params, default=str))
    # A default that depends on the method is not known of a log that does not tell it.
    keys = [each for each in all_keys().values() if each.name in now and not each.by_method]
    untold = {each.name: each.untold for each in keys if each.untold is not None}
    before = json.loads(json.dumps(untold)) | before
    return [
        f"{key} was {before[key]!r} and is {now.get(key)!r}"
        for key in sorted({*before} - free)
        if before[key] != now.get(key)
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
                found.append(f"{words} changed ({name} {_apart(old, new)})")
                break
    return found


def made_differently(
    what: str, different: Sequence[str], environment: dict[str, Any], otherwise: str, key: str
) -> InputError:
    """The refusal to continue what was made under other settings, data or models.

    Args:
        what: the beginning of the sentence, which names the place.
        different: what differs; a phrase each.
        environment: that of now.
        otherwise: what can be done instead of setting it back, with the setting ``key``.
    """
    back, keys = "set it back", [key]
    if environment["chat_template"].get("dated") and any("chat_template" in s for s in different):
        back += ", today's date by a variable of the chat template such as date_string"
        keys.append("chat_template_kwargs")
    return InputError(f"{what}: {'; '.join(different)}; {back}, or {otherwise}", key=keys)


def check_writable(path: Path) -> None:
    """Find out now, not after the first step, whether the log can be written.

    Raises:
        InputError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".probe-"):
            pass
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(
            f"log '{path}' cannot be written ({error.strerror}); choose another place", key=PLACE
        ) from None


def _leaves(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new} - UNCOMPARED):
            yield from _leaves(f"{name}.{key}", old.get(key), new.get(key))
    elif name == "other_models" and old and new and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from _leaves(f"{name}.{number}", *pair)
    elif old is not None or not name.endswith("tokenizer"):  # older logs have no hash of it
        yield name, old, new


# Characters shown of a value that is compared, and of what two values share before they differ.
SHOWN, SHARED = 40, 10


def _apart(old: Any, new: Any) -> str:
    """Two values, cut so that what differs is seen."""
    before, after = json.dumps(old), json.dumps(new)
    pairs = enumerate(zip(before, after, strict=False))
    shared = next((i for i, (one, other) in pairs if one != other), min(len(before), len(after)))
    start = max(0, shared - SHARED) if max(len(before), len(after)) > SHOWN else 0
    return f"was {_cut(before, start)} and is {_cut(after, start)}"


def _cut(text: str, start: int) -> str:
    shown = text[start : start + SHOWN]
    return f"{'...' if start else ''}{shown}{'...' if start + SHOWN < len(text) else ''}"
