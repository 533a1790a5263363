"""What a folder's logs have measured, as flat records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.runs.evaluate import read_evaluation
from prompt_optimization.runs.folder import read_folder
from prompt_optimization.runs.naming import (
    search_settings,
    search_variant,
    start_variant,
    task_name,
)
from prompt_optimization.runs.report.published import MODELS, model_name
from prompt_optimization.tasks.registry import TASKS


@dataclass(frozen=True)
class Measurement:
    """One prompt on the test rows of one task.

    Attributes:
        task: its name; with a part of the data's hash where the data are not the authors'.
        model: who answered; ``optimised_by``: whose gradients made the prompt, if any's.
        method: ``greater``, ``initial``, ``zero_shot_cot`` or ``prompt``.
        variant: what was done otherwise in the search, and where it began; an initial prompt has
            the latter only.
        start: where the search began; empty for the paper's initial prompt.
        run: names the search, where there was one.
        settings: of search and reading that ``variant`` does not tell; where those of two
            measurements differ, ``told_apart`` adds them to it.
        hits: right or not, by row.
    """

    task: str
    model: str
    method: str
    hits: dict[int, bool]
    prompt: str = ""
    optimised_by: str = ""
    variant: str = ""
    start: str = ""
    run: str = ""
    settings: dict[str, str] = field(default_factory=dict)


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


def read_results(folder: Path, reading: str = "strict") -> Results:
    """Everything measured below ``folder``.

    Of runs with the same settings the newest counts.

    Args:
        reading: which of an answer's readings counts: ``strict``, ``flexible`` or
            ``teacher_forced``.

    Raises:
        InputError: there is no such folder, or no result in it.
    """
    found = read_folder(folder)
    results = Results(found.finished(), left_out=list(found.left_out))
    results.left_out += [
        f"{path}: {log['status']}"
        for path, log in found.logs.items()
        if log["status"] != "finished"
    ]
    evaluations = []
    for path in sorted(folder.rglob("*.evaluation.json")):
        try:
            evaluations.append(read_evaluation(path))
        except InputError as error:
            results.left_out.append(str(error))
    names = _model_names(
        [log["environment"] for log in results.runs.values()]
        + [evaluation["environment"] for evaluation in evaluations]
        + [
            result["origin"]
            for evaluation in evaluations
            for result in evaluation["results"]
            if "weights" in result["origin"]
        ]
    )
    unique: dict[tuple[Any, ...], Measurement] = {}
    for measurement in chain(
        *(_of_run(log, names, reading) for log in results.runs.values()),
        *(_of_evaluation(evaluation, names, reading) for evaluation in evaluations),
    ):
        unique.setdefault(_identity(measurement), measurement)
    results.measurements = told_apart(list(unique.values()))
    if not results.runs and not results.measurements:
        reasons = f" ({'; '.join(results.left_out)})" if results.left_out else ""
        raise InputError(f"folder '{folder}' holds no finished run and no evaluation{reasons}")
    return results


def told_apart(measurements: list[Measurement]) -> list[Measurement]:
    """With the settings in which measurements of the same task, model and method differ added to
    their variants: what was not done alike is not averaged."""
    values: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for m in measurements:
        for key, value in m.settings.items():
            values[m.task, m.model, m.method, key].add(value)

    def named(m: Measurement) -> Measurement:
        differing = [
            f"{key}={value}"
            for key, value in sorted(m.settings.items())
            if len(values[m.task, m.model, m.method, key]) > 1
        ]
        return replace(m, variant=", ".join(filter(None, (m.variant, *differing))))

    return [named(m) for m in measurements]


def variant(params: dict[str, Any]) -> str:
    """What was done otherwise in a run; empty for the method as it is."""
    words = search_variant(params), start_variant(params["control_init"])
    return ", ".join(filter(None, words))


def task_label(train_data: str, data: dict[str, Any]) -> str:
    """The task's name, which the authors' data alone may carry unmarked."""
    name = task_name(train_data)
    if name in TASKS and all(table["official"] for table in data.values()):
        return name
    return f"{name} (data {data['train']['sha256'][:6]})"


def _model_names(environments: Iterable[dict[str, Any]]) -> dict[str, str]:
    """A name for every checkpoint, by its weights' hash; a part of that tells apart what is called
    alike, except for the paper's models."""
    weights: defaultdict[str, set[str]] = defaultdict(set)
    for environment in environments:
        weights[model_name(environment["model"])].add(environment["weights"])
    return {
        each: name if len(alike) == 1 or name in MODELS else f"{name} ({each[:6]})"
        for name, alike in weights.items()
        for each in alike
    }


def _identity(m: Measurement) -> tuple[Any, ...]:
    """What is measured twice under the same one counts once; prompts of two searches do not."""
    run = m.run if m.method == "greater" else ""
    settings = tuple(sorted(m.settings.items()))
    return (m.task, m.model, m.method, m.optimised_by, m.start, run, m.prompt, settings, *m.hits)


def _reading(params: dict[str, Any], environment: dict[str, Any], extractor: str) -> dict[str, str]:
    return {
        "extractor": extractor,
        "dtype": environment["dtype"],
        **{key: str(params[key]) for key in ("max_new_tokens", "answer_tokens")},
    }


def _of_run(log: dict[str, Any], names: dict[str, str], reading: str) -> Iterator[Measurement]:
    test = log["evaluation"]["test"]
    if not test:
        return
    environment, params = log["environment"], log["params"]
    model = names[environment["weights"]]
    read = _reading(params, environment, params["extractor_text"])
    for method, key in (("initial", "initial"), ("greater", "best")):
        found = method == "greater"
        start = start_variant(params["control_init"])
        yield Measurement(
            task=task_label(params["train_data"], environment["data"]),
            model=model,
            method=method,
            hits=_hits(test[key], environment["rows"]["test"], reading),
            prompt=test[key]["prompt"],
            optimised_by=model if found else "",
            variant=variant(params) if found else start,
            start=start,
            run=log["sessions"][0]["run"],
            settings=read | (search_settings(params) if found else {}),
        )


def _of_evaluation(
    evaluation: dict[str, Any], names: dict[str, str], reading: str
) -> Iterator[Measurement]:
    environment = evaluation["environment"]
    for result in evaluation["results"]:
        origin = result["origin"]
        if result["split"] != "test" or origin.get("prompt", "chosen") != "chosen":
            continue
        tables = {
            name.rpartition(" ")[2]: table
            for name, table in environment["data"].items()
            if name.rpartition(" ")[0] == result["task"]
        }
        search, start = origin.get("search", ""), origin.get("start", "")
        yield Measurement(
            task=task_label(result["task"], tables),
            model=names[environment["weights"]],
            method={"log": "greater", "prompt": "prompt"}.get(origin["kind"]) or origin["name"],
            hits=_hits(result, result["rows"], reading),
            prompt=result["prompt"],
            optimised_by=names[origin["weights"]] if origin["kind"] == "log" else "",
            variant=", ".join(filter(None, (search, start))),
            start=start,
            run=origin.get("run", ""),
            settings=_reading(evaluation["params"], environment, result["extractor"])
            | origin.get("settings", {}),
        )


def _hits(record: dict[str, Any], rows: list[int], reading: str) -> dict[int, bool]:
    return {row: hit == "1" for row, hit in zip(rows, record["hits"][reading], strict=True)}
