"""Sampled reasoning: the same tokens whatever is pooled, from the distribution that was asked for;
and losses of the user's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.models.decode import Sampling
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.memory import RowBudget
from prompt_optimization.models.samples import Samples
from prompt_optimization.optimizers.greater.differentiate import LossWeights, token_gradients
from tests import plain

CPU = torch.device("cpu")
PROMPTS = (" careful thought, count each one.", " careful steps, count each one.", " think.")


def plain_sample(model: Any, samples: Samples, prompt: Any, sample: int, decoding: Decoding) -> Any:
    """One row by itself, from whole texts."""
    sampling = decoding.sampling
    assert sampling is not None
    question = samples.examples[sample].question
    choose = sampling.choice([question], CPU)
    ids = [*samples.questions[sample], *prompt, *samples.suffix]
    start = len(ids)
    for step in range(decoding.max_new_tokens):
        token = int(choose(plain.logits(model, ids)[-1:], torch.tensor([0]), step))
        if token in model.stop_ids:
            break
        ids.append(token)
    return tuple(ids[start:])


@pytest.mark.parametrize("rows", [1, 4, 64])
@pytest.mark.parametrize("sampling", [Sampling(0.8), Sampling(1.3, 20, 0.9, 7)])
def test_equals_the_plain_path_in_any_pool(
    make_model: Any, make_samples: Any, rows: int, sampling: Sampling
) -> None:
    model = make_model("llama-3")
    samples = make_samples(model)
    prompts = [samples.prompt_ids(text) for text in PROMPTS]
    decoding = Decoding(8, sampling=sampling)
    outcomes = Engine(model, rows).run(samples, prompts, decoding)
    for prompt, found in zip(prompts, outcomes, strict=True):
        for sample, outcome in enumerate(found):
            assert outcome.reasoning == plain_sample(model, samples, prompt, sample, decoding)
    other = replace(decoding, sampling=replace(sampling, seed=sampling.seed + 1))
    again, changed = (
        [o.reasoning for o in Engine(model).run(samples, prompts[:1], each)[0]]
        for each in (decoding, other)
    )
    assert again == [outcome.reasoning for outcome in outcomes[0]] and again != changed


@given(st.integers(0, 2**32), st.floats(0.2, 3), st.integers(0, 5), st.floats(0.1, 1))
def test_only_what_is_likely_enough(
    seed: int, temperature: float, top_k: int, top_p: float
) -> None:
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(seed))
    choose = Sampling(temperature, top_k, top_p, seed).choice(["why?"], CPU)
    found = {int(choose(logits, torch.tensor([0]), step)) for step in range(40)}
    order = logits[0].argsort(descending=True).tolist()
    shares = (logits[0] / temperature).softmax(0)
    if top_k:
        shares = shares / shares[order[:top_k]].sum()
    allowed, mass = set(), 0.0
    for token in order[: top_k or None]:
        if mass < top_p + 1e-6:
            allowed.add(token)
        mass += float(shares[token])
    assert found <= allowed


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([[1.0, 0.0, 2.0, -1.0]])
    choose = Sampling(0.7, seed=1).choice(["why?"], CPU)
    found = torch.tensor([int(choose(logits, torch.tensor([0]), step)) for step in range(20_000)])
    expected = (logits[0] / 0.7).softmax(0)
    # Four standard deviations of a share of 20,000 draws, and of 5,000.
    shares = torch.bincount(found, minlength=4) / 20_000
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.015)
    # One draw says nothing about the next.
    behind = found[1:][found[:-1] == 0][:5_000]
    shares = torch.bincount(behind, minlength=4) / len(behind)
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.04)


def gradient(model: Any, samples: Samples, weights: LossWeights) -> torch.Tensor:
    prompt = samples.prompt_ids(PROMPTS[0])
    reasonings = [(20, 21, 22), (), (23,)]
    return token_gradients(
        model, samples, range(3), prompt, 2, [30, 41, 77], reasonings, weights, RowBudget(2)
    )


@pytest.mark.parametrize(
    "function",
    [
        torch.nn.functional.cross_entropy,
        torch.nn.functional.nll_loss,
        torch.nn.CrossEntropyLoss(),
        lambda y_pred, y: torch.nn.functional.cross_entropy(y_pred, y)[None],
    ],
)
def test_cross_entropy_as_an_own_loss(make_model: Any, make_samples: Any, function: Any) -> None:
    model = make_model("llama-3", torch.float64)
    samples = make_samples(model, n=3)
    prompts = [samples.prompt_ids(PROMPTS[0])]
    decoding = Decoding(5, temperature=0.6)
    (built_in,) = Engine(model).run(samples, prompts, decoding)
    (own,) = Engine(model).run(samples, prompts, replace(decoding, answer_loss=function))
    assert [o.loss for o in own] == pytest.approx([o.loss for o in built_in])
    weights = LossWeights(0.9, 0.3, 0.6)
    torch.testing.assert_close(
        gradient(model, samples, replace(weights, answer_loss=function)),
        gradient(model, samples, weights),
        rtol=1e-4,
        atol=1e-6,
    )


def test_an_own_loss_steers_both(make_model: Any, make_samples: Any) -> None:
    model = make_model("llama-3", torch.float64)
    samples = make_samples(model, n=3)

    def twice_and_one(y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 2 * torch.nn.functional.cross_entropy(y_pred, y) + 1

    prompts = [samples.prompt_ids(PROMPTS[0])]
    (plain_loss,) = Engine(model).run(samples, prompts, Decoding(5))
    (own,) = Engine(model).run(samples, prompts, Decoding(5, answer_loss=twice_and_one))
    assert [o.loss for o in own] == pytest.approx([2 * o.loss + 1 for o in plain_loss])
    weights = LossWeights(1.0, 0.0, 1.0)
    torch.testing.assert_close(
        gradient(model, samples, replace(weights, answer_loss=twice_and_one)),
        2 * gradient(model, samples, weights),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda y_pred, y: 1.0, "gave 1.0 for an answer of"),
        (lambda y_pred, y: y_pred, "a tensor of shape"),
        (lambda y_pred, y: y_pred.sum() * torch.nan, "gave nan; let it return finite"),
        (lambda y_pred, y: y_pred.detach().sum(), "cannot be differentiated"),
    ],
)
def test_losses_that_cannot_be_used(
    make_model: Any, make_samples: Any, function: Any, words: str
) -> None:
    model = make_model("llama-3")
    samples = make_samples(model, n=3)
    with pytest.raises(InputError, match=words):
        gradient(model, samples, LossWeights(answer_loss=function))
