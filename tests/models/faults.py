"""Jobs that go wrong, for workers in other processes; each leaves a mark so that it does once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError


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


def _marked(mark: str) -> bool:
    """Whether this was asked before; it is from now on."""
    path = Path(mark)
    existed = path.exists()
    path.touch()
    return existed
