"""Jobs that go wrong, for workers in other processes; each leaves a mark so that it does once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.models.worker import Worker


def number(worker: Any, value: int) -> int:
    return value


def who(worker: Any) -> int:
    return os.getpid()


def remember(worker: Any, value: str) -> None:
    worker.remembered = value


def recall(worker: Any) -> str | None:
    return getattr(worker, "remembered", None)


def die(worker: Any, value: int, mark: str) -> int:
    """Killed the first time."""
    if not _marked(mark):
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def die_always(worker: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(worker: Any, value: int, mark: str) -> int:
    """Silent the first time."""
    if not _marked(mark):
        time.sleep(3600)
    return value


def refuse(worker: Any) -> None:
    raise InputError("this cannot be used")


def break_down(worker: Any) -> None:
    raise ZeroDivisionError("a programmer's mistake")


def sleep(worker: Any, seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def meet(worker: Any, mine: str, other: str) -> int:
    """Done only when somebody else is at work at the same time."""
    Path(mine).touch()
    deadline = time.monotonic() + 60
    while not Path(other).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody else has come: {other}")
        time.sleep(0.01)
    return os.getpid()


def cramped(settings: ModelSettings, rows: int) -> Worker:
    """A worker whose device holds no more than ``rows`` rows, and one in a backward pass."""
    worker = Worker.load(settings, 0, 0)
    extend = worker.model.extend

    def failing(kv: Any, new: Any, *arguments: Any) -> Any:
        if new.shape[0] > (rows if new.ndim == 2 else 1):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return extend(kv, new, *arguments)

    worker.model.extend = failing  # type: ignore[method-assign]
    return worker


def _marked(mark: str) -> bool:
    """Whether this was asked before; it is from now on."""
    path = Path(mark)
    existed = path.exists()
    path.touch()
    return existed
