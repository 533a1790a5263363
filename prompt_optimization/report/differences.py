"""Paired differences between prompts that were read alike on the same rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from prompt_optimization.report.measured import Measurement
from prompt_optimization.report.names import order
from prompt_optimization.report.reading import alike
from prompt_optimization.scoring.statistics import (
    Estimate,
    is_graded,
    mean_difference,
    mean_of,
    sign_flip,
)

# Measurements that stand against each other: those before, those after.
Match = tuple[list[Measurement], list[Measurement]]


def differences(found: Sequence[Measurement]) -> list[dict[str, Any]]:
    """What was gained, in points, with 95 % interval and p-value; a line a task.

    A search is compared to its initial prompt and to the zero-shot baseline, a variant of a method
    to the method as it is, and methods to each other where neither or both have the same variant.
    """
    lines: list[dict[str, Any]] = []
    for model in sorted({m.model for m in found}):
        ours = [m for m in found if m.model == model and m.optimised_by in ("", model)]
        for before, after in _pairs(ours):
            lines.extend(_compared(before, after))
    return lines


def _pairs(found: Sequence[Measurement]) -> Iterator[tuple[list[Measurement], list[Measurement]]]:
    """What is compared of one model's measurements, whether or not it was read alike."""
    searches: defaultdict[tuple[Any, ...], list[Measurement]] = defaultdict(list)
    for m in found:
        if m.optimised_by:
            searches[(order(m.method), m.variant, m.label)].append(m)
    groups = [searches[key] for key in sorted(searches)]
    for after in groups:
        starts = {m.start for m in after}
        yield [m for m in found if m.method == "initial" and m.start in starts], after
        yield [m for m in found if m.method == "zero_shot_cot"], after
    for one, other in combinations(groups, 2):
        a, b = one[0], other[0]
        if a.method == b.method and a.variant != b.variant and not a.variant:
            yield other, one
        elif a.method != b.method and a.variant == b.variant:
            yield one, other


def _compared(before: Sequence[Measurement], after: Sequence[Measurement]) -> list[dict[str, Any]]:
    """One line a task, and one for all together, in which every task counts alike."""
    matches: dict[str, list[Match]] = {}
    for task in sorted({m.task for m in after}):
        matched = _matched(
            [m for m in before if m.task == task], [m for m in after if m.task == task]
        )
        if matched:
            matches[task] = matched
    found = {task: _paired(matched) for task, matched in matches.items()}
    lines = [
        _line(task, matches[task], pairs.estimate, pairs.weighed) for task, pairs in found.items()
    ]
    every = [match for matched in matches.values() for match in matched]
    if len(matches) > 1 and alike(m.reading for _, measured in every for m in measured):
        mean = mean_of([pairs.estimate for pairs in found.values()])
        weighed = [
            value / sum(pairs.weights) for pairs in found.values() for value in pairs.weighed
        ]
        lines.append(_line(f"mean of {len(matches)} tasks", every, mean, weighed))
    return lines


def _line(
    task: str, matched: Sequence[Match], estimate: Estimate, values: Sequence[float]
) -> dict[str, Any]:
    before, after = (
        " or ".join(sorted({m.title for match in matched for m in match[side]})) for side in (0, 1)
    )
    return {
        "model": matched[0][1][0].model,
        "from": before,
        "to": after,
        "task": task,
        "rows": estimate.n,
        "difference": 100 * estimate.value,
        "low": 100 * estimate.low,
        "high": 100 * estimate.high,
        "p": sign_flip(values),
    }


def _matched(before: Sequence[Measurement], after: Sequence[Measurement]) -> list[Match]:
    """Measurements of one task that were read alike on the same rows.

    Only what belongs to the reading of all of them counts: the connector does not where a baseline
    brings its own.
    """
    names = sorted(set.intersection(*(set(m.reading) for m in (*before, *after))))

    def key(m: Measurement) -> tuple[Any, ...]:
        return (*m.hits, *(m.reading[name] for name in names))

    return [
        ([m for m in before if key(m) == shared], [m for m in after if key(m) == shared])
        for shared in sorted({key(m) for m in before} & {key(m) for m in after}, key=str)
    ]


@dataclass(frozen=True)
class _Pairs:
    """The rows of one task on which two prompts stand against each other.

    Attributes:
        differences: of the mean hits of both sides, by row.
        weights: how much each row counts.
        graded: a metric gave values between 0 and 1.
    """

    differences: list[float]
    weights: list[float]
    graded: bool

    @property
    def estimate(self) -> Estimate:
        return mean_difference(self.differences, self.weights, self.graded)

    @property
    def weighed(self) -> list[float]:
        return [w * d for w, d in zip(self.weights, self.differences, strict=True)]


def _paired(matched: Sequence[Match]) -> _Pairs:
    found: defaultdict[int, list[float]] = defaultdict(list)
    weights: dict[int, float] = {}
    for before, after in matched:
        for row in after[0].hits:
            ours, theirs = (fmean(m.hits[row] for m in side) for side in (after, before))
            found[row].append(ours - theirs)
            weights[row] = after[0].weights.get(row, 1.0)
    rows = sorted(found)
    every = [m for match in matched for side in match for m in side]
    return _Pairs(
        [fmean(found[row]) for row in rows],
        [weights[row] for row in rows],
        is_graded(hit for m in every for hit in m.hits.values()),
    )
