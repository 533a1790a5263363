"""The losses against numbers worked out by hand, finite differences, and on a toy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from prompt_optimization.optimizers.rlprompt.losses import (
    entropy,
    move_towards,
    normalised,
    policy_gradient,
    soft_q,
)

LENGTH, WORDS, GOOD, DRAWS = 3, 200, 5, 16
SEEDS = range(6)

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]


def test_soft_q_by_hand() -> None:
    # One prompt of two tokens from two; V is ln 4 and ln 8, of the target copy ln 2 and ln 4.
    logits = torch.tensor([[[3.0, 1.0], [6.0, 2.0]]]).log()
    target = torch.tensor([[[1.0, 1.0], [3.0, 1.0]]]).log()
    tokens, reward = torch.tensor([[0, 1]]), torch.tensor([2.0])
    ln2, a = 0.6931472, (-0.2876821, -1.3862944)  # A: ln 3/4, ln 2/8
    single = (a[0] - ln2) ** 2 + (a[1] - (2.0 - 2 * ln2)) ** 2
    multi = (a[0] + a[1] - (2.0 - ln2)) ** 2 + (a[1] - (2.0 - 2 * ln2)) ** 2
    parts = soft_q(logits, target, tokens, reward)
    assert parts["single"].item() == pytest.approx(single, rel=1e-5)
    assert parts["multi"].item() == pytest.approx(multi, rel=1e-5)
    assert soft_q(logits, target, tokens, reward, ("multi",)).keys() == {"multi"}


def test_policy_gradient_by_hand() -> None:
    logits = torch.tensor([[[3.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 3.0]]]).log()
    tokens, z = torch.tensor([[0, 1], [0, 0]]), torch.tensor([1.0, -2.0])
    logs = torch.tensor([3 / 8, 1 / 8]).log()  # 3/4 x 1/2, 1/2 x 1/4
    assert torch.allclose(
        policy_gradient(logits, tokens, z, 0.0)["policy_gradient"], -(z * logs).mean()
    )
    mean = (0.6931472 + 0.5623351) / 2
    assert entropy(logits).item() == pytest.approx(mean, rel=1e-5)
    added = policy_gradient(logits, tokens, z, 0.1)["entropy"]
    assert added.item() == pytest.approx(-0.1 * mean, rel=1e-5)


def test_gradients_are_finite_differences_and_leave_forbidden_tokens_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randn(3, 2, 5, generator=generator, dtype=torch.float64)
    tokens = torch.randint(0, 4, (3, 2), generator=generator)
    reward = torch.randn(3, generator=generator, dtype=torch.float64)
    banned = torch.tensor([False, False, False, False, True])

    def total(own: torch.Tensor) -> torch.Tensor:
        masked = own.masked_fill(banned, -torch.inf)
        copy = target.masked_fill(banned, -torch.inf)
        parts = soft_q(masked, copy, tokens, reward) | policy_gradient(masked, tokens, reward, 0.5)
        return torch.stack([*parts.values()]).sum()

    assert torch.autograd.gradcheck(total, (logits,))
    (gradient,) = torch.autograd.grad(total(logits), logits)
    assert not gradient[..., 4].any() and gradient.isfinite().all()


def test_rewards_are_normalised_over_a_step_or_within_each_row() -> None:
    values, weights = torch.tensor([[0.0, 10.0], [2.0, 10.0]]), torch.tensor([1.0, 3.0])
    step = normalised(values, weights, by_row=False)
    assert torch.allclose(step, torch.tensor([-1.0, 1.0]), atol=1e-3)
    # The second row says nothing, and has three quarters of the weight.
    by_row = normalised(values, weights, by_row=True)
    assert torch.allclose(by_row, torch.tensor([-0.25, 0.25]), atol=1e-3)


class Table(torch.nn.Module):
    """Logits of each place by themselves."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.logits = torch.nn.Parameter(torch.randn(LENGTH, WORDS, generator=generator) * 1e-3)


def learnt(loss: Loss, steps: int, seed: int) -> float:
    """The share of places whose likeliest word is one of the ``GOOD`` first, after ``steps``."""
    table, target = Table(seed), Table(seed)
    adam = torch.optim.Adam(table.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(100 + seed)
    for _ in range(steps):
        move_towards(target, table, 0.001)
        shares = table.logits.softmax(-1)
        tokens = torch.multinomial(shares, DRAWS, replacement=True, generator=generator).T
        rewards = 100 * (tokens < GOOD).float().mean(1, keepdim=True)
        z = normalised(rewards, torch.ones(1), by_row=False)
        own, copy = (each.logits.expand(DRAWS, -1, -1) for each in (table, target))
        parts = loss(own, copy, tokens, z)
        adam.zero_grad()
        torch.stack([*parts.values()]).mean().backward()
        torch.nn.utils.clip_grad_norm_(table.parameters(), 5.0)
        adam.step()
    return float((table.logits.argmax(-1) < GOOD).float().mean())


@pytest.mark.parametrize(
    ("loss", "steps"),
    [
        pytest.param(lambda q, bar, a, z: soft_q(q, bar, a, 5 * z), 200, id="published"),
        pytest.param(lambda q, bar, a, z: soft_q(q, bar, a, 5 * z, ("multi",)), 200, id="multi"),
        pytest.param(lambda q, bar, a, z: policy_gradient(q, a, z, 0.0), 100, id="gradient"),
    ],
)
def test_every_loss_finds_the_best_words(loss: Loss, steps: int) -> None:
    assert [learnt(loss, steps, seed) for seed in SEEDS] == [1.0] * len(SEEDS)


def test_single_steps_alone_teach_a_table_its_last_place_only() -> None:
    # Places that do not see each other get nothing handed back.
    def single(*tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        return soft_q(*tensors[:3], 5 * tensors[3], ("single",))

    assert learnt(single, 100, 0) < 1.0
