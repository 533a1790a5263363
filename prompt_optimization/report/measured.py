"""What a folder's logs and evaluations have measured, as flat records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.report import reading
from prompt_optimization.report.names import method_name
from prompt_optimization.report.published import MODELS, model_name
from prompt_optimization.report.reading import Reading
from prompt_optimization.runs.naming import (
    metric_label,
    search_settings,
    search_variant,
    start_variant,
    task_name,
)
from prompt_optimization.runs.store.collection import read_collection
from prompt_optimization.runs.store.evaluations import EVALUATION, read_evaluation
from prompt_optimization.runs.store.log import method_of, metric_of, run_id
from prompt_optimization.scoring.settings import METRICS
from prompt_optimization.tasks.registry import TASKS


@dataclass(frozen=True)
class Measurement:
    """One prompt on the test rows of one task.

    Attributes:
        task: its name; with a part of the data's hash where the data are not the authors'.
        model: who answered; ``optimised_by``: for which model the prompt was searched, if any.
        method: that of the search; ``initial``, ``prompt`` (a given text) or a baseline's name
            where there was none.
        hits: by row, 1 where it was right, 0 where it was wrong, or what a metric gave to it.
        weights: by row, how much it counts; empty where all count alike.
        groups: by row, its group; empty where there are none.
        variant: what was different in the search, and where it began; an initial prompt has the
            latter only.
        start: where the search began; empty for the paper's initial prompt.
        run: names the search; that of an initial prompt is the one that began with it.
        settings: of the search, that ``variant`` does not tell; where those of two measurements
            differ, ``disambiguate`` adds them to it.
        reading: how the prompt was read (``reading.py``).
        label: what of ``reading`` is different in other measurements of the task by the model;
            ``disambiguate`` fills it in.
    """

    task: str
    model: str
    method: str
    hits: dict[int, float]
    weights: dict[int, float] = field(default_factory=dict)
    groups: dict[int, str] = field(default_factory=dict)
    prompt: str = ""
    optimised_by: str = ""
    variant: str = ""
    start: str = ""
    run: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    reading: Reading = field(default_factory=dict)
    label: str = ""

    @property
    def kind(self) -> str:
        """How the prompt was searched and read, where that was not done alike throughout."""
        return ", ".join(filter(None, (self.variant, self.label)))

    @property
    def title(self) -> str:
        """What a table calls it."""
        given = self.method == "prompt"
        name = f"'{self.prompt.strip()}'" if given else method_name(self.method)
        return f"{name} ({self.kind})" if self.kind else name


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


def read_results(folder: Path, metric: str = "") -> Results:
    """Everything measured below ``folder``.

    Of runs with the same settings the newest counts.

    Args:
        metric: which reading of an answer counts; of each result its own when left out.

    Raises:
        InputError: there is no such folder, or no result in it.
    """
    found = read_collection(folder)
    results = Results(found.finished(), left_out=list(found.left_out))
    results.left_out += [
        f"{path}: {log['status']}"
        for path, log in found.logs.items()
        if log["status"] != "finished"
    ]
    evaluations = []
    for path in sorted(folder.rglob(f"*{EVALUATION}")):
        try:
            evaluations.append(read_evaluation(path))
        except InputError as error:
            results.left_out.append(error.problem)
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
    arguments = reading.template_arguments(found.logs.values())
    unique: dict[tuple[Any, ...], Measurement] = {}
    for measurement in chain(
        *(_of_run(log, names, metric) for log in results.runs.values()),
        *(_of_evaluation(each, names, arguments, metric) for each in evaluations),
    ):
        unique.setdefault(_identity(measurement), measurement)
    results.measurements = disambiguate(list(unique.values()))
    if not results.runs and not results.measurements:
        reasons = f" ({'; '.join(results.left_out)})" if results.left_out else ""
        raise InputError(f"folder '{folder}' holds no finished run and no evaluation{reasons}")
    return results


def disambiguate(measurements: list[Measurement]) -> list[Measurement]:
    """What was not done alike is named differently, so that it is not averaged.

    Settings in which searches of the same task, model and method differ are added to their
    variants. The parts of their readings that distinguish measurements of the same task and model
    become their labels, as does a metric that is no reading of the paper's kind.
    """
    settings: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    readings: defaultdict[tuple[str, str], list[Reading]] = defaultdict(list)
    for m in measurements:
        for name, value in m.settings.items():
            settings[m.task, m.model, m.method, name].add(value)
        readings[m.task, m.model].append(m.reading)
    parts = {key: reading.distinguishing(found) for key, found in readings.items()}

    def named(m: Measurement) -> Measurement:
        told = dict.fromkeys(parts[m.task, m.model])
        if m.reading.get("metric", METRICS[0]) not in METRICS:
            told |= {"metric": None}  # Nobody has published figures that were read so.
        searched = [
            f"{name}={value}"
            for name, value in sorted(m.settings.items())
            if len(settings[m.task, m.model, m.method, name]) > 1 and name not in told
        ]
        read = [reading.label(name, m.reading[name]) for name in told if name in m.reading]
        variant = ", ".join(filter(None, (m.variant, *searched)))
        return replace(m, variant=variant, label=", ".join(read))

    return [named(m) for m in measurements]


def variant(params: dict[str, Any]) -> str:
    """What was different in a run; empty for the method as it is."""
    words = search_variant(params), start_variant(params["control_init"])
    return ", ".join(filter(None, words))


def task_label(train_data: str, data: dict[str, Any]) -> str:
    """The task's name, which the authors' data alone may carry unmarked."""
    name = task_name(train_data)
    if name in TASKS and all(table["official"] for table in data.values()):
        return name
    hashes = " ".join(data[split]["sha256"][:6] for split in ("train", "test") if split in data)
    return f"{name} (data {hashes})"


def _model_names(environments: Iterable[dict[str, Any]]) -> dict[str, str]:
    """A name for every checkpoint, by its weights' hash. A part of the hash distinguishes
    checkpoints of one name, except for the paper's models."""
    weights: defaultdict[str, set[str]] = defaultdict(set)
    for environment in environments:
        weights[model_name(environment["model"])].add(environment["weights"])
    return {
        each: name if len(alike) == 1 or name in MODELS else f"{name} ({each[:6]})"
        for name, alike in weights.items()
        for each in alike
    }


def _identity(m: Measurement) -> tuple[Any, ...]:
    """Equal for measurements that count once: an evaluation may repeat what a run has measured."""
    did, read = (tuple(sorted(each.items())) for each in (m.settings, m.reading))
    return (m.task, m.model, m.method, m.optimised_by, m.start, m.run, m.prompt, did, read, *m.hits)


def _of_run(log: dict[str, Any], names: Mapping[str, str], asked: str) -> Iterator[Measurement]:
    test = log["evaluation"]["test"]
    metric = asked or (test and metric_of(test["best"]))
    if not test or metric not in test["best"]["hits"]:
        return
    environment, params = log["environment"], log["params"]
    rows = environment["rows"]["test"]
    start = start_variant(params["control_init"])
    initial = Measurement(
        task=task_label(params["train_data"], environment["data"]),
        model=names[environment["weights"]],
        method="initial",
        **_by_row(test["initial"], rows, metric),
        prompt=test["initial"]["prompt"],
        variant=start,
        start=start,
        run=run_id(log),
        reading=reading.of_run(log) | _read_by(asked, metric_label(params)),
    )
    yield initial
    yield replace(
        initial,
        method=method_of(log),
        **_by_row(test["best"], rows, metric),
        prompt=test["best"]["prompt"],
        optimised_by=initial.model,
        variant=variant(params),
        settings=search_settings(params),
    )


def _of_evaluation(
    evaluation: dict[str, Any],
    names: Mapping[str, str],
    arguments: Mapping[str, str],
    asked: str,
) -> Iterator[Measurement]:
    environment = evaluation["environment"]
    for result in evaluation["results"]:
        origin = result["origin"]
        if result["split"] != "test" or origin.get("prompt", "chosen") != "chosen":
            continue
        metric = asked or metric_of(result)
        if metric not in result["hits"]:
            continue
        searched = origin["kind"] == "log"
        tables = {
            name.rpartition(" ")[2]: table
            for name, table in environment["data"].items()
            if name.rpartition(" ")[0] == result["task"]
        }
        search, start = origin.get("search", ""), origin.get("start", "")
        yield Measurement(
            task=task_label(result["task"], tables),
            model=names[environment["weights"]],
            method=method_of(origin) if searched else origin.get("name", "prompt"),
            **_by_row(result, result["rows"], metric),
            prompt=result["prompt"],
            optimised_by=names[origin["weights"]] if searched else "",
            variant=", ".join(filter(None, (search, start))),
            start=start,
            run=origin.get("run", ""),
            settings=origin.get("settings", {}),
            reading=reading.of_result(evaluation, result, arguments)
            | _read_by(asked, result.get("read_by", metric)),
        )


def _read_by(asked: str, own: str) -> Reading:
    return {"metric": asked or own}


def _by_row(record: Mapping[str, Any], rows: list[int], metric: str) -> dict[str, Any]:
    """The parts of a measurement that are there for every row."""
    hits = dict(zip(rows, map(float, record["hits"][metric]), strict=True))
    parts = {name: record.get(name, []) for name in ("weights", "groups")}
    return {"hits": hits} | {
        name: dict(zip(rows, part, strict=False)) for name, part in parts.items()
    }
