"""A scripted target: which prompt is right depends on the question's kind alone."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.oirl.outcomes import Outcomes
from prompt_optimization.optimizers.qpo.returns import HIGHEST, Levels, Pair, Returns, shuffled
from prompt_optimization.optimizers.qpo.settings import QpoSettings

pytest.importorskip("trl")

from prompt_optimization.optimizers.qpo.search import lessons_of, request_of
from prompt_optimization.optimizers.trained.policy import Policy, check_policy, of_bytes, to_bytes
from prompt_optimization.optimizers.trained.train import Made, sft

PROMPTS = (
    "count the apples.",
    "use careful thought.",
    "step by step.",
    "add them up.",
)
KINDS = ("apples", "pears")
# Questions that are learnt from, and how.
LEARNT = 40
RATE = 3e-3


def asked(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [
        f"Tom has {rng.randrange(99)} and buys {rng.randrange(99)}. How many {KINDS[row % 2]}?"
        for row in range(count)
    ]


def right_prompt(question: str) -> str:
    return PROMPTS[0] if KINDS[0] in question else PROMPTS[1]


def scripted(questions: list[str]) -> Outcomes:
    """Every prompt was tried once on each of ``questions``; one in four is right."""
    right = np.array([[prompt == right_prompt(each) for prompt in PROMPTS] for each in questions])
    return Outcomes(
        tuple(questions),
        ("",) * len(questions),
        PROMPTS,
        PROMPTS,
        heldout=np.zeros(len(PROMPTS), bool),
        test=np.zeros(len(questions), bool),
        right=right.astype(float),
        draws=np.ones(right.shape, np.int64),
    )


def lessons(own: QpoSettings, questions: list[str]) -> list[Pair]:
    table = scripted(questions)
    returns = Returns(table, np.ones(len(questions), bool), own)
    pairs = [pair for row in range(len(questions)) for pair in returns.pairs(row)]
    return Levels([pair.value for pair in pairs]).of(pairs)


def train(writer: str, own: QpoSettings, pairs: list[Pair], seed: int, **how: Any) -> Made:
    return sft(Policy(writer, own, seed), lessons_of(pairs), seed, **how)


def share_right(policy: Policy, level: int) -> float:
    """Of unseen questions, those that the policy writes the right prompt for."""
    new = [each for each in asked(60, 1) if each not in asked(LEARNT, 0)]
    written = policy.write([request_of(each, level) for each in new])
    hits = [text.strip() == right_prompt(each) for each, (text,) in zip(new, written, strict=True)]
    return sum(hits) / len(new)


def test_on_unseen_questions_the_policy_writes_what_it_is_asked_for(writer: str) -> None:
    own = QpoSettings.default(adapter="full", device="cpu", prompt_mean=0.0, length=12)
    pairs = lessons(own, asked(LEARNT, 0))
    policy = Policy(writer, own, 0)

    weights, losses = train(writer, own, pairs, 0, epochs=30, rate=RATE)
    assert losses[-1] < losses[0]
    policy.load(of_bytes(to_bytes(weights)))
    assert share_right(policy, HIGHEST) >= 0.95
    assert share_right(policy, 0) <= 0.2

    weights, _ = train(writer, own, shuffled(pairs, 0), 0, epochs=8, rate=RATE)
    policy.load(weights)
    assert share_right(policy, HIGHEST) <= 0.5 + 0.05  # The best single prompt is right for half.


def test_a_lora_is_trained_kept_and_continued(writer: str) -> None:
    own = QpoSettings.default(rank=2, epochs=1, device="cpu", length=6)
    pairs = lessons(own, asked(4, 0))
    state = torch.random.get_rng_state(), random.getstate()
    first, _ = train(writer, own, pairs, 3, epochs=1, rate=1e-2)
    again, _ = train(writer, own, pairs, 3, epochs=1, rate=1e-2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    # Nobody else's generators have moved.
    assert torch.equal(state[0], torch.random.get_rng_state()) and state[1] == random.getstate()
    assert all("lora" in name for name in first)
    more, _ = train(writer, own, pairs, 3, begin=first, epochs=1, rate=1e-2)
    assert any((more[name] != first[name]).any() for name in first)
    policy = Policy(writer, own, 3)
    weights, begun = policy.weights(), policy.write(["How many?"])
    policy.load({name: weight * 50 for name, weight in more.items()})
    assert policy.write(["How many?"]) != begun
    policy.load(weights)
    assert policy.write(["How many?"]) == begun


def test_a_request_that_is_too_long_is_refused(writer: str) -> None:
    own = QpoSettings.default(rank=2, device="cpu", length=6)
    policy = Policy(writer, own, 0)
    with pytest.raises(InputError, match="choose another one") as caught:
        sft(policy, lessons_of([Pair("apples " * 300, "one", 0.0, 0.0)]), 0, epochs=1, rate=1.0)
    assert caught.value.keys == ("qpo.policy_model",)
    with pytest.raises(InputError) as caught:
        policy.write(["apples " * 300])
    assert "qpo.length" in caught.value.keys


def test_a_model_that_cannot_be_the_policy_is_refused_without_its_weights(writer: str) -> None:
    check_policy(writer, QpoSettings.default(device="cpu"))
    for load in (check_policy, lambda name, own: Policy(name, own, 0)):
        with pytest.raises(InputError, match="no-such-folder") as caught:
            load("/no-such-folder", QpoSettings.default(device="cpu"))
        assert caught.value.keys == ("qpo.policy_model",)
    with pytest.raises(InputError, match="'cuda:7' does not exist on this machine") as caught:
        check_policy(writer, QpoSettings.default(device="cuda:7"))
    assert caught.value.keys == ("qpo.device",)
