"""The file that holds the results of an evaluation on its own: what the evaluate command found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError, require
from prompt_optimization.paths import user_path

FORMAT = 1

# How the file's name ends.
EVALUATION = ".evaluation.json"

# What every file of this format holds of the settings, and what every result holds besides its
# metrics.
PARAMS = {"max_new_tokens", "answer_tokens", "extractor_separator"}
RESULT = {"task", "split", "rows", "origin", "connector", "extractor", "prompt", "hits"}


def evaluation_path(prefix: str) -> Path:
    """Where the results of the evaluation with this ``result_prefix`` are."""
    return user_path(f"{prefix}{EVALUATION}")


def read_evaluation(path: Path) -> dict[str, Any]:
    """The content of an evaluation's file.

    Raises:
        InputError: it cannot be read, is something else, or a newer version wrote it.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        number = int(data["format"])
        require(data["kind"] == "evaluation")
        if number <= FORMAT:
            _check(data)
    except OSError as error:
        raise InputError(f"evaluation '{path}' cannot be read ({error.strerror})") from None
    except (ValueError, LookupError, TypeError, RecursionError):
        raise InputError(
            f"'{path}' is no evaluation, or damaged; move it and its outputs away or choose "
            "another place",
            key="result_prefix",
        ) from None
    if number > FORMAT:
        raise InputError(
            f"evaluation '{path}' has format {number} and this version knows up to {FORMAT}; use "
            "the version that wrote it, or a newer one"
        )
    return data


def _check(data: dict[str, Any]) -> None:
    """Whoever reads an evaluation relies on this."""
    require(all(isinstance(data[key], dict) for key in ("params", "environment")))
    require(set(data["params"]) >= PARAMS and isinstance(data["results"], list))
    environment = data["environment"]
    require(set(environment) >= {"model", "weights", "dtype"})
    require(isinstance(environment["data"], dict))
    for table in environment["data"].values():
        require(isinstance(table["sha256"], str) and isinstance(table["official"], bool))
    for result in data["results"]:
        require(isinstance(result, dict) and set(result) >= RESULT)
        require(isinstance(result["rows"], list))
        require(all(isinstance(result[key], dict) for key in ("hits", "origin")))
        require(all(isinstance(result[key], str) for key in ("prompt", "connector", "extractor")))
        require("strict" in result["hits"])
        require(all(len(hits) == len(result["rows"]) for hits in result["hits"].values()))
        require(
            all(
                len(result[name]) == len(result["rows"])
                for name in {"weights", "groups"} & result.keys()
            )
        )
        require(f"{result['task']} train" in environment["data"])
        _check_origin(result["origin"])


def _check_origin(origin: dict[str, Any]) -> None:
    """A run's log, the user or a baseline has named the prompt."""
    require(origin["kind"] in ("log", "prompt", "baseline"))
    if origin["kind"] == "log":
        require(set(origin) >= {"model", "weights"})
    if origin["kind"] == "baseline":
        require(isinstance(origin["name"], str))
