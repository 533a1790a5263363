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
from typing import TYPE_CHECKING, Any

from absl import flags
from rich.console import Console

from prompt_optimization.commands.flags import execute, flag_of, settings, typed
from prompt_optimization.errors import InputError
from prompt_optimization.files import write_whole
from prompt_optimization.garbage import uncollected
from prompt_optimization.paths import user_path
from prompt_optimization.runs.settings import SET_BY_COMPARISON

if TYPE_CHECKING:
    from prompt_optimization.runs.compare import Outcome

METHODS = flags.DEFINE_list("methods", [], "The methods, separated by commas.")
CONTENDERS = flags.DEFINE_string(
    "contenders", "", "In place of methods: a YAML file with settings below each contender's name."
)
BUDGET = flags.DEFINE_integer("budget", None, "Rows that each run may evaluate on train.")
WORK = flags.DEFINE_integer(
    "work", None, "In place of a budget in rows: tokens of work, weighted as max_work says."
)
SEEDS = flags.DEFINE_integer("seeds", 3, "Runs of each method; config.seed is the first seed.")

SHORT = ("model", "data", "prompt", "extractor")
# Keys that the flags stand for, and those that make the runs one comparison.
OWN = ("method", *SET_BY_COMPARISON)


def main(arguments: Sequence[str], program: str) -> int:
    about = __doc__ or ""  # which python -OO removes
    return execute(compare, arguments, program, about, short=SHORT)


def compare(_: Sequence[str]) -> int:
    for name in OWN:
        if name in typed():
            raise InputError("a comparison sets this itself; leave it out", key=name)
    budgets = {"max_evaluations": BUDGET.value, "max_work": WORK.value}
    given = [(key, value) for key, value in budgets.items() if value is not None]
    if len(given) != 1:
        raise InputError(
            "a budget is given in rows or in tokens of work; give one of both", key="budget"
        )
    ((counted, budget),) = given
    if METHODS.value and CONTENDERS.value:
        raise InputError(
            "the contenders' methods stand in their file; leave one of both out",
            key=("methods", "contenders"),
        )
    values, notes = settings("compare")
    # Only now, because this loads torch.
    with uncollected():
        from prompt_optimization.report.comparison import comparison
        from prompt_optimization.runs.compare import carry_out, entrants, of_methods
        from prompt_optimization.runs.display import Display
        from prompt_optimization.runs.yaml_config import read_contenders

    named = bool(CONTENDERS.value)
    contenders = (
        read_contenders(user_path(CONTENDERS.value)) if named else of_methods(METHODS.value)
    )
    runs = entrants(values, contenders, budget, SEEDS.value, counted)
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
        logs = {
            name: [o.log.data for o in outcomes if o.log and o.entrant.name == name]
            for name in contenders
        }
        record = comparison(logs, budget, counted, contenders if named else {})
        _write(Path(values["result_prefix"]).expanduser(), record | {"failed": failed})
    if failed:
        print(f"{len(failed)} of {len(outcomes)} runs failed", file=sys.stderr)
    return int(bool(failed))


def _write(folder: Path, record: dict[str, Any]) -> None:
    """Show what the finished runs have found, and keep it in ``folder``.

    Raises:
        InputError: the folder cannot be written.
    """
    from prompt_optimization.report.comparison import grids, markdown, sheets

    found = sheets(record)
    console = Console(width=None if sys.stdout.isatty() else 140)
    for grid in grids(found):
        console.print(grid)
    text = markdown(record, found, record["failed"])
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
    return f"{outcome.entrant.name} with seed {outcome.entrant.seed} failed: {problem}"
