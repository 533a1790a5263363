"""What is to be evaluated: prompts from logs, from the command line, and baselines, by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from prompt_optimization.errors import InputError
from prompt_optimization.models.layout import Layout
from prompt_optimization.runs.folder import read_folder
from prompt_optimization.runs.log import read_log
from prompt_optimization.runs.naming import (
    search_settings,
    search_variant,
    start_variant,
    task_name,
)
from prompt_optimization.runs.resume import logs_of
from prompt_optimization.runs.settings import RunSettings, read_task, run_settings
from prompt_optimization.tasks.examples import Example, Table
from prompt_optimization.tasks.registry import task_of

# Kojima et al., 2022: it stands behind the question as a sentence of its own.
ZERO_SHOT_COT = ("", " Let's think step by step.")
BASELINES = ("initial", "zero_shot_cot")

# What makes a run's task the task it is; a log brings these along.
TASK_KEYS = (
    "train_data", "test_data", "data_offset", "n_train_data", "n_dev_data", "n_test_data",
    "connector", "control_init",
)  # fmt: skip


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
class Contender:
    """A prompt with what stands between it and the question, and all that named it."""

    connector: str
    prompt: str
    origins: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Job:
    """The prompts to try on the same rows of one task."""

    name: str
    settings: RunSettings
    tables: dict[str, Table]
    split: str
    examples: tuple[Example, ...]
    contenders: dict[tuple[str, str], Contender] = field(default_factory=dict)

    def add(self, connector: str, prompt: str, origin: dict[str, Any]) -> None:
        """Enter a prompt once, whoever names it."""
        prompt = Layout.normalise(prompt)
        contender = self.contenders.setdefault((connector, prompt), Contender(connector, prompt))
        if origin not in contender.origins:
            contender.origins.append(origin)


def gather(
    config: ConfigDict, defaults: ConfigDict, overridden: set[str], request: Request
) -> list[Job]:
    """The jobs that a request means: one a task, as its logs or else the config describe it.

    Args:
        config: how and by which model prompts are read.
        defaults: the unchanged template.
        overridden: keys that were set on the command line; they count more than the logs'.

    Raises:
        InputError: a log cannot be used, rows are missing, or there is no prompt to try.
    """
    for prompt in request.prompts:
        if not prompt.strip():
            raise InputError("an empty prompt cannot be evaluated; give --prompt a text")
        if not prompt.isprintable():
            raise InputError(
                f"--prompt={prompt!a} holds characters that cannot be printed; give one line of "
                "text in UTF-8"
            )
    jobs: dict[tuple[Any, ...], Job] = {}
    for path, log in _logs(request.logs):
        job = _job(_of_log(config, overridden, log), defaults, request.split, jobs)
        _check_data(path, log, job, "train_data" in overridden)
        connector = job.settings.params["connector"]
        origin = {
            "kind": "log",
            "log": path.name,
            "run": log["sessions"][0]["run"],
            "model": log["environment"]["model"],
            "weights": log["environment"]["weights"],
            "settings": search_settings(log["params"]),
            "search": search_variant(log["params"]),
            "start": start_variant(log["params"]["control_init"]),
        }
        job.add(connector, log["evaluation"]["chosen"], origin | {"prompt": "chosen"})
        for place, scored in enumerate(log["best"] if request.all_best else (), 1):
            job.add(connector, scored["prompt"], origin | {"prompt": f"best {place}"})
    if not jobs:
        _job(config, defaults, request.split, jobs)
    for job in jobs.values():
        connector = job.settings.params["connector"]
        for prompt in request.prompts:
            job.add(connector, prompt, {"kind": "prompt"})
        for name in request.baselines:
            initial = name == "initial"
            between, prompt = (connector, job.settings.prompt) if initial else ZERO_SHOT_COT
            start = start_variant(prompt) if initial else ""
            job.add(between, prompt, {"kind": "baseline", "name": name, "start": start})
        if not job.contenders:
            raise InputError("no prompt to evaluate; give --prompt, --log or --baseline")
    return list(jobs.values())


def _newest(path: Path) -> Path:
    """The newest log where ``path`` is a result_prefix; else itself."""
    logs = [] if path.exists() else logs_of(str(path))
    return logs[-1] if logs else path


def _logs(paths: Sequence[Path]) -> list[tuple[Path, dict[str, Any]]]:
    found: list[tuple[Path, dict[str, Any]]] = []
    for path in paths:
        if path.is_dir():
            done = list(read_folder(path).finished().items())
            if not done:
                raise InputError(f"folder '{path}' holds no log of a finished run; give another")
            found.extend(done)
            continue
        path = _newest(path)
        log = read_log(path)
        if log["status"] != "finished":
            raise InputError(
                f"the run in '{path}' is not finished ({log['status']}) and has chosen no prompt; "
                "go on with it first, or leave it out"
            )
        found.append((path, log))
    return found


def _of_log(config: ConfigDict, overridden: set[str], log: dict[str, Any]) -> ConfigDict:
    """``config`` for the task of ``log``."""
    config = config.copy_and_resolve_references()
    params = log["params"]
    for key in TASK_KEYS:
        if key not in overridden:
            config[key] = params[key]
    if "extractor_text" not in overridden:
        # A task's own extractor is written in the style of the model that reads it.
        task = task_of(Path(params["train_data"]).stem)
        own = task is not None and params["extractor_text"] == task.extractor(
            params["extractor_style"]
        )
        config.extractor_text = "" if own else params["extractor_text"]
    return config


def _job(
    config: ConfigDict, defaults: ConfigDict, split: str, jobs: dict[tuple[Any, ...], Job]
) -> Job:
    """The job for the task that ``config`` describes: one of ``jobs``, or a new one."""
    settings = run_settings(config, defaults)
    params = settings.params
    tables, splits = read_task(params)
    path = tables["train"].path
    examples = splits.named().get(split)
    if examples is None:
        raise InputError(f"the {split} split of '{path}' is empty; raise --config.n_{split}_data")
    name = task_name(path)
    hashes = tuple(table.sha256 for table in tables.values())
    rows = tuple(example.row for example in examples)
    key = (name, hashes, rows, params["extractor_text"], params["connector"], settings.prompt)
    return jobs.setdefault(key, Job(name, settings, tables, split, examples))


def _check_data(path: Path, log: dict[str, Any], job: Job, other_task: bool) -> None:
    """Rows behind a log's prompts must be the rows it means, and held out must be held out.

    Args:
        other_task: the command names the data.
    """
    before = log["environment"]["data"]
    for name, table in job.tables.items():
        if name not in before or before[name]["sha256"] != table.sha256:
            if other_task:
                return
            raise InputError(
                f"'{table.path}' has changed since the run in '{path}'; bring the file back, or "
                "name other data with --config.train_data"
            )
    if job.split == "test" and "test" not in job.tables:
        rows = log["environment"]["rows"]
        used = {*rows["train"], *rows.get("dev", ())} & {e.row for e in job.examples}
        if used:
            raise InputError(
                f"test rows {_short(sorted(used))} are rows that the run in '{path}' trained or "
                "chose on; leave --config.data_offset, n_train_data and n_dev_data as its log has "
                "them, or take --split=train or dev"
            )


def _short(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:5]))
    return f"{shown} and {len(rows) - 5} more" if len(rows) > 5 else shown
