"""From a config to checked settings. Free of torch, so that help and refusals come at once.

Everything that can be refused without loading a model is refused here.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, FieldReference

from prompt_optimization.errors import InputError, nearest
from prompt_optimization.keys import Key, Settings, unique
from prompt_optimization.models.role_settings import JudgeSettings, WriterSettings
from prompt_optimization.models.settings import (
    AnswererSettings,
    ComputeSettings,
    EmbedSettings,
    ReasoningSettings,
)
from prompt_optimization.optimizers.registry import method_names, settings_class
from prompt_optimization.optimizers.stoppers import StopSettings
from prompt_optimization.paths import user_path
from prompt_optimization.runs.settings import IgnoredSettings, RunSettings
from prompt_optimization.scoring.settings import ScoringSettings
from prompt_optimization.tasks.metrics.metric import Metric
from prompt_optimization.tasks.open import open_metric, template_of
from prompt_optimization.tasks.registry import Task, task_of
from prompt_optimization.tasks.settings import TaskSettings
from prompt_optimization.tasks.splits import ALL

COMMON: tuple[type[Settings], ...] = (
    TaskSettings,
    AnswererSettings,
    ReasoningSettings,
    ScoringSettings,
    WriterSettings,
    JudgeSettings,
    EmbedSettings,
    StopSettings,
    RunSettings,
    ComputeSettings,
)

# Values of resume that absl's habits suggest.
RESUME = {"False": "no", "false": "no", "true": "True"}


@cache
def groups() -> tuple[type[Settings], ...]:
    """All groups, in the order in which they are shown."""
    methods = (settings_class(name) for name in method_names())
    return tuple(dict.fromkeys((*COMMON, *methods, IgnoredSettings)))


@cache
def all_keys() -> dict[str, Key]:
    """Every setting by its name."""
    return unique(groups())


@cache
def key_names() -> tuple[str, ...]:
    """Every name of every setting: flat, and within its group."""
    return tuple(name for each in all_keys().values() for name in each.names)


def key_named(name: str) -> Key | None:
    """The setting called ``name``, flat or within its group."""
    found = all_keys().get(name)
    return found or next((each for each in all_keys().values() if name in each.names), None)


def advice(name: str, known: Iterable[str], spelled: str = "'{}'") -> str:
    """How a sentence about the unknown key ``name`` ends.

    Args:
        known: keys that may have been meant.
        spelled: how the user writes one of them.
    """
    # A flag's name, or one of published code.
    for group in groups():
        if name in group.elsewhere:
            return group.elsewhere[name]
    meant = nearest(name, known)
    return f"did you mean {spelled.format(meant)}?" if meant else "--help lists the keys"


class _DictReference(FieldReference):
    """A setting that is a dict, under both its names; its keys are the user's."""

    def __init__(self, default: dict[str, Any]) -> None:
        super().__init__(ConfigDict(default, type_safe=False), ConfigDict)

    def set(self, value: Any, type_safe: bool = True) -> None:
        if isinstance(value, Mapping):
            value = ConfigDict(value, type_safe=False)
        super().set(value, type_safe)


def make_config() -> ConfigDict:
    """The config with every default: groups, and the flat names as references into them."""
    config = ConfigDict()
    for group in groups():
        config[group.group] = ConfigDict()
    for each in all_keys().values():
        value = (
            _DictReference(each.default)
            if each.kind is dict
            else FieldReference(each.unset, each.kind)
        )
        config[each.group][each.attribute] = value
        for name in flat_names(each):
            config[name] = value
    return config


def flat_names(each: Key) -> list[str]:
    """The names of a setting that stand outside its group."""
    return [name for name in each.names if "." not in name]


def values_of(config: ConfigDict) -> dict[str, Any]:
    """The value of every setting of ``config``, by name.

    Raises:
        InputError: the config lacks a setting, so it was not made from the template; it has a key
            that is none; or it holds two values of one.
    """
    _check_names(config)
    return {name: _value(config, each) for name, each in all_keys().items()}


def _check_names(config: ConfigDict) -> None:
    for name, value in config.items():
        grouped = any(name == group.group for group in groups()) and isinstance(value, ConfigDict)
        for found in [f"{name}.{inner}" for inner in value] if grouped else [name]:
            if found not in key_names():
                raise InputError(
                    f"the config has the unknown key '{found}'; {advice(found, key_names())}"
                )


def _value(config: ConfigDict, each: Key) -> Any:
    try:
        found = {each.path: config[each.group][each.attribute]}
        found |= {name: config[name] for name in flat_names(each)}
    except (KeyError, TypeError):
        raise InputError(
            f"the config has no '{each.name}'; let its get_config begin with the template's"
        ) from None
    # Flat and grouped names are one value, unless a config file has replaced one of them.
    plain = {name: _plain(value) for name, value in found.items()}
    given = {name: value for name, value in plain.items() if value != each.unset} or plain
    (first, value), *others = given.items()
    for name, other in others:
        if value is not other and value != other:  # nan is itself and equals nothing
            raise InputError(
                f"the config has {value!r} as '{first}' and {other!r} as '{name}', which are one "
                "setting; give one value",
                key=each.name,
            )
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, ConfigDict):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return tuple(_plain(item) for item in value)
    return copy.deepcopy(value)


@dataclass(frozen=True)
class Plan:
    """A run's settings, checked.

    Attributes:
        params: every setting by its name, defaults resolved; what the log holds.
        judge: with which the judge is asked, also where the writer judges.
        method: the settings of the method that ``run.method`` names.
        metric: what a written answer is worth.
    """

    params: dict[str, Any]
    task: TaskSettings
    models: AnswererSettings
    compute: ComputeSettings
    reasoning: ReasoningSettings
    scoring: ScoringSettings
    writer: WriterSettings
    judge: JudgeSettings
    embed: EmbedSettings
    stop: StopSettings
    run: RunSettings
    method: Settings
    metric: Metric
    warnings: tuple[str, ...]

    @property
    def free(self) -> set[str]:
        """What a resumed run may change."""
        return {name for name, each in all_keys().items() if each.free} - self.method.fixed


def plan(values: Mapping[str, Any], metric: Metric | None = None) -> Plan:
    """Resolve and check the settings.

    Args:
        metric: in place of the one that the settings name.

    Raises:
        InputError: a value is out of range, missing, or does not go with another.
    """
    given = dict(values)
    given["resume"] = RESUME.get(given["resume"], given["resume"])
    run = RunSettings.of(given)
    kind = settings_class(run.method)
    for name, value in kind.brings(given).items():
        if given[name] == all_keys()[name].unset:
            given[name] = value
    known = task_of(str(given["train_data"]))
    brought = {**kind.defaults, **(known.defaults if known else {})}
    for name, each in all_keys().items():
        if each.unset is None and given[name] is None:
            given[name] = brought.get(name, each.default)
    task, models = TaskSettings.of(given), AnswererSettings.of(given)
    reasoning, stop = ReasoningSettings.of(given), StopSettings.of(given)
    compute, writer = ComputeSettings.of(given), WriterSettings.of(given)
    judge, embed = JudgeSettings.of(given), EmbedSettings.of(given)
    ignored, method = IgnoredSettings.of(given), kind.of(given)
    behaviour = getattr(method, "behaviour", "sound")
    scoring = ScoringSettings.of(given | {"behaviour": behaviour})
    metric = metric or open_metric(task)
    warnings = list(task.warnings)
    if models.masked:
        why = "with model.label_words"
        warnings += task.idle(why, "extractor_text", "connector", "template")
        warnings += reasoning.idle(why, *(each.attribute for each in reasoning.rows()))
    task = _resolved(task, metric, kind.unlabelled, models.masked)
    models.models()  # refuses keys with another number of entries
    made: list[Settings] = [task, models, reasoning, scoring, stop, run, compute, ignored, method]
    made += [writer] if kind.writes else []
    made += [judge] if method.judges else []
    made += [embed] if method.embeds else []
    params = {name: value for group in made for name, value in group.values().items()}
    params["metric"] = metric.name
    warnings += [warning for group in made[1:] for warning in group.warnings]
    if params["test_steps"] and not params["n_dev_data"]:
        warnings.append("test_steps has no effect without dev rows")
    if params.get("progressive_models") and params["num_train_models"] == 1:
        warnings.append("progressive_models has no effect with one model")
    if kind.writes:
        writer.check_ready()
        if writer.base_url:
            method.check_server("writer")
    elif writer != WriterSettings.default():
        warnings.append(f"the keys of writer have no effect under method={run.method}")
    if method.judges:
        judge.check_ready()
        if (judge if judge.model else writer).base_url:
            method.check_server("judge")
    elif judge != JudgeSettings.default():
        warnings.append(f"the keys of judge have no effect under these keys of {run.method}")
    if method.embeds:
        embed.check_ready()
    elif embed != EmbedSettings.default():
        warnings.append(f"the keys of embed have no effect under these keys of {run.method}")
    return Plan(
        params=params,
        task=task,
        models=models,
        compute=compute,
        reasoning=reasoning,
        scoring=scoring,
        writer=writer,
        judge=judge.beside(writer),
        embed=embed,
        stop=stop,
        run=run,
        method=method,
        metric=metric,
        warnings=tuple(warnings),
    )


def _resolved(
    settings: TaskSettings, metric: Metric, unlabelled: bool, masked: bool
) -> TaskSettings:
    """Rows per split, dev and test file and extractor of tasks that are known by their file's name,
    and the template with all that it holds.

    Args:
        unlabelled: answers matter to dev and test alone.
        masked: answers stand at a mask, and nothing asks for them.

    Raises:
        InputError: there are no training rows, no file of a split that has one of its own, no
            extractor and a metric that needs one, or the template is none.
    """
    values = settings.values()
    path = Path(values["train_data"])
    task = task_of(path)
    for name in ("train", "dev", "test"):
        if values[f"n_{name}_data"] == -1:
            # The class holds what most tasks have.
            values[f"n_{name}_data"] = getattr(task or Task, name)
    own = {"dev": task.dev_file, "test": task.test_file} if task else {}
    for split, file in own.items():
        if file in ("", path.name) or values[f"{split}_data"]:
            continue
        beside = path.with_name(file)
        if os.path.isfile(user_path(str(beside))):
            values[f"{split}_data"] = str(beside)
        elif values[f"n_{split}_data"] == ALL:
            raise InputError(
                f"the {split} rows of '{path}' are in the file '{file}', which is not beside it; "
                "fetch it, or give one",
                key=f"{split}_data",
            )
    if values["n_train_data"] == 0:
        raise InputError("0 is too small; give at least 1", key="n_train_data")
    if not values["extractor_text"].strip():
        values["extractor_text"] = task.extractor(values["extractor_style"]) if task else ""
    measured = not unlabelled or values["n_dev_data"] or values["n_test_data"]
    if not (values["extractor_text"] or masked) and metric.reads_beginning and measured:
        raise InputError(
            "no extractor; give the text that asks for the final answer, which only the paper's "
            f"tasks have of their own and the metric '{metric.name}' needs, or a metric that reads "
            "whole texts",
            key=("extractor_text", "metric"),
        )
    if not values["task.few_shot"]:
        values["task.few_shot_data"] = ""
    elif not values["task.few_shot_data"] and task and task.few_shot_file:
        values["task.few_shot_data"] = str(path.with_name(task.few_shot_file))
    # What the template holds is not put into it again.
    values["template"] = template_of(TaskSettings.of(values))
    return TaskSettings.of(values | {"task.include_qa": False, "task.few_shot": False})
