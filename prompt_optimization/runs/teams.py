"""From settings to models that are ready to answer, wherever their copies live."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from types import ModuleType

import torch

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require
from prompt_optimization.models.crew import Crew
from prompt_optimization.models.loading import ModelSettings, load_tokenizer, resolve_device
from prompt_optimization.models.local_crew import LocalCrew
from prompt_optimization.models.team import Team
from prompt_optimization.models.worker import Worker
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.settings import WorkerSettings


@contextmanager
def open_teams(
    models: Sequence[ModelSettings], workers: WorkerSettings, display: Display
) -> Iterator[list[Team]]:
    """One team a model; they share the devices out among themselves.

    Raises:
        InputError: a model cannot be loaded, or a device does not exist.
    """
    if workers.home == "ray":
        _ray().connect(workers.ray_address)
    devices = _devices(workers)
    shares = [
        devices[place :: len(models)] or [devices[place % len(devices)]]
        for place in range(len(models))
    ]
    # Workers on one machine's CPU share its cores out; more threads than cores wait for each
    # other.
    everyone = [device for share in shares for device in share]
    threads = max(1, torch.get_num_threads() // len(everyone))
    if workers.home == "ray":
        gpus = sum(device.startswith("cuda") for device in everyone)
        _ray().check_room(gpus, threads * (len(everyone) - gpus) + gpus)
    with ExitStack() as opened:
        teams = []
        for model, share in zip(models, shares, strict=True):
            # Alone on all devices there are, a worker needs no process of its own.
            alone = workers.home == "local" and len(devices) == 1
            teams.append(_team(model, share, alone, threads, workers, display))
            opened.callback(teams[-1].close)
        yield teams


def check_same_tokenizer(teams: Sequence[Team], models: Sequence[ModelSettings]) -> None:
    """One prompt can be optimised for models that read it as the same ids.

    Raises:
        InputError: they do not.
    """
    first = teams[0].tokenizer.get_vocab()
    for team, model in zip(teams[1:], models[1:], strict=True):
        if team.tokenizer.get_vocab() != first:
            raise InputError(
                f"'{model.name}' has another tokenizer than '{models[0].name}', so one prompt "
                "cannot be optimised for both; give models of one family, or lower "
                "--config.num_train_models: models behind it only test the prompts"
            )


def _devices(workers: WorkerSettings) -> list[str]:
    """One name a worker; ``auto`` is every GPU there is, or else the CPU.

    Raises:
        InputError: this machine has no such device.
    """
    found: list[str] = []
    for name in workers.devices or ("auto",):
        if workers.home == "ray":
            if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
                raise InputError(
                    f"device '{name}' is unknown to a cluster; set --config.devices to auto, or "
                    "name each worker's: 'cpu' or 'cuda'"
                )
            # The cluster's devices, not this machine's: an actor sees its own GPU as the first.
            gpus = _ray().cluster_gpus() if name == "auto" else int(name.startswith("cuda"))
            found.extend(["cuda:0"] * gpus or ["cpu"])
        elif name == "auto" and torch.cuda.is_available():
            found.extend(f"cuda:{i}" for i in range(torch.cuda.device_count()))
        else:
            found.append(str(resolve_device(name)))
    return found


def _team(
    model: ModelSettings,
    devices: Sequence[str],
    alone: bool,
    threads: int,
    workers: WorkerSettings,
    display: Display,
) -> Team:
    makes = [
        partial(Worker.load, replace(model, device=device), workers.max_rows, workers.gradient_rows)
        for device in devices
    ]
    display.note(f"loading {model.name} on {', '.join(devices)} ({model.dtype})")
    if alone:
        return Team.alone(makes[0]())
    crew: Crew
    if workers.home == "ray":
        gpus = [int(device.startswith("cuda")) for device in devices]
        crew = _ray().RayCrew(makes, gpus, workers.timeout, display.warn, threads)
    else:
        crew = LocalCrew(makes, workers.timeout, display.warn, threads)
    return Team(crew, *load_tokenizer(model))


def _ray() -> ModuleType:
    """Imported on demand: Ray is an extra.

    Raises:
        InputError: it is not installed.
    """
    require("--config.workers=ray", "ray", "ray")
    return import_module("prompt_optimization.models.ray_crew")
