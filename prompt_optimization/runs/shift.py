"""Source loss and target gain: what the prompts of ``robust`` are worth beside others, in a log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prompt_optimization.runs.store.log import metric_of
from prompt_optimization.scoring.statistics import Estimate


@dataclass(frozen=True)
class Shift:
    """Two paired differences, each over the test rows of a group.

    Attributes:
        prompt: what the log calls it; ``elected`` for the one that dev has elected.
        against: what the log calls the prompt that it is compared with.
        loss: what it lost on the source's rows; below 0 where it gained.
        gain: what it gained on the target's rows.
    """

    prompt: str
    against: str
    loss: Estimate
    gain: Estimate


def shifts(log: Mapping[str, Any]) -> list[Shift]:
    """Those of the elected prompt and of every contender, to the initial prompt and the baseline;
    none where the log's method has no source and target, or test no rows of both."""
    test = (log.get("evaluation") or {}).get("test") or {}
    params = log["params"]
    if "baseline" not in test or "robust.source" not in params:
        return []
    groups = params["robust.source"], params["robust.target"]
    metric = metric_of(test["best"])
    found = []
    for name, record in {"elected": test, **test["contenders"]}.items():
        for against, key in (("initial", "difference"), (test["baseline"], "to_baseline")):
            by_group = record.get(f"{key}_by_group", {})
            if name == against or not all(group in by_group for group in groups):
                continue
            change, gain = (Estimate(**by_group[group][metric]) for group in groups)
            loss = Estimate(0 - change.value, 0 - change.high, 0 - change.low, change.n)
            found.append(Shift(name, against, loss, gain))
    return found
