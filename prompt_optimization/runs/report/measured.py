"""What a folder's logs have measured, as flat records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.runs.evaluate import read_evaluation
from prompt_optimization.runs.log import read_log
from prompt_optimization.runs.naming import search_variant, start_variant, task_name
from prompt_optimization.runs.report.published import model_name
from prompt_optimization.runs.resume import FREE


@dataclass(frozen=True)
class Measurement:
    """One prompt on the test rows of one task.

    Attributes:
        model: who answered; ``optimised_by``: whose gradients made the prompt, if any's.
        method: ``greater``, ``initial``, ``zero_shot_cot`` or ``prompt``.
        search, start: of the search that made the prompt, as ``naming`` calls them; an initial
            prompt has a ``start`` only.
        run: names the search, where there was one.
        hits: strictly right or not, by row.
    """

    task: str
    model: str
    method: str
    optimised_by: str
    search: str
    start: str
    run: str
    prompt: str
    hits: dict[int, bool]

    @property
    def accuracy(self) -> float:
        return sum(self.hits.values()) / len(self.hits)

    @property
    def variant(self) -> str:
        """What was done otherwise; empty for the method as it is."""
        return ", ".join(filter(None, (self.search, self.start)))


@dataclass
class Results:
    """All of a folder.

    Attributes:
        runs: finished runs' logs, by file.
        measurements: of runs and evaluations.
        left_out: what could not be used, in words.
    """

    runs: dict[Path, dict[str, Any]] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def read_results(folder: Path) -> Results:
    """Everything measured below ``folder``.

    Of runs with the same settings the newest counts.

    Raises:
        InputError: there is no such folder, or no result in it.
    """
    if not folder.is_dir():
        raise InputError(f"folder '{folder}' does not exist; give one that holds logs")
    results = Results()
    newest: dict[str, tuple[Path, dict[str, Any]]] = {}
    evaluations = []
    for path in sorted(folder.rglob("*.json"), key=lambda path: (path.name, path)):
        try:
            if path.name.endswith(".evaluation.json"):
                evaluations.append(read_evaluation(path))
            elif _is_log(path):
                log = read_log(path)
                if log["status"] == "finished":
                    newest[_settings(log)] = path, log
                else:
                    results.left_out.append(f"{path}: {log['status']}")
        except InputError as error:
            results.left_out.append(str(error))
    results.runs = dict(newest.values())
    found: dict[tuple[Any, ...], Measurement] = {}
    for log in results.runs.values():
        for measurement in _of_run(log):
            found.setdefault(_identity(measurement), measurement)
    for evaluation in evaluations:
        for measurement in _of_evaluation(evaluation):
            found.setdefault(_identity(measurement), measurement)
    results.measurements = list(found.values())
    if not results.runs and not results.measurements:
        reasons = f" ({'; '.join(results.left_out)})" if results.left_out else ""
        raise InputError(f"folder '{folder}' holds no finished run and no evaluation{reasons}")
    return results


def variant(log: dict[str, Any]) -> str:
    """What was done otherwise in a run; empty for the method as it is."""
    params = log["params"]
    words = search_variant(params), start_variant(params["control_init"])
    return ", ".join(filter(None, words))


def _is_log(path: Path) -> bool:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True  # let the reader say what is wrong with it
    return isinstance(data, dict) and "sessions" in data


def _settings(log: dict[str, Any]) -> str:
    kept = {key: value for key, value in log["params"].items() if key not in FREE}
    environment = log["environment"]
    return json.dumps([kept, environment["weights"], environment["data"]], sort_keys=True)


def _identity(m: Measurement) -> tuple[Any, ...]:
    """What is measured twice under the same one counts once; prompts of two searches do not."""
    run = m.run if m.method == "greater" else ""
    return (m.task, m.model, m.method, m.optimised_by, m.start, run, m.prompt, *m.hits)


def _of_run(log: dict[str, Any]) -> Iterator[Measurement]:
    test = log["evaluation"]["test"]
    if not test:
        return
    environment, params = log["environment"], log["params"]
    model = model_name(environment["model"])
    for method, key in (("initial", "initial"), ("greater", "best")):
        found = method == "greater"
        yield Measurement(
            task=task_name(params["train_data"]),
            model=model,
            method=method,
            optimised_by=model if found else "",
            search=search_variant(params) if found else "",
            start=start_variant(params["control_init"]),
            run=log["sessions"][0]["run"],
            prompt=test[key]["prompt"],
            hits=_hits(test[key], environment["rows"]["test"]),
        )


def _of_evaluation(evaluation: dict[str, Any]) -> Iterator[Measurement]:
    model = model_name(evaluation["environment"]["model"])
    for result in evaluation["results"]:
        origin = result["origin"]
        if result["split"] != "test" or origin.get("prompt", "chosen") != "chosen":
            continue
        yield Measurement(
            task=result["task"],
            model=model,
            method={"log": "greater", "prompt": "prompt"}.get(origin["kind"]) or origin["name"],
            optimised_by=model_name(origin["model"]) if origin["kind"] == "log" else "",
            search=origin.get("search", ""),
            start=origin.get("start", ""),
            run=origin.get("run", ""),
            prompt=result["prompt"],
            hits=_hits(result, result["rows"]),
        )


def _hits(record: dict[str, Any], rows: list[int]) -> dict[int, bool]:
    hits = record["hits"]["strict"]
    return {row: hit == "1" for row, hit in zip(rows, hits, strict=True)}
