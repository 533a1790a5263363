"""The simulated search has the noise that it says, and gains by what it should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.acceptance import FLIPS, LUCK, RULES, Search, redrawn


def test_an_edit_of_no_effect_changes_the_side_of_some_rows() -> None:
    rng = np.random.default_rng(0)
    difficulty, luck = rng.normal(size=100_000), rng.normal(0, math.sqrt(LUCK), 100_000)
    again = redrawn(luck, rng)
    assert again.var() == pytest.approx(LUCK, rel=0.02)
    changed = (difficulty + luck > 0) != (difficulty + again > 0)
    assert changed.mean() == pytest.approx(FLIPS, abs=0.004)


@pytest.mark.parametrize(("rule", "units"), [each[1:] for each in RULES])
def test_where_edits_do_nothing_nothing_is_gained(rule: str, units: float) -> None:
    assert Search(0.0, 20, 0.0, seed=1).gain(rule, units, 10) == 0
    assert Search(0.0, 20, 0.0, seed=1, pool=60).gain(rule, units, 10) == 0


def test_a_better_screen_gains_more() -> None:
    gains = [
        np.mean([Search(0.03, 50, screen, seed).gain("improve", 0.0, 32) for seed in range(12)])
        for screen in (0.0, 0.9)
    ]
    assert gains[1] > gains[0] + 3
