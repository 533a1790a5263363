"""Generated look-alikes of BIG-Bench Hard tasks: our wording, seeded, checked by the tests.

They let everything run without a download. They are not the official data, and results on them
do not compare with published ones; see data/BBH/README.md.
"""

from __future__ import annotations

import csv
import hashlib
import io
import random
from collections.abc import Callable
from functools import partial

from prompt_optimization.tasks.generate.logic import (
    boolean_expressions,
    dyck_languages,
    web_of_lies,
)
from prompt_optimization.tasks.generate.motion import navigate, tracking_shuffled_objects
from prompt_optimization.tasks.generate.numbers import (
    multistep_arithmetic_two,
    object_counting,
    one_step_arithmetic,
)
from prompt_optimization.tasks.generate.order import (
    date_understanding,
    logical_deduction,
    temporal_sequences,
    word_sorting,
)
from prompt_optimization.tasks.generate.row import Row
from prompt_optimization.tasks.generate.scenes import reasoning_about_colored_objects

ROWS = 250

TASKS: dict[str, Callable[[random.Random], Row]] = {
    "boolean_expressions": boolean_expressions,
    "date_understanding": date_understanding,
    "dyck_languages": dyck_languages,
    "logical_deduction_three_objects": partial(logical_deduction, size=3),
    "logical_deduction_five_objects": partial(logical_deduction, size=5),
    "logical_deduction_seven_objects": partial(logical_deduction, size=7),
    "multistep_arithmetic_two": multistep_arithmetic_two,
    "navigate": navigate,
    "object_counting": object_counting,
    "one_step_arithmetic": one_step_arithmetic,
    "reasoning_about_colored_objects": reasoning_about_colored_objects,
    "temporal_sequences": temporal_sequences,
    "tracking_shuffled_objects_three_objects": partial(tracking_shuffled_objects, size=3),
    "tracking_shuffled_objects_five_objects": partial(tracking_shuffled_objects, size=5),
    "tracking_shuffled_objects_seven_objects": partial(tracking_shuffled_objects, size=7),
    "web_of_lies": web_of_lies,
    "word_sorting": word_sorting,
}


def rows(task: str) -> list[Row]:
    """The task's rows, without two that ask the same; the seed is the task's name."""
    rng = random.Random(int.from_bytes(hashlib.sha256(task.encode()).digest()[:8], "big"))
    found: dict[str, Row] = {}
    while len(found) < ROWS:
        row = TASKS[task](rng)
        found.setdefault(row.goal, row)
    return list(found.values())


def table(task: str) -> str:
    """The task's file: CSV with the published columns."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["goal", "target", "final_target"])
    writer.writerows([row.goal, row.target, row.final_target] for row in rows(task))
    return out.getvalue()
