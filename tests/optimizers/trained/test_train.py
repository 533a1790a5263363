"""Preferences and rewards move a policy that writes two kinds of prompts equally often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.trained.settings import PolicySettings

pytest.importorskip("trl")

from prompt_optimization.optimizers.trained.policy import Policy
from prompt_optimization.optimizers.trained.train import Lesson, dpo, grpo, sft

REQUESTS = ("one", "two", "three", "four")
BETTER, WORSE = ("step by step", "step it", "do step"), ("count them", "add it up", "count up")


class Own(PolicySettings, group="own"):
    """Settings of no method."""


@pytest.fixture(scope="module")
def own() -> PolicySettings:
    return Own.default(adapter="full", device="cpu", length=8, pairs=6)


@pytest.fixture(scope="module")
def torn(writer: str, own: PolicySettings) -> dict[str, torch.Tensor]:
    """Weights under which both kinds are as likely."""
    lessons = [Lesson(each, text) for each in REQUESTS for text in (*BETTER, *WORSE)]
    weights, losses = sft(Policy(writer, own, 0), lessons, 0, epochs=20, rate=3e-3)
    assert len(losses) == 20 and losses[-1] < losses[0]
    return weights


def share(policy: Policy) -> float:
    """Of what the policy draws, that with the word."""
    drawn = policy.write(REQUESTS, draws=16, temperature=1.0, seed=1)
    return sum("step" in text for each in drawn for text in each) / (16 * len(REQUESTS))


def test_dpo_moves_towards_the_better_prompts(
    writer: str, own: PolicySettings, torn: dict[str, torch.Tensor]
) -> None:
    policy = Policy(writer, own, 0)
    policy.load(torn)
    before = share(policy)
    assert 0.3 < before < 0.6
    pairs = [
        Lesson(each, better, worse) for each in REQUESTS for better in BETTER for worse in WORSE
    ]
    made, losses = dpo(Policy(writer, own, 0), pairs, 0, begin=torn, epochs=3, rate=3e-4, beta=0.1)
    policy.load(made)
    assert share(policy) > before + 0.2
    # It begins at log 2, where the policy is its own reference: that which it began with.
    assert losses[-1] < losses[0] < 0.6931


def test_grpo_moves_towards_reward(
    writer: str, own: PolicySettings, torn: dict[str, torch.Tensor]
) -> None:
    asked: list[tuple[str, int, int]] = []

    def reward(request: str, texts: Sequence[str], update: int) -> list[float]:
        asked.append((request, len(texts), update))
        return [float("step" in text) for text in texts]

    made, rewards = grpo(
        Policy(writer, own, 0), REQUESTS, reward, 0, begin=torn, updates=16, group=8, rate=2e-3,
        beta=0.0,
    )  # fmt: skip
    assert [update for _, _, update in asked] == [*range(16)]
    assert {request for request, _, _ in asked} == {*REQUESTS}
    assert {size for _, size, _ in asked} == {8} and len(rewards) == 16
    assert sum(rewards[-4:]) > sum(rewards[:4]) + 1
    policy = Policy(writer, own, 0)
    policy.load(made)
    assert share(policy) > 0.85


def test_memory_that_does_not_hold_it_is_refused(writer: str, own: PolicySettings) -> None:
    def reward(*rest: object) -> list[float]:
        raise torch.OutOfMemoryError

    with pytest.raises(InputError, match="with 4 prompts an update") as caught:
        grpo(Policy(writer, own, 0), ["one"], reward, 0, updates=1, group=4, rate=1.0, beta=0.0)
    assert caught.value.keys == ("own.policy_model",)


def test_what_does_not_fit_is_refused(writer: str, own: PolicySettings) -> None:
    long: Any = "apples " * 300
    for train, rest in (
        (dpo, {"lessons": [Lesson("one", "step", long)], "epochs": 1}),
        (grpo, {"requests": [long], "reward": None, "updates": 1, "group": 2}),
    ):
        with pytest.raises(InputError, match="choose another one") as caught:
            train(Policy(writer, own, 0), seed=0, rate=1.0, beta=0.1, **rest)  # type: ignore[operator]
        assert caught.value.keys == ("own.policy_model",)
