"""Two runs beside each other: settings, prompts, and their paired difference on shared rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prompt_optimization.runs.config import all_keys
from prompt_optimization.runs.naming import metric_label
from prompt_optimization.runs.store.log import PLACE, metric_of
from prompt_optimization.scoring.statistics import (
    Estimate,
    mean_value,
    paired_difference,
    sign_flip,
)

# Settings that say where a run is kept and shown, not what it is.
_PLACE = (*PLACE, "resume", "verbose")

# What a log's environment tells that makes results differ.
_ENVIRONMENT = ("model", "weights", "tokenizer", "dtype", "device", "git_revision")

# Characters of what the environment tells that are shown: of a hash, its beginning.
_HASH = 24


@dataclass(frozen=True)
class Paired:
    """What the second run's prompt is worth beyond the first one's, row by row.

    Attributes:
        difference: as a share, with its 95 % interval.
        p: of no difference.
        first, second: the mean value of each on the shared rows.
        metric: that counts in both.
    """

    difference: Estimate
    p: float
    first: float
    second: float
    metric: str


def settings_that_differ(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> dict[str, tuple[str, str]]:
    """The settings and facts in which two logs differ, each with both values as text.

    A setting that one of them does not tell has the value that it had before it could be set.
    """
    keys = all_keys()
    found = {}
    one, other = first["params"], second["params"]
    for name in dict.fromkeys((*one, *other)):
        untold = keys[name].untold if name in keys else None
        values = one.get(name, untold), other.get(name, untold)
        if name not in _PLACE and values[0] != values[1]:
            found[name] = _shown(values[0]), _shown(values[1])
    here, there = first["environment"], second["environment"]
    for name in _ENVIRONMENT:
        if here.get(name) != there.get(name):
            found[f"({name})"] = _shown(here.get(name))[:_HASH], _shown(there.get(name))[:_HASH]
    for split in dict.fromkeys((*here["data"], *there["data"])):
        hashes = [each["data"].get(split, {}).get("sha256", "") for each in (here, there)]
        if hashes[0] != hashes[1]:
            found[f"(data of {split})"] = hashes[0][:_HASH], hashes[1][:_HASH]
    return found


def paired(first: Mapping[str, Any], second: Mapping[str, Any]) -> Paired | str:
    """The paired difference of two finished runs, or why there is none."""
    tests = [(log["evaluation"] or {}).get("test") for log in (first, second)]
    measured = [test["best"] for test in tests if test]
    if len(measured) < 2:
        return "not both have results on test rows"
    one, other = measured
    metric = metric_of(one)
    if metric_label(first["params"]) != metric_label(second["params"]):
        return "their metrics differ"
    if _source(first) != _source(second):
        return "their test rows come from different files"
    rows = [log["environment"]["rows"]["test"] for log in (first, second)]
    before, after = (
        dict(zip(own, map(float, test["hits"][metric]), strict=True))
        for own, test in zip(rows, (one, other), strict=True)
    )
    shared = sorted(before.keys() & after.keys())
    if not shared:
        return "they share no test row"
    weight = dict(zip(rows[1], other.get("weights") or [1.0] * len(rows[1]), strict=True))
    weights = [weight[row] for row in shared]
    hits = [before[row] for row in shared], [after[row] for row in shared]
    first_mean, second_mean = (mean_value(own, weights).value for own in hits)
    flipped = [w * (b - a) for w, a, b in zip(weights, *hits, strict=True)]
    difference = paired_difference(*hits, weights)
    return Paired(difference, sign_flip(flipped), first_mean, second_mean, metric)


def _source(log: Mapping[str, Any]) -> str:
    """The file that the test rows are from, by its content."""
    data = log["environment"]["data"]
    return str(data.get("test", data["train"])["sha256"])


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
