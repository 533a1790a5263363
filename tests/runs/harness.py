"""Runs in this process or in children of it that are killed.

As a program (``python -m tests.runs.harness MODE SEED FLAGS``) it imports everything once, forks a
child per session of a run, and kills the children.
"""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from prompt_optimization import files
from prompt_optimization.configs.template import get_config
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.log import RunLog
from prompt_optimization.runs.run import run

torch.set_num_threads(1)


def carry_out(flags: dict[str, Any]) -> RunLog:
    """The run that ``--config.KEY=VALUE`` for each of ``flags`` would make."""
    config = get_config()
    for key, value in flags.items():
        kind = config.get_type(key)
        if kind is tuple and not isinstance(value, tuple):
            value = (str(value),)
        config[key] = str(value) if kind is str else value
    return run(config, get_config(), Display(verbose=False))


def without_times(log: dict[str, Any]) -> dict[str, Any]:
    """``log`` without what two runs of one config may differ in."""
    steps = [
        {k: v for k, v in step.items() if k not in ("seconds", "busy")} for step in log["steps"]
    ]
    params = {k: v for k, v in log["params"].items() if k not in ("resume", "result_prefix")}
    return {**log, "steps": steps, "params": params, "runtimes": None, "sessions": None}


def session(flags: dict[str, Any], prepare: Callable[[], None] = lambda: None) -> int:
    """Fork a child that works on the run; its process id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, 1)
            prepare()
            carry_out(flags)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def outcome(child: int) -> int:
    """Exit code of a child, or minus the signal that killed it."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def kill_at_random(flags: dict[str, Any], kills: int, seed: int) -> dict[str, Any]:
    """Kill ``kills`` sessions after random times, then let the run finish."""
    rng = random.Random(seed)
    killed = 0
    while killed < kills:
        child = session(flags)
        time.sleep(rng.uniform(0.0, 0.6))
        os.kill(child, signal.SIGKILL)
        code = outcome(child)
        if code == -signal.SIGKILL:
            killed += 1
        else:
            return {"killed": killed, "code": code}
    return {"killed": killed, "code": outcome(session(flags))}


def kill_at_every_write(flags: dict[str, Any], kills: int, seed: int) -> dict[str, Any]:
    """Kill each session at one of its first seven writes, before, halfway through or right after
    it, in all combinations, until one finishes."""
    killed = 0
    while True:
        child = session(flags, partial(_die_at_write, killed % 7, killed % 3))
        code = outcome(child)
        if code != -signal.SIGKILL:
            return {"killed": killed, "code": code}
        killed += 1


def _die_at_write(fatal: int, moment: int) -> None:
    writes = 0
    replace, fsync = os.replace, os.fsync

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def counted_fsync(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if writes == fatal and moment == 0 and not folder:
            os.truncate(descriptor, os.fstat(descriptor).st_size // 2)
            die()
        fsync(descriptor)

    def counted_replace(source: Any, target: Any) -> None:
        nonlocal writes
        if writes == fatal and moment == 1:
            die()
        replace(source, target)
        if writes == fatal and moment == 2:
            die()
        writes += 1

    assert files.os is os
    os.replace, os.fsync = counted_replace, counted_fsync  # type: ignore[assignment]


if __name__ == "__main__":
    mode, count, given = sys.argv[1:]
    run_flags = json.loads(Path(given).read_text())
    kill = {"random": kill_at_random, "writes": kill_at_every_write}[mode]
    print(json.dumps(kill(run_flags, int(count), seed=0)))
