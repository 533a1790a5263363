"""The estimators against enumeration: a question with a few reasonings whose chances are known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from prompt_optimization.optimizers.greater.likelihood_ratio import (
    advantages,
    effective_sample_size,
    first_order,
    importance_weights,
)

LOSSES = np.array([0.3, 2.0, 1.1, 0.7])
LOGITS = np.array([0.4, -0.3, 0.1, 0.9])
DIRECTION = np.array([1.0, -0.5, 0.2, 0.6])


def log_shares(step: float) -> np.ndarray:
    """Log-probabilities of the reasonings after an edit of this size."""
    moved = LOGITS + step * DIRECTION
    return moved - np.log(np.exp(moved).sum())


def expected_loss(step: float) -> float:
    return float(np.exp(log_shares(step)) @ LOSSES)


@pytest.mark.parametrize("draws", [2, 3])
def test_the_mean_over_all_draws_is_the_gradient(draws: int) -> None:
    step = 1e-4
    before, change = log_shares(0), log_shares(step) - log_shares(0)
    mean = 0.0
    for drawn in product(range(4), repeat=draws):
        chosen = list(drawn)
        chance = np.exp(before[chosen].sum())
        mean += chance * float(first_order(LOSSES[chosen][None], change[chosen][None], 5.0)[0])
    gradient = (expected_loss(step) - expected_loss(-step)) / (2 * step)
    assert mean / step == pytest.approx(gradient, rel=1e-3)


def test_importance_weights_give_the_loss_after_the_edit() -> None:
    # Every reasoning as often as it is likely: ten of a hundred where its chance is a tenth.
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    drawn = np.repeat(np.arange(4), (shares * 100).round().astype(int))
    after = np.array([0.4, 0.3, 0.2, 0.1])
    weights = importance_weights(np.log(after / shares)[drawn][None], 5.0)
    assert float((weights * LOSSES[drawn]).sum()) == pytest.approx(float(after @ LOSSES))


def test_weights_sum_to_one_and_are_even_where_nothing_changes() -> None:
    rng = np.random.default_rng(0)
    change = rng.normal(0, 4, (3, 5, 4))
    weights = importance_weights(change, 3.0)
    assert weights.sum(-1) == pytest.approx(np.ones((3, 5)))
    assert (weights.max(-1) / weights.min(-1) <= np.exp(6) + 1e-9).all()
    even = importance_weights(np.zeros((1, 4)), 3.0)
    assert float((even * LOSSES).sum()) == pytest.approx(LOSSES.mean())
    assert float(effective_sample_size(even)[0]) == pytest.approx(1)
    share = effective_sample_size(weights)
    assert (share >= 0.25 - 1e-9).all() and (share <= 1 + 1e-9).all()


def test_advantages_compare_a_draw_with_the_others() -> None:
    found = advantages(np.array([[1.0, 4.0, 7.0]]))
    assert found.tolist() == [[1 - 5.5, 4 - 4.0, 7 - 2.5]]


def test_a_change_is_bounded() -> None:
    losses = np.array([[0.0, 1.0]])
    assert first_order(losses, np.array([[9.0, 0.0]]), 5.0) == pytest.approx(
        first_order(losses, np.array([[5.0, 0.0]]), 5.0)
    )
    assert first_order(losses, np.zeros((1, 2)), 5.0).tolist() == [0.0]
