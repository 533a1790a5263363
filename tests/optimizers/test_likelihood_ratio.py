"""The estimators against enumeration: a question with a few reasonings whose chances are known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from prompt_optimization.optimizers.greater.likelihood_ratio import (
    advantages,
    centred_weights,
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
    assert found[0] == pytest.approx([1 - 5.5, 4 - 4.0, 7 - 2.5])
    weighted = advantages(np.array([[1.0, 4.0, 7.0]]), np.array([[0.5, 0.3, 0.2]]))
    baselines = [(1.2 + 1.4) / 0.5, (0.5 + 1.4) / 0.7, (0.5 + 1.2) / 0.8]
    assert weighted[0] == pytest.approx(np.array([1.0, 4.0, 7.0]) - baselines)
    assert advantages(np.full((1, 3), 0.1)).tolist() == [[0.0, 0.0, 0.0]]
    alone = advantages(np.array([[1.0, 4.0]]), np.array([[1.0, 0.0]]))
    assert alone[0] == pytest.approx([0.0, 3.0]), "nothing is left to compare the first one with"


def test_equal_weights_change_nothing() -> None:
    rng = np.random.default_rng(1)
    values, change = rng.normal(1, 1, (5, 3)), rng.normal(0, 3, (2, 5, 3))
    even = centred_weights(np.full((5, 3), -40.0), 5.0)
    assert even.tolist() == np.full((5, 3), 1 / 3).tolist(), "what draws share cancels"
    expected = first_order(values, change, 5.0)
    assert first_order(values, change, 5.0, even).tolist() == expected.tolist()
    others = (values.sum(1, keepdims=True) - values) / 2
    plainly = ((values - others) * np.clip(change, -5, 5)).mean(-1)
    assert expected == pytest.approx(plainly)


def test_what_is_added_to_all_losses_of_a_question_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    values, change = rng.normal(1, 1, (5, 4)), rng.normal(0, 3, (2, 5, 4))
    weights = centred_weights(rng.normal(0, 2, (5, 4)), 5.0)
    shifted = values + rng.normal(0, 10, (5, 1))
    assert first_order(shifted, change, 5.0, weights) == pytest.approx(
        first_order(values, change, 5.0, weights)
    )


@pytest.mark.parametrize("move", [0.0, 0.8, -1.5])
def test_draws_from_an_earlier_prompt_give_the_gradient_at_the_present_one(move: float) -> None:
    """Reasonings are drawn at 0; the present prompt is at ``move``."""
    step, rng = 1e-4, np.random.default_rng(3)
    now, then = log_shares(move), log_shares(0)
    gradient = (expected_loss(move + step) - expected_loss(move - step)) / (2 * step)
    errors = []
    for draws in (20, 200_000):
        drawn = rng.choice(4, size=draws, p=np.exp(then))
        weights = centred_weights((now - then)[drawn][None], 5.0)
        change = (log_shares(move + step) - now)[drawn][None]
        found = first_order(LOSSES[drawn][None], change, 5.0, weights)
        errors.append(abs(float(found[0]) / step - gradient))
    assert errors[1] < 0.01 and errors[1] < errors[0]
    if move:
        unweighted = first_order(LOSSES[drawn][None], change, 5.0)
        assert abs(float(unweighted[0]) / step - gradient) > 0.05


def test_a_change_is_bounded() -> None:
    losses = np.array([[0.0, 1.0]])
    assert first_order(losses, np.array([[9.0, 0.0]]), 5.0) == pytest.approx(
        first_order(losses, np.array([[5.0, 0.0]]), 5.0)
    )
    assert first_order(losses, np.zeros((1, 2)), 5.0).tolist() == [0.0]
