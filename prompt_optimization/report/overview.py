"""The runs below a folder, a line each: what became of them and what they gained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from prompt_optimization.errors import InputError
from prompt_optimization.report.published import model_name
from prompt_optimization.report.status import status_of
from prompt_optimization.report.verdict import Verdict, verdict_of
from prompt_optimization.runs.naming import task_name
from prompt_optimization.runs.store.collection import name_below, read_collection
from prompt_optimization.runs.store.log import found_prompt, method_of, run_id

# Columns that are left out of a table where all runs agree in them.
SHARED = ("method", "task", "model")


@dataclass(frozen=True)
class Line:
    """One run.

    Attributes:
        run: its log's place below the folder, without the ending.
        id: names it among all runs.
        log: its log's file.
        status: as ``report.status`` has it; ``since`` when.
        steps: that it has made.
        prompt: what dev has elected, or the best so far; empty where there is none.
        verdict: what test rows say.
    """

    run: str
    id: str
    log: str
    status: str
    since: str
    method: str
    task: str
    model: str
    steps: int
    prompt: str
    verdict: Verdict

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        found = asdict(self)
        del found["verdict"]
        return found | {"gain": self.verdict.gain_record(), "metric": self.verdict.metric}


def overview(folder: Path) -> tuple[list[Line], list[str]]:
    """The runs below ``folder``, oldest first, and what could not be read, in words.

    Raises:
        InputError: there is no such folder, or no log of a run in it.
    """
    found = read_collection(folder)
    lines = []
    for path, log in found.logs.items():
        try:
            lines.append(_line(folder, path, log))
        except OSError:
            continue  # Somebody has moved the log away meanwhile.
    if not lines and not found.left_out:
        raise InputError(f"folder '{folder}' holds no log of a run; give another one")
    return lines, found.left_out


def shared(lines: Sequence[Line]) -> dict[str, str]:
    """What all of several runs have in common, by column."""
    if len(lines) < 2:
        return {}
    values = {name: {str(getattr(line, name)) for line in lines} for name in SHARED}
    return {name: found.pop() for name, found in values.items() if len(found) == 1}


def table(lines: Sequence[Line]) -> Table:
    """``lines`` for a screen, without what they share."""
    own = (name for name in SHARED if name not in shared(lines))
    columns = ["run", "status", *own, "gain", "since"]
    made = Table(box=None, pad_edge=False)
    for name in columns:
        whole = name in ("status", "gain", "since")
        made.add_column(name, no_wrap=whole, overflow="fold", justify="left")
    for line in lines:
        # Names are the user's, and no markup.
        made.add_row(*(Text(_cell(line, name)) for name in columns))
    return made


def _line(folder: Path, path: Path, log: Mapping[str, Any]) -> Line:
    status = status_of(path, log)
    return Line(
        run=name_below(folder, path),
        id=run_id(log),
        log=str(path),
        status=status.name,
        since=status.since,
        method=method_of(log),
        task=task_name(log["params"]["train_data"]),
        model=model_name(log["environment"]["model"]),
        steps=len(log["steps"]),
        prompt=found_prompt(log).strip(),
        verdict=verdict_of(log),
    )


def _cell(line: Line, name: str) -> str:
    if name == "gain":
        gain = line.verdict.gain
        return "" if gain is None else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*gain)
    if name == "since":
        return line.since[5:16].replace("T", " ")
    return str(getattr(line, name))
