"""Compare methods at one budget, each with several seeds.

The logs go to the folder that result_prefix names, and a table, compare.md and compare.json are
made of them. The same command continues where it was stopped. Without --config the defaults count.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from rich.console import Console

from prompt_optimization.commands.flags import execute, flag_of, settings, typed
from prompt_optimization.errors import InputError
from prompt_optimization.files import write_whole
from prompt_optimization.garbage import uncollected

if TYPE_CHECKING:
    from prompt_optimization.runs.compare import Outcome

METHODS = flags.DEFINE_list("methods", [], "The methods, separated by commas.")
BUDGET = flags.DEFINE_integer("budget", None, "Rows that each run may evaluate on train.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Runs of each method; config.seed is the first seed.")

SHORT = ("model", "data", "prompt", "extractor")
# Keys that the flags stand for, and those that make the runs one comparison.
OWN = ("method", "max_evaluations", "resume", "logfile")


def main(arguments: Sequence[str], program: str) -> int:
    about = __doc__ or ""  # which python -OO removes
    return execute(compare, arguments, program, about, short=SHORT)


def compare(_: Sequence[str]) -> int:
    for name in OWN:
        if name in typed():
            raise InputError("a comparison sets this itself; leave it out", key=name)
    budget = BUDGET.value
    if budget is None:
        raise InputError("no budget; give the rows that each run may evaluate", key="budget")
    values, notes = settings("compare")
    # Only now, because this loads torch.
    with uncollected():
        from prompt_optimization.runs.compare import carry_out, entrants
        from prompt_optimization.runs.display import Display

    runs = entrants(values, METHODS.value, budget, SEEDS.value)
    display = Display(values["verbose"])
    outcomes = []
    try:
        for note in notes:
            display.note(note)
        for outcome in carry_out(runs, display):
            outcomes.append(outcome)
            if outcome.error:
                display.warn(_failure(outcome))
    finally:
        display.close()
    failed = [_failure(outcome) for outcome in outcomes if outcome.error]
    if len(failed) < len(outcomes):
        _write(Path(values["result_prefix"]).expanduser(), budget, outcomes, failed)
    if failed:
        print(f"{len(failed)} of {len(outcomes)} runs failed", file=sys.stderr)
    return int(bool(failed))


def _write(folder: Path, budget: int, outcomes: Sequence[Outcome], failed: Sequence[str]) -> None:
    """Show what the finished runs have found, and keep it in ``folder``.

    Raises:
        InputError: the runs cannot be compared, or the folder cannot be written.
    """
    from prompt_optimization.report.comparison import comparison, grids, markdown, sheets

    logs = {
        method: [
            outcome.log.data
            for outcome in outcomes
            if outcome.log and outcome.entrant.method == method
        ]
        for method in METHODS.value
    }
    record = comparison(logs, budget) | {"failed": failed}
    found = sheets(record)
    console = Console(width=None if sys.stdout.isatty() else 140)
    for grid in grids(found):
        console.print(grid)
    text = markdown(record, found, failed)
    if find_spec("matplotlib"):  # which comes with the extra "report"
        from prompt_optimization.report.plots import curves_figure, svg

        write_whole(folder / "compare.svg", svg(curves_figure(record)).encode(), "result_prefix")
        text += "\n![Best objective so far](compare.svg)\n"
    written = json.dumps(record, ensure_ascii=False, indent=1)
    write_whole(folder / "compare.json", written.encode(), "result_prefix")
    write_whole(folder / "compare.md", text.encode(), "result_prefix")
    print((folder / "compare.md").resolve())


def _failure(outcome: Outcome) -> str:
    error = outcome.error
    problem = error.worded(flag_of) if isinstance(error, InputError) else repr(error)
    return f"{outcome.entrant.method} with seed {outcome.entrant.seed} failed: {problem}"
