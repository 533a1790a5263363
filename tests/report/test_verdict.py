"""The verdict says yes or no only where the interval does."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from prompt_optimization.report.verdict import verdict_of
from tests.report.records import OLD


def measured(low: float, high: float) -> dict[str, Any]:
    log = copy.deepcopy(OLD)
    gain = {"value": (low + high) / 2, "low": low, "high": high, "n": 4}
    log["evaluation"]["test"]["difference"] = {"strict": gain}
    return log


@pytest.mark.parametrize(
    "low, high, answer",
    [(0.1, 0.9, "yes"), (-0.9, -0.1, "no"), (-0.1, 0.9, "undecided"), (0.0, 0.5, "undecided")],
)
def test_the_interval_decides(low: float, high: float, answer: str) -> None:
    found = verdict_of(measured(low, high))
    assert found.answer == answer and found.sentence.lower().startswith(answer)
    assert found.gain == pytest.approx((50 * (low + high), 100 * low, 100 * high))
    assert f"[{100 * low:+.1f}, {100 * high:+.1f}] on 4 test rows" in found.sentence
    assert "25.0 % to 75.0 % right" in found.sentence


def test_the_initial_prompt_kept_is_a_no() -> None:
    log = measured(0.0, 0.0)
    log["evaluation"]["test"]["best"] = log["evaluation"]["test"]["initial"]
    found = verdict_of(log)
    assert found.answer == "no" and "nothing better" in found.sentence
    assert "25.0 %" in found.sentence


def test_what_is_not_measured_is_no_verdict() -> None:
    running = copy.deepcopy(OLD) | {"status": "running", "evaluation": None}
    assert verdict_of(running).answer == "unmeasured"
    assert "in the end" in verdict_of(running).sentence
    del running["environment"]["rows"]["test"]
    assert "no test rows" in verdict_of(running).sentence
    without = copy.deepcopy(OLD)
    without["evaluation"]["test"] = None
    assert verdict_of(without).gain is None
