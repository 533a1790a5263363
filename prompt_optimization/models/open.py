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
from prompt_optimization.models.loading import load_tokenizer, resolve_device
from prompt_optimization.models.model import Model
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
    devices = _devices(compute)
    shares = [devices[i :: len(models)] or [devices[i % len(devices)]] for i in range(len(models))]
    # Workers on one machine's CPU share its cores; with more threads than cores they wait for each
    # other.
    everyone = [device for share in shares for device in share]
    threads = max(1, torch.get_num_threads() // len(everyone))
    if compute.workers == "ray":
        gpus = sum(device.startswith("cuda") for device in everyone)
        _ray().check_room(gpus, threads * (len(everyone) - gpus) + gpus)
    with ExitStack() as opened:
        found = []
        for model, share in zip(models, shares, strict=True):
            note(f"loading {model.name} on {', '.join(share)} ({model.dtype})")
            # The only worker on the only device needs no process of its own.
            alone = compute.workers == "local" and len(devices) == 1
            found.append(_open(model, share, alone, threads, compute, warn))
            opened.callback(found[-1].close)
        yield found


def check_same_tokenizer(models: Sequence[Model], settings: Sequence[ModelSettings]) -> None:
    """One prompt can be optimised for models that read it as the same ids.

    Raises:
        InputError: they do not.
    """
    first = models[0].tokenizer.get_vocab()
    for model, own in zip(models[1:], settings[1:], strict=True):
        if model.tokenizer.get_vocab() != first:
            raise InputError(
                f"'{own.name}' has another tokenizer than '{settings[0].name}', so one prompt "
                "cannot be optimised for both; give models of one family, or optimise for fewer: "
                "the models after them only test the prompts",
                key="num_train_models",
            )


def _devices(compute: ComputeSettings) -> list[str]:
    """One name a worker; ``auto`` is every GPU there is, or else the CPU.

    Raises:
        InputError: this machine has no such device.
    """
    found: list[str] = []
    for name in compute.devices or ("auto",):
        if compute.workers == "ray":
            if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
                raise InputError(
                    f"device '{name}' is unknown to a cluster; give auto, or name each worker's: "
                    "'cpu' or 'cuda'",
                    key="devices",
                )
            # The cluster's devices, not this machine's: an actor sees its own GPU as the first.
            gpus = _ray().cluster_gpus() if name == "auto" else int(name.startswith("cuda"))
            found.extend(["cuda:0"] * gpus or ["cpu"])
        elif name == "auto" and torch.cuda.is_available():
            found.extend(f"cuda:{i}" for i in range(torch.cuda.device_count()))
        else:
            found.append(str(resolve_device(name)))
    return found


def _open(
    model: ModelSettings,
    devices: Sequence[str],
    alone: bool,
    threads: int,
    compute: ComputeSettings,
    warn: Say,
) -> Model:
    makes = [
        partial(Worker.load, replace(model, device=device), compute.max_rows, compute.gradient_rows)
        for device in devices
    ]
    if alone:
        return Model.in_process(makes[0]())
    executor: Executor
    if compute.workers == "ray":
        gpus = [int(device.startswith("cuda")) for device in devices]
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
