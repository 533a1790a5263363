"""Proposals: what is banned, what survives the intersection, when the net is cast wider."""

from __future__ import annotations

import random
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.optimizers.greater.propose import (
    banned_ids,
    intersect,
    propose,
    top_tokens,
)


def test_banned_ids(tokenizers: Any, family: str) -> None:
    tokenizer = tokenizers[family]
    vocabulary = len(tokenizer) + 4  # models pad their vocabulary
    strict = banned_ids(tokenizer, vocabulary, allow_non_ascii=False)
    loose = banned_ids(tokenizer, vocabulary, allow_non_ascii=True)
    assert strict[-4:].all() and loose[-4:].all()
    for i in range(len(tokenizer)):
        text = tokenizer.decode([i])
        if i in tokenizer.all_special_ids:
            assert strict[i] and loose[i]
        elif not strict[i]:
            assert text in (".", ",", " ") or (text.isascii() and text.replace(" ", "a").isalpha())
    allowed = {tokenizer.decode([i]).strip() for i in (~strict).nonzero()[:, 0].tolist()}
    assert {"apples", "."} <= allowed and not {"$", "12"} & allowed
    assert (~loose).sum() > (~strict).sum()


@given(data=st.data())
def test_intersection_law(data: st.DataObject) -> None:
    tokens = st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True)
    lists = data.draw(st.lists(tokens, min_size=1, max_size=6))
    group = st.lists(st.integers(0, len(lists) - 1), min_size=1, max_size=4)
    groups = data.draw(st.lists(group, min_size=1, max_size=4))
    expected = {t for t in range(10) if any(all(t in lists[s] for s in g) for g in groups)}
    assert intersect(lists, groups) == expected


def test_top_tokens_are_ranked_and_allowed() -> None:
    log_probs = torch.tensor([[0.1, 0.9, 0.5, 0.7], [0.9, 0.1, 0.2, 0.3]])
    banned = torch.tensor([False, True, False, False])
    assert top_tokens(log_probs, banned, 2) == [[3, 2], [0, 3]]
    assert top_tokens(log_probs, banned, 9) == [[3, 2, 0], [0, 3, 2]]


def run(log_probs: torch.Tensor, keep: Any = lambda tokens: tokens, **changes: Any) -> Any:
    settings = {"topk": 2, "topq": 3, "group_size": 2, "minimum": 3, "widening": 2} | changes
    banned = torch.zeros(log_probs.shape[1], dtype=torch.bool)
    return propose([log_probs], banned, random.Random(5), keep=keep, **settings)


def test_widens_until_enough_survive() -> None:
    # The samples agree on nothing among their first four, and on everything among all eight.
    log_probs = torch.stack([torch.arange(8.0), torch.arange(8.0).flip(0)])
    assert run(log_probs).topk > 4
    narrow = run(log_probs, keep=lambda tokens: [t for t in tokens if t < 3])
    assert set(narrow.tokens) == {0, 1, 2}
    # Not enough can ever survive: everything there is comes back instead of a search without end.
    assert run(log_probs, keep=lambda tokens: tokens[:1]).topk >= 8


def test_order_is_by_likelihood_and_the_same_every_time() -> None:
    log_probs = torch.randn(6, 40, generator=torch.Generator().manual_seed(1))
    first = run(log_probs, topk=30, minimum=1)
    mean = log_probs.mean(0)
    assert list(first.tokens) == sorted(first.tokens, key=lambda t: -float(mean[t]))
    assert first == run(log_probs, topk=30, minimum=1)
