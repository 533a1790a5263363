"""What the run_*.sh sweeps share: ``greater sweep`` with its flags from the environment.

    python sweep.py NAME CONFIG TASKS

runs the tasks of the set TASKS with CONFIG, into results/NAME. Variables:

    TASKS          names, by spaces, in place of the sweep's own
    METHODS        names, by spaces: each task with each of them, with a folder of logs for each
    CONFIG         a config's name or file, in place of the sweep's own
    DATA           folder of task files; data/official/BBH when it is there, else data/BBH
    GPUS           device numbers, by spaces; all that nvidia-smi lists, or none: the CPU
    GPUS_PER_TASK  devices of one task (1)
    RESULTS        folder of logs (results/NAME, and in its name what is not the sweep's own)
    RESUME         auto: finished tasks are skipped, unfinished ones continue; or what
                   --config.resume takes
    EXTRA          further flags for every task, by spaces; quotes keep spaces together
    DRY_RUN        1 prints the commands and runs nothing

Paths count from experiments/.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from prompt_optimization.commands.sweep import main

# Variables and the flags that they stand for.
FLAGS = {
    "METHODS": "methods",
    "DATA": "data",
    "GPUS": "gpus",
    "GPUS_PER_TASK": "gpus-per-run",
    "RESULTS": "results",
    "RESUME": "resume",
}


def flags(name: str, config: str, tasks: str) -> list[str]:
    """The flags of the sweep called ``name``.

    Args:
        config, tasks: its own.
    """
    chosen = os.environ.get("CONFIG") or config
    # Another model's finished tasks are not this one's.
    named = name if chosen == config else f"{name}_{Path(chosen).stem}"
    wanted = os.environ.get("TASKS") or tasks
    given = [f"--name={named}", f"--config={chosen}", f"--tasks={wanted}"]
    for variable, flag in FLAGS.items():
        # An empty list of GPUs is the CPU; elsewhere an empty variable says nothing.
        if os.environ.get(variable) or (variable == "GPUS" and variable in os.environ):
            given.append(f"--{flag}={os.environ[variable]}")
    if os.environ.get("DRY_RUN"):
        given.append("--dry-run")
    return [*given, *shlex.split(os.environ.get("EXTRA", ""))]


if __name__ == "__main__":
    try:
        wanted = flags(*sys.argv[1:])
    except ValueError as error:
        extra = os.environ["EXTRA"]
        print(f"error: EXTRA='{extra}' cannot be read ({error}); close it", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(wanted, "greater sweep"))
