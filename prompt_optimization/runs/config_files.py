"""Configs that are no Python files: a log, whose run is repeated, and YAML. Free of torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from prompt_optimization.errors import InputError
from prompt_optimization.paths import user_path
from prompt_optimization.runs.config import all_keys, key_named, make_config
from prompt_optimization.runs.store.collection import read_collection
from prompt_optimization.runs.store.log import PLACE, checked_log
from prompt_optimization.runs.yaml_config import read_yaml

YAML = (".yaml", ".yml")
# What ``log_path`` adds to a prefix.
_STAMP = re.compile(r"_\d{8}-\d{6}(-\d+)?\Z")
# Where a log is and how it came about, which is not repeated.
_OF_THE_RUN = (*PLACE, "resume")


def is_config_file(path: str) -> bool:
    """Whether ``path`` is for this module to read: JSON, YAML, or a folder."""
    return Path(path).suffix.lower() in (".json", *YAML) or user_path(path).is_dir()


def config_of(path: str) -> ConfigDict:
    """The config that a file or a folder holds.

    Raises:
        InputError: it cannot be read, or a key or a value in it cannot be used.
    """
    log = _log(path)
    found = read_yaml(user_path(path)) if log is None else _of_log(*log)
    config = make_config()
    for name, value in found.items():
        each = all_keys()[name]
        config[each.group][each.attribute] = value
    return config


def left_out(path: str) -> str:
    """A sentence about the keys of a log that no setting has; empty where there is none."""
    log = _log(path)
    unknown = [name for name in log[1]["params"] if key_named(name) is None] if log else []
    if not unknown:
        return ""
    return f"the log's keys {', '.join(unknown)} are unknown to this version and left out"


def _log(path: str) -> tuple[Path, dict[str, Any]] | None:
    """The log that is meant; None where the file is none.

    Raises:
        InputError: it is damaged, or a folder does not hold exactly one.
    """
    file = user_path(path)
    if file.is_dir():
        logs = read_collection(file).logs
        if len(logs) != 1:
            newest = f", such as '{list(logs)[-1]}'" if logs else ""
            raise InputError(
                f"folder '{path}' holds {len(logs) or 'no'} logs; name the log of a run{newest}",
                key="config",
            )
        return next(iter(logs.items()))
    if file.suffix.lower() in YAML:
        return None
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or "sessions" not in data:
        return None
    return file, checked_log(file, data)


def _of_log(path: Path, log: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a log's run, whose new log stands beside it."""
    params, found = log["params"], {}
    for each in all_keys().values():
        if each.name in _OF_THE_RUN:
            continue
        if each.name in params and params[each.name] is not None:
            try:
                found[each.name] = each.check(params[each.name])
            except InputError as error:
                raise InputError(f"of log '{path}', {each.name}: {error.problem}") from None
        elif each.name not in params and each.formerly is not None:
            found[each.name] = each.formerly  # what it was before there was the key
    found["result_prefix"] = str(path.parent / _STAMP.sub("", path.stem))
    return found
