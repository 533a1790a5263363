"""Optimise a prompt; the log and a line a step tell how it goes.

The same command with --config.resume=auto goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

from prompt_optimization.commands.flags import CONFIG, execute
from prompt_optimization.runs.config import values_of


def main(arguments: Sequence[str], program: str) -> int:
    about = __doc__ or ""  # which python -OO removes
    return execute(optimize, arguments, program, about, continued="--config.resume=auto")


def optimize(_: Sequence[str]) -> None:
    values = values_of(CONFIG.value)
    # Only now, because this loads torch.
    from prompt_optimization.runs.display import Display
    from prompt_optimization.runs.run import run

    display = Display(values["verbose"])
    try:
        run(values, display)
    finally:
        display.close()
