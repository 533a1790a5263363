"""Comparisons of several tasks are pooled over the seeds that all contenders have finished."""

from __future__ import annotations

import pytest

from benchmarks.proof.__main__ import Hits, against, gains, told, whole
from prompt_optimization.scoring.statistics import stratified_difference

A, B = [0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0]


def test_unfinished_seeds_are_left_out() -> None:
    hits: Hits = {
        "one": {"new": {0: (A, B), 1: (A, A)}, "old": {0: (A, A)}},
        "two": {"new": {0: (A, B)}, "old": {0: (B, A), 1: (A, B)}},
        "three": {"new": {0: (A, B)}},
    }
    kept = whole(hits, ["new", "old"])
    assert list(kept) == ["one", "two"]
    assert gains(kept, "new") == [[[1.0, 0.0, 0.0, 1.0]]] * 2
    assert gains(kept, "old") == [[[0.0] * 4], [[-1.0, 0.0, 0.0, -1.0]]]
    assert against(kept, "new", "old") == [[[1.0, 0.0, 0.0, 1.0]]] * 2
    found = stratified_difference(gains(kept, "old"))
    assert found.mean.value == pytest.approx(-0.25) and found.mean.n == 8
    assert told(found)[0].startswith("-25.0 [")
