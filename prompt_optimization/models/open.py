"""From settings to models that are ready to answer, wherever their copies live."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from types import ModuleType

import torch

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.models.executor import Executor
from prompt_optimization.models.loading import load_tokenizer
from prompt_optimization.models.model import Model
from prompt_optimization.models.placement import JOINT, resolve_devices
from prompt_optimization.models.process_executor import ProcessExecutor
from prompt_optimization.models.settings import ComputeSettings, ModelSettings
from prompt_optimization.models.worker import Worker

Say = Callable[[str], None]

# What ``open_models`` is, and what may stand in its place.
Opening = Callable[
    [Sequence[ModelSettings], ComputeSettings, Say, Say], AbstractContextManager[list[Model]]
]


@contextmanager
def open_models(
    models: Sequence[ModelSettings], compute: ComputeSettings, note: Say, warn: Say
) -> Iterator[list[Model]]:
    """The models of ``models``; they share the devices among themselves.

    Args:
        note: told what is loaded.
        warn: told of every worker that is replaced.

    Raises:
        InputError: a model cannot be loaded, or a device does not exist.
    """
    if compute.workers == "ray":
        _ray().connect(compute.ray_address)
    devices = device_names(compute)
    shares = [devices[i :: len(models)] or [devices[i % len(devices)]] for i in range(len(models))]
    # Workers on one machine's CPU share its cores; with more threads than cores they wait for each
    # other.
    everyone = [device for share in shares for device in share]
    threads = max(1, torch.get_num_threads() // len(everyone))
    if compute.workers == "ray":
        cpus = sum(1 if _gpus(device) else threads for device in everyone)
        _ray().check_room(sum(map(_gpus, everyone)), cpus)
    with ExitStack() as opened:
        found = []
        for model, share in zip(models, shares, strict=True):
            note(f"loading {model.label} on {', '.join(share)} ({model.dtype})")
            # The only worker on the only device needs no process of its own.
            alone = compute.workers == "local" and len(devices) == 1
            found.append(_open(model, share, alone, threads, compute, warn))
            opened.callback(found[-1].close)
            if tag := found[-1].chat.think_tag:
                note(f"{model.name} may think; where the limit cuts its thinking, '{tag}' ends it")
        yield found


def check_same_tokenizer(models: Sequence[Model], settings: Sequence[ModelSettings]) -> None:
    """One prompt can be optimised for models that read it as the same ids.

    Raises:
        InputError: they do not.
    """
    for model, own in zip(models[1:], settings[1:], strict=True):
        if model.tokenizer.get_vocab() != models[0].tokenizer.get_vocab():
            raise InputError(
                f"'{own.label}' has another tokenizer than '{settings[0].label}', so one prompt "
                "cannot be optimised for both; give models of one family, or optimise for fewer: "
                "the models after them only test the prompts",
                key="num_train_models",
            )


def device_names(compute: ComputeSettings) -> list[str]:
    """One name a worker; ``auto`` is every GPU there is, or else the CPU.

    Raises:
        InputError: this machine has no such device.
    """
    found: list[str] = []
    for name in compute.devices or ("auto",):
        if compute.workers == "ray":
            if not re.fullmatch(r"auto|cpu|cuda(:\d+)?(\+cuda(:\d+)?)*", name):
                raise InputError(
                    f"device '{name}' is unknown to a cluster; give auto, or name each worker's: "
                    "'cpu', 'cuda', or 'cuda+cuda' for a copy on two",
                    key="devices",
                )
            # The cluster's devices, not this machine's: an actor counts its own GPUs from 0.
            if name == "auto":
                found.extend(["cuda:0"] * _ray().cluster_gpus() or ["cpu"])
            else:
                found.append(JOINT.join(f"cuda:{i}" for i in range(_gpus(name))) or "cpu")
        elif name == "auto" and torch.cuda.is_available():
            found.extend(f"cuda:{i}" for i in range(torch.cuda.device_count()))
        else:
            found.append(JOINT.join(map(str, resolve_devices(name))))
    return found


def _gpus(devices: str) -> int:
    """How many GPUs the copy on ``devices`` takes."""
    return devices.count("cuda")


def _open(
    model: ModelSettings,
    devices: Sequence[str],
    alone: bool,
    threads: int,
    compute: ComputeSettings,
    warn: Say,
) -> Model:
    limits = compute.max_rows, compute.gradient_rows
    makes = [
        partial(Worker.load, replace(model, device=device), *limits, compute.graphs)
        for device in devices
    ]
    if alone:
        return Model.in_process(makes[0]())
    executor: Executor
    if compute.workers == "ray":
        gpus = list(map(_gpus, devices))
        executor = _ray().RayExecutor(makes, gpus, compute.worker_timeout, warn, threads)
    else:
        executor = ProcessExecutor(makes, compute.worker_timeout, warn, threads)
    return Model(executor, *load_tokenizer(model))


def _ray() -> ModuleType:
    """Imported on demand: Ray is an extra.

    Raises:
        InputError: it is not installed.
    """
    require_package("a Ray cluster", "ray", "ray", key="workers")
    return import_module("prompt_optimization.models.ray_executor")
