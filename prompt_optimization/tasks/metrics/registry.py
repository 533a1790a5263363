"""Which metrics there are, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prompt_optimization.tasks.metrics.mathematics import math
from prompt_optimization.tasks.metrics.metric import Function, Metric
from prompt_optimization.tasks.metrics.overlap import F1, rouge_l
from prompt_optimization.tasks.metrics.stated import (
    CHOICE,
    CONTAINS,
    FLEXIBLE,
    STRICT,
    json_field,
    number,
    regex,
)


@dataclass(frozen=True)
class Options:
    """What some of the metrics are made with; see the settings of a task."""

    pattern: str = ""
    tolerance: float = 0.0
    field: str = ""
    over_references: str = "best"


# Each with what makes it.
METRICS: dict[str, Callable[[Options], Metric]] = {
    "strict": lambda options: STRICT,
    "flexible": lambda options: FLEXIBLE,
    "choice": lambda options: CHOICE,
    "number": lambda options: number(options.tolerance),
    "math": lambda options: math(),
    "contains": lambda options: CONTAINS,
    "regex": lambda options: regex(options.pattern),
    "json_field": lambda options: json_field(options.field),
    "f1": lambda options: F1,
    "rouge_l": lambda options: rouge_l(options.over_references),
}
# Those that count shared words, so that their references may be whole texts.
OF_WORDS = ("f1", "rouge_l")


def own_metric(function: Function) -> Metric:
    """The user's function as a metric; brackets set its name apart from every other name."""
    return Metric(f"{getattr(function, '__name__', type(function).__name__)}()", function, own=True)
