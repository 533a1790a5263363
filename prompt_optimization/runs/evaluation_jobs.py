"""What is to be evaluated: prompts from logs, from the command line, and baselines, by task.

Free of torch, so that help and refusals come at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.models.layout import Layout
from prompt_optimization.runs.config import Plan, all_keys, key_named, plan
from prompt_optimization.runs.naming import (
    metric_label,
    search_settings,
    search_variant,
    start_variant,
    task_name,
)
from prompt_optimization.runs.store.collection import read_collection
from prompt_optimization.runs.store.log import logs_of, method_of, read_log, run_id
from prompt_optimization.tasks.examples import Example, Table
from prompt_optimization.tasks.open import read_task
from prompt_optimization.tasks.registry import STYLES, task_of
from prompt_optimization.tasks.templates import END

# Kojima et al., 2022: it stands after the question as a sentence of its own.
ZERO_SHOT_COT = (END, "", " Let's think step by step.")
BASELINES = ("initial", "zero_shot_cot")


@dataclass(frozen=True)
class Request:
    """What the command asks for.

    Attributes:
        logs: files, or folders of which every finished run's newest log counts.
        prompts: texts.
        baselines: of ``BASELINES``.
        split: of ``SPLITS``.
        all_best: every best prompt of a log, not only the one chosen on dev.
    """

    logs: tuple[Path, ...] = ()
    prompts: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    split: str = "test"
    all_best: bool = False


@dataclass
class PromptToScore:
    """A prompt with the template and the connector that it stands in, and all that named it."""

    template: str
    connector: str
    prompt: str
    origins: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class EvaluationJob:
    """The prompts to score on the same rows of one task.

    Attributes:
        name: of the task.
    """

    name: str
    settings: Plan
    tables: dict[str, Table]
    split: str
    examples: tuple[Example, ...]
    prompts: dict[tuple[str, str, str], PromptToScore] = field(default_factory=dict)

    def add(self, prompt: str, origin: dict[str, Any]) -> None:
        """Enter a prompt that stands where the settings have it."""
        task = self.settings.task
        self.add_in(task.template, task.connector, prompt, origin)

    def add_in(self, template: str, connector: str, prompt: str, origin: dict[str, Any]) -> None:
        """Enter a prompt once, whoever names it."""
        made = PromptToScore(template, connector, Layout.normalise(prompt))
        entered = self.prompts.setdefault((template, connector, made.prompt), made)
        if origin not in entered.origins:
            entered.origins.append(origin)


def gather(
    values: Mapping[str, Any], overridden: Set[str], request: Request
) -> list[EvaluationJob]:
    """The jobs that a request means: one a task, as its logs or else the settings describe it.

    Args:
        values: every setting by its name: how and by which model prompts are read.
        overridden: the settings, by name or within their groups, that count more than the logs'.

    Raises:
        InputError: a log cannot be used, rows are missing, or there is no prompt to score.
    """
    for prompt in request.prompts:
        if not prompt.strip():
            raise InputError("an empty prompt cannot be evaluated; give a text", key="prompt")
        if not re.sub(r"[\n\t]", "", prompt).isprintable():
            raise InputError(
                f"prompt {prompt!a} holds characters that cannot be printed; give a text in UTF-8",
                key="prompt",
            )
    # Keys inside a setting that is a dict have no name of their own; none of those is the task's.
    given = {each.name for name in overridden if (each := key_named(name))}
    jobs: dict[tuple[Any, ...], EvaluationJob] = {}
    for path, log in _logs(request.logs):
        chosen = _chosen_text(path, log)
        job = _job(_of_log(values, given, log), request.split, jobs)
        _check_data(path, log, job, "train_data" in given)
        origin = {
            "kind": "log",
            "log": path.name,
            "run": run_id(log),
            "model": log["environment"]["model"],
            "weights": log["environment"]["weights"],
            "method": method_of(log),
            "settings": search_settings(log["params"]),
            "search": search_variant(log["params"]),
            "start": start_variant(log["params"]["control_init"]),
        }
        job.add(chosen, origin | {"prompt": "chosen"})
        for rank, scored in enumerate(log["best"] if request.all_best else (), 1):
            job.add(scored["prompt"], origin | {"prompt": f"best {rank}"})
    if not jobs:
        _job(values, request.split, jobs)
    for job in jobs.values():
        for prompt in request.prompts:
            job.add(prompt, {"kind": "prompt"})
        for name in request.baselines:
            origin = {"kind": "baseline", "name": name, "start": ""}
            if name == "initial":
                prompt = job.settings.task.prompt
                job.add(prompt, origin | {"start": start_variant(prompt)})
            else:
                job.add_in(*ZERO_SHOT_COT, origin)
        if not job.prompts:
            raise InputError(
                "no prompt to evaluate; give a text, a log or a baseline",
                key=("prompt", "log", "baseline"),
            )
    return list(jobs.values())


def _newest(path: Path) -> Path:
    """The newest log where ``path`` is a result_prefix; else itself."""
    logs = [] if path.exists() else logs_of(str(path))
    return logs[-1] if logs else path


def _logs(paths: Sequence[Path]) -> list[tuple[Path, dict[str, Any]]]:
    found: list[tuple[Path, dict[str, Any]]] = []
    for path in paths:
        if path.is_dir():
            done = list(read_collection(path).finished().items())
            if not done:
                raise InputError(
                    f"folder '{path}' holds no log of a finished run; give another", key="log"
                )
            found.extend(done)
            continue
        path = _newest(path)
        log = read_log(path)
        if log["status"] != "finished":
            raise InputError(
                f"the run in '{path}' is not finished ({log['status']}) and has chosen no prompt; "
                "continue it first, or leave it out",
                key="log",
            )
        found.append((path, log))
    return found


def _chosen_text(path: Path, log: dict[str, Any]) -> str:
    """The prompt that dev has elected, or the best one.

    Raises:
        InputError: it is a rule or an ensemble, which the log only describes.
    """
    evaluation = log["evaluation"]
    # Logs from before there were several kinds do not say.
    kind = evaluation.get("kind", "text")
    if kind != "text":
        raise InputError(
            f"the run in '{path}' has chosen something of kind '{kind}', and only texts can be "
            "evaluated; leave it out",
            key="log",
        )
    chosen: str = evaluation["chosen"]
    return chosen


def _of_log(values: Mapping[str, Any], overridden: Set[str], log: dict[str, Any]) -> dict[str, Any]:
    """``values`` for the task of ``log``."""
    keys = all_keys()
    # A key that has come since the log was written has its default.
    params = {name: each.default for name, each in keys.items()} | log["params"]
    own = {name for name, each in keys.items() if each.of_task} - overridden
    found = {**values, **{name: params[name] for name in own}}
    if "extractor_text" not in overridden:
        # A task's own extractor is written in the style of the model that reads it.
        task, style = task_of(params["train_data"]), params["extractor_style"]
        text = params["extractor_text"]
        its_own = task is not None and style in STYLES and text == task.extractor(style)
        found["extractor_text"] = "" if its_own else text
    return found


def _job(
    values: Mapping[str, Any], split: str, jobs: dict[tuple[Any, ...], EvaluationJob]
) -> EvaluationJob:
    """The job for the task that ``values`` describe: one of ``jobs``, or a new one."""
    # Words that have to stay are a search's business.
    settings = plan({**values, "keep": ()})
    task = settings.task
    # A result says how many rows it is of.
    tables, splits = read_task(task, lambda _: None, settings.method.unlabelled)
    path = tables["train"].path
    examples = splits.named().get(split)
    if examples is None:
        raise InputError(
            f"the {split} split of '{path}' is empty; give it rows", key=f"n_{split}_data"
        )
    if bare := next((each for each in examples if not each.labelled), None):
        raise InputError(
            f"row {bare.row} of '{path}' has no answer to measure by; evaluate another split",
            key=f"n_{split}_data",
        )
    settings.metric.check(examples)
    name = task_name(path)
    hashes = tuple(table.sha256 for table in tables.values())
    rows = tuple(example.row for example in examples)
    prompt = Layout.normalise(task.prompt)
    texts = (task.extractor_text, task.template, task.connector, prompt)
    key = (name, hashes, rows, *texts, metric_label(settings.params))
    return jobs.setdefault(key, EvaluationJob(name, settings, tables, split, examples))


def _check_data(path: Path, log: dict[str, Any], job: EvaluationJob, other_task: bool) -> None:
    """A log's rows must be those that it means, and held out must be held out.

    Args:
        other_task: the command names the data.

    Raises:
        InputError: they are not.
    """
    before = log["environment"]["data"]
    for name, table in job.tables.items():
        if name not in before or before[name]["sha256"] != table.sha256:
            if other_task:
                return
            raise InputError(
                f"'{table.path}' has changed since the run in '{path}'; bring the file back, or "
                "name other data",
                key="train_data",
            )
    if job.split == "test" and "test" not in job.tables:
        rows = log["environment"]["rows"]
        chosen_on = () if "dev" in job.tables else rows.get("dev", ())
        used = {*rows["train"], *chosen_on} & {e.row for e in job.examples}
        if used:
            raise InputError(
                f"test rows {_short(sorted(used))} are rows that the run in '{path}' trained or "
                "chose on; leave the rows of the splits as its log has them, or take the train or "
                "the dev split",
                key=("data_offset", "n_train_data", "n_dev_data", "split"),
            )


def _short(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:5]))
    return f"{shown} and {len(rows) - 5} more" if len(rows) > 5 else shown
