"""The rows that a run was measured on, read again from its task's file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prompt_optimization.report.found import Found
from prompt_optimization.runs.config import make_config, values_of
from prompt_optimization.runs.evaluation_jobs import Request, gather
from prompt_optimization.tasks.examples import Example

# Characters that YAML and some readers of lines take for something else.
_SPECIAL = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def measured_rows(run: Found) -> tuple[Example, ...]:
    """The test rows of a finished run; of one without them, those of dev.

    Raises:
        InputError: the run is not finished, or its task's file is gone or has changed.
    """
    split = "test" if run.log["environment"]["rows"].get("test") else "dev"
    (job,) = gather(values_of(make_config()), set(), Request(logs=(run.path,), split=split))
    return job.examples


def as_json_lines(examples: Sequence[Example]) -> str:
    """``examples``, one a line."""
    return "".join(f"{quoted(_record(example))}\n" for example in examples)


def quoted(value: Any) -> str:
    """``value`` as JSON in a line, which is YAML too."""
    text = json.dumps(value, ensure_ascii=False)
    return _SPECIAL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def plain_name(run: Found) -> str:
    """The run's name in letters that every tool takes."""
    return re.sub(r"\W+", "_", Path(run.path).stem).strip("_") or "run"


def _record(example: Example) -> dict[str, Any]:
    return {
        "row": example.row,
        "question": example.question,
        "references": list(example.references),
        "weight": example.weight,
        "group": example.group,
    }
