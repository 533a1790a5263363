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
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from prompt_optimization import files
from prompt_optimization.configs.template import get_config
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.runs.config import values_of
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.run import run
from prompt_optimization.runs.store.log import RunLog

torch.set_num_threads(1)


def values(flags: dict[str, Any]) -> dict[str, Any]:
    """What ``--config.KEY=VALUE`` for each of ``flags`` sets, and the defaults."""
    config = get_config()
    for key, value in flags.items():
        group, _, name = key.rpartition(".")
        place = config[group] if group else config
        kind = place.get_type(name)
        if kind is tuple:
            value = tuple(value) if isinstance(value, tuple | list) else (str(value),)
        place[name] = str(value) if kind is str else value
    return values_of(config)


def carry_out(flags: dict[str, Any]) -> RunLog:
    """The run that ``--config.KEY=VALUE`` for each of ``flags`` would make."""
    return run(values(flags), Display(verbose=False))


def without_times(log: dict[str, Any]) -> dict[str, Any]:
    """``log`` without what two runs of one config may differ in."""
    log = {
        **log,
        "ledger": {name: {**each, "seconds": None} for name, each in log["ledger"].items()},
    }
    steps = [
        {k: v for k, v in step.items() if k not in ("seconds", "busy")} for step in log["steps"]
    ]
    params = {k: v for k, v in log["params"].items() if k not in ("resume", "result_prefix")}
    return {**log, "steps": steps, "params": params, "runtimes": None, "sessions": None}


def session(
    flags: dict[str, Any],
    prepare: Callable[[], None] = lambda: None,
    work: Callable[[dict[str, Any]], object] = carry_out,
) -> int:
    """Fork a child that works on the run; its process id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, 1)
            # torch makes its pool anew after a fork; threads that load weights must not race.
            torch.set_num_threads(1)
            prepare()
            work(flags)
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
    """Kill ``kills`` sessions at random moments of their work, then let the run finish."""
    rng = random.Random(seed)
    for killed in range(kills):
        child = session(flags, partial(_die_at_work, rng.randrange(120), rng.uniform(0.0, 0.02)))
        code = outcome(child)
        if code != -signal.SIGKILL:
            return {"killed": killed, "code": code}
    return {"killed": kills, "code": outcome(session(flags))}


def _die_at_work(calls: int, seconds: float) -> None:
    """Die some time after the model has been called ``calls`` times, whatever is done then. How
    far a session comes does not depend on the speed of the machine."""
    extend, made = LanguageModel.extend, 0

    def counted(self: LanguageModel, *arguments: Any) -> Any:
        nonlocal made
        if made == calls:
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        made += 1
        return extend(self, *arguments)

    LanguageModel.extend = counted  # type: ignore[method-assign]


def kill_at_every_write(flags: dict[str, Any], kills: int, seed: int) -> dict[str, Any]:
    """Kill each session at one of its first seven writes, before, halfway through or right after
    it, in all combinations, until one finishes."""
    killed = 0
    while True:
        child = session(flags, partial(die_at_write, killed % 7, killed % 3))
        code = outcome(child)
        if code != -signal.SIGKILL:
            return {"killed": killed, "code": code}
        killed += 1


def die_at_write(fatal: int, moment: int) -> None:
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
        if Path(target).suffix == ".now":  # nothing that a run continues from
            return replace(source, target)
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
