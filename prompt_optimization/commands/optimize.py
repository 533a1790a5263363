"""Optimise a prompt; the log and a line a step tell how it goes.

The same command with --config.resume=auto continues where it was stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

from prompt_optimization.commands.flags import execute, settings
from prompt_optimization.commands.short_flags import FOR_RUNS
from prompt_optimization.garbage import uncollected


def main(arguments: Sequence[str], program: str) -> int:
    about = __doc__ or ""  # which python -OO removes
    again = "--config.resume=auto"
    return execute(optimize, arguments, program, about, continued=again, short=FOR_RUNS)


def optimize(_: Sequence[str]) -> None:
    values, notes = settings()
    # Only now, because this loads torch.
    with uncollected():
        from prompt_optimization.runs.display import Display
        from prompt_optimization.runs.run import run

    display = Display(values["verbose"])
    try:
        for note in notes:
            display.note(note)
        run(values, display)
    finally:
        display.close()
