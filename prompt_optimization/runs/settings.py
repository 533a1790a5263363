"""From a config to checked settings.

Everything that can be refused without loading a model is refused here.
"""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from prompt_optimization.errors import InputError
from prompt_optimization.models.engine import Decoding
from prompt_optimization.models.layout import Layout
from prompt_optimization.models.loading import ModelSettings
from prompt_optimization.models.worker import Wording
from prompt_optimization.optimizers import stoppers
from prompt_optimization.optimizers.greater.differentiate import LossWeights
from prompt_optimization.optimizers.greater.settings import BEHAVIOURS, SearchSettings
from prompt_optimization.optimizers.stoppers import Stopper
from prompt_optimization.tasks.examples import (
    SPLITS,
    Splits,
    Table,
    read_table,
    split_rows,
)
from prompt_optimization.tasks.registry import STYLES, Task, task_of

# Keys that existing commands may set, although nothing here depends on them.
NO_EFFECT = {
    "batch_size": "candidates come from the intersection of proposals",
    "temp": "candidates are not sampled",
    "lr": "nothing is trained",
    "gbda_deterministic": "the GBDA attack is not part of this project",
    "incr_control": "control_weight stays as given",
    "filter_cand": "a prompt that its own text does not mean is always dropped",
}

CHOICES = {
    "resume": ("no", "True", "auto", "force"),
    "behaviour": tuple(BEHAVIOURS),
    "objective": ("mistakes", "loss"),
    "accept": ("anneal", "improve", "always"),
    "period_rule": ("off", "published"),
    "placeholder": ("proposal", "underscore"),
    "ties": ("first", "last"),
    "extractor_style": STYLES,
    "shortlist": ("gradient", "random", "proposal"),
    "workers": ("local", "ray"),
    "attack": ("gcg",),
}

# Smallest sensible value of the numeric keys.
AT_LEAST = {
    "data_offset": 0,
    "n_train_data": 1,
    "n_dev_data": 0,
    "n_test_data": 0,
    "max_new_tokens": 1,
    "answer_tokens": 1,
    "n_steps": 0,
    "test_steps": 0,
    "topk": 1,
    "topq": 1,
    "intersect_q": 1,
    "min_proposals": 1,
    "sample_chunk": 0,
    "shortlist_size": 1,
    "max_prompt_tokens": 2,
    "progressive_group": 1,
    "early_stopping_steps": 1,
    "max_seconds": 0,
    "max_decoded_tokens": 0,
    "max_evaluations": 0,
    "stop_objective": 0,
    "stop_plateau": 0,
    "top_prompts": 1,
    "selection_control_weight": 0,
    "max_rows": 0,
    "gradient_rows": 0,
    "worker_timeout": 0,
    "num_train_models": 1,
}


@dataclass(frozen=True)
class WorkerSettings:
    """Where model copies live: ``home`` is ``local`` or ``ray``; one copy a device."""

    home: str
    devices: tuple[str, ...]
    ray_address: str
    timeout: float
    max_rows: int
    gradient_rows: int


@dataclass(frozen=True)
class RunSettings:
    """A run as the harness carries it out.

    Attributes:
        params: the config with its defaults resolved.
        models: those that the prompt is optimised for.
        test_models: those that only test what was found.
    """

    params: dict[str, Any]
    models: tuple[ModelSettings, ...]
    test_models: tuple[ModelSettings, ...]
    workers: WorkerSettings
    search: SearchSettings
    prompt: str
    stoppers: tuple[Stopper, ...]
    warnings: tuple[str, ...]

    @property
    def wording(self) -> Wording:
        params = self.params
        return Wording(params["extractor_text"], params["connector"], params["extractor_separator"])

    @property
    def held_out(self) -> Decoding:
        return Decoding(self.search.decoding.max_new_tokens, self.params["answer_tokens"])


def run_settings(config: ConfigDict, defaults: ConfigDict) -> RunSettings:
    """Resolve and check ``config``.

    Args:
        defaults: the unchanged template, to see what was set.

    Raises:
        InputError: a value is out of range, missing, or does not go with another.
    """
    params: dict[str, Any] = config.to_dict()
    _resolve_behaviour(params)
    params["resume"] = {"False": "no", "true": "True", "false": "no"}.get(
        params["resume"], params["resume"]
    )
    for key, choices in CHOICES.items():
        if params[key] not in choices:
            raise InputError(
                f"--config.{key}='{params[key]}' is unknown; choose one of {', '.join(choices)}"
            )
    _resolve_splits(params)
    for key, least in AT_LEAST.items():
        if params[key] < least:
            raise InputError(f"--config.{key}={params[key]} is too small; give at least {least}")
    if params["answer_temperature"] <= 0:
        raise InputError(
            f"--config.answer_temperature={params['answer_temperature']} must be above 0"
        )
    if params["topk"] < params["shortlist_size"]:
        raise InputError(
            f"--config.topk={params['topk']} proposes fewer tokens than "
            f"--config.shortlist_size={params['shortlist_size']} tries; raise topk"
        )
    if not params["train_data"]:
        raise InputError("no training data; give a task file with --config.train_data")
    if not params["extractor_text"].strip():
        task = task_of(Path(params["train_data"]).stem)
        if task is None:
            raise InputError(
                "no extractor; give the text that asks for the final answer with "
                "--config.extractor_text (only the paper's tasks have one of their own)"
            )
        params["extractor_text"] = task.extractor(params["extractor_style"])
    if not params["control_init"].strip():
        raise InputError("the initial prompt is empty; give one with --config.control_init")
    if not params["model_paths"]:
        raise InputError("no model; give one with --config.model_paths")
    if params["num_train_models"] > len(params["model_paths"]):
        raise InputError(
            f"--config.num_train_models={params['num_train_models']} is more than the "
            f"{len(params['model_paths'])} of --config.model_paths; name as many models"
        )
    warnings = [
        f"--config.{key} has no effect: {why}"
        for key, why in NO_EFFECT.items()
        if params[key] != defaults[key]
    ]
    if params["anneal"] and params["accept"] != "anneal":
        warnings.append(f"--config.anneal has no effect under accept={params['accept']}")
    if params["sample_chunk"] and (params["accept"] != "improve" or params["period_rule"] != "off"):
        warnings.append(
            "--config.sample_chunk gives up no candidate under "
            f"accept={params['accept']}, period_rule={params['period_rule']}"
        )
    if params["test_steps"] and not params["n_dev_data"]:
        warnings.append("--config.test_steps has no effect without dev rows")
    models = _model_settings(params)
    if params["progressive_models"] and params["num_train_models"] == 1:
        warnings.append("--config.progressive_models has no effect with one model")
    if params["ray_address"] and params["workers"] != "ray":
        warnings.append("--config.ray_address has no effect without --config.workers=ray")
    return RunSettings(
        params=params,
        models=models[: params["num_train_models"]],
        test_models=models[params["num_train_models"] :],
        workers=WorkerSettings(
            home=params["workers"],
            devices=tuple(params["devices"]),
            ray_address=params["ray_address"],
            timeout=params["worker_timeout"],
            max_rows=params["max_rows"],
            gradient_rows=params["gradient_rows"],
        ),
        search=_search_settings(params),
        prompt=Layout.normalise(params["control_init"]),
        stoppers=_stoppers(params),
        warnings=tuple(warnings),
    )


def read_task(params: dict[str, Any]) -> tuple[dict[str, Table], Splits]:
    """The task files, ``train`` and perhaps ``test``, and the rows that are cut from them.

    Raises:
        InputError: a file cannot be used, or has too few rows.
    """
    tables = {
        name: read_table(params[f"{name}_data"])
        for name in ("train", "test")
        if params[f"{name}_data"]
    }
    return tables, split_rows(
        tables["train"],
        tables.get("test"),
        offset=params["data_offset"],
        n_train=params["n_train_data"],
        n_dev=params["n_dev_data"],
        n_test=params["n_test_data"],
    )


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
            f"log '{path}' cannot be written ({error.strerror}); choose another place with "
            "--config.result_prefix or --config.logfile"
        ) from None


def _resolve_behaviour(params: dict[str, Any]) -> None:
    behaviour = params["behaviour"]
    if behaviour not in BEHAVIOURS:
        return  # the check of choices names it
    for key, value in BEHAVIOURS[behaviour].items():
        if params[key] is None:
            annealed = key != "accept" or value != "anneal" or params["anneal"]
            params[key] = value if annealed else "improve"


def _resolve_splits(params: dict[str, Any]) -> None:
    """Fill in the rows per split, and the test file of tasks that have one."""
    path = Path(params["train_data"])
    task = task_of(path.stem)
    if task and task.test_file and not params["test_data"]:
        beside = path.with_name(task.test_file)
        if beside.name != path.name and beside.expanduser().is_file():
            params["test_data"] = str(beside)
    for name in SPLITS:
        if params[f"n_{name}_data"] == -1:
            # The class holds what most tasks have.
            params[f"n_{name}_data"] = getattr(task or Task, name)


def _model_settings(params: dict[str, Any]) -> tuple[ModelSettings, ...]:
    """One a model. Where a key has a single entry it holds for all, but for a tokenizer: that one
    holds for the models that are optimised for, which share it.

    Raises:
        InputError: a key has another number of entries.
    """
    count = len(params["model_paths"])

    def entry(key: str, place: int, otherwise: Any) -> Any:
        values = params[key]
        if len(values) not in (0, 1, count):
            raise InputError(
                f"--config.{key} has {len(values)} entries for {count} models; give one for each, "
                "or one for all"
            )
        if len(values) == count:
            return values[place]
        own = key == "tokenizer_paths" and place >= params["num_train_models"]
        return values[0] if values and not own else otherwise

    return tuple(
        ModelSettings(
            name=name,
            tokenizer=entry("tokenizer_paths", place, None),
            template=entry("conversation_templates", place, "auto"),
            template_arguments=params["chat_template_kwargs"],
            device="auto",
            dtype=params["dtype"],
            trust_remote_code=params["trust_remote_code"],
            model_arguments=entry("model_kwargs", place, {}),
            tokenizer_arguments=entry("tokenizer_kwargs", place, {}),
        )
        for place, name in enumerate(params["model_paths"])
    )


def _stoppers(params: dict[str, Any]) -> tuple[Stopper, ...]:
    """What ends the search besides its number of steps; a key at its zero stands for nothing."""
    made: list[Stopper] = []
    for key, stopper in (
        ("max_seconds", stoppers.max_seconds),
        ("max_decoded_tokens", stoppers.max_decoded),
        ("max_evaluations", stoppers.max_evaluations),
        ("stop_objective", stoppers.objective_below),
        ("stop_plateau", stoppers.plateau),
    ):
        if params[key]:
            made.append(stopper(params[key]))
    if params["stop_on_success"]:
        made.append(stoppers.solved())
    if params["stop_file"]:
        made.append(stoppers.stop_file(Path(params["stop_file"]).expanduser()))
    return tuple(made)


def _search_settings(params: dict[str, Any]) -> SearchSettings:
    return SearchSettings(
        steps=params["n_steps"],
        topk=params["topk"],
        topq=params["topq"],
        group_size=params["intersect_q"],
        shortlist=params["shortlist"],
        shortlist_size=params["shortlist_size"],
        reasoning_gradient=params["reasoning_gradient"],
        min_proposals=params["min_proposals"],
        gradient=LossWeights(
            params["target_weight"], params["control_weight"], params["answer_temperature"]
        ),
        decoding=Decoding(params["max_new_tokens"]),
        objective=params["objective"],
        objective_nll_weight=params["selection_control_weight"],
        accept=params["accept"],
        period_rule=params["period_rule"],
        placeholder=params["placeholder"],
        current_in_shortlist=params["current_in_shortlist"],
        ties=params["ties"],
        progressive=params["progressive_goals"],
        progressive_group=params["progressive_group"],
        restart_when_solved=params["restart_when_solved"],
        allow_non_ascii=params["allow_non_ascii"],
        progressive_models=params["progressive_models"],
        loss_threshold=params["loss_threshold"],
        early_stopping_steps=params["early_stopping_steps"],
        sample_chunk=params["sample_chunk"],
        max_prompt_tokens=params["max_prompt_tokens"],
        top_prompts=params["top_prompts"],
        seed=params["seed"],
    )
