"""Sampled reasoning: the same tokens whatever is pooled, from the distribution that was asked for;
and losses of the user's own."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.memory import RowBudget
from prompt_optimization.models.sampling import (
    INCREMENT,
    LIKELIEST,
    NotFiniteError,
    Sampling,
    _largest,
    _largest_on_cpu,
    _noise,
)
from prompt_optimization.optimizers.greater.differentiate import LossWeights, token_gradients
from tests import plain
from tests.conftest import DEVICE

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
PROMPTS = (" careful thought, count each one.", " careful steps, count each one.", " think.")


def plain_noise(sampling: Sampling, question: str, step: int, width: int) -> np.ndarray:
    """Gumbel noise of a whole vocabulary: SplitMix64 as it was published, in unsigned numbers."""
    key = hashlib.sha256(f"{sampling.seed} {question}".encode()).digest()[:8]
    counters = np.arange(step * width, (step + 1) * width, dtype=np.uint64)
    x = counters * np.uint64(GOLDEN) + np.uint64(int.from_bytes(key, "big"))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(FIRST)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(SECOND)
    x = x ^ (x >> np.uint64(31))
    return -np.log(-np.log(((x >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53))


def plain_draw(
    sampling: Sampling, logits: torch.Tensor, question: str, step: int
) -> tuple[int, float]:
    """A token after ``logits`` [vocabulary], with noise on all of them, and how far from ``top_p``
    the nearest share is that its limit is compared with."""
    scores = logits.double().cpu().numpy() / sampling.temperature
    kept = np.argsort(-scores, kind="stable")[: sampling.top_k or None]
    distance = 1.0
    if sampling.top_p < 1:
        shares = np.exp(scores[kept] - scores[kept[0]])
        before = np.concatenate([[0], shares[:-1].cumsum()]) / shares.sum()
        distance = float(np.abs(before - sampling.top_p).min())
        kept = kept[before < sampling.top_p]
    noisy = np.full_like(scores, -np.inf)
    noisy[kept] = scores[kept] + plain_noise(sampling, question, step, len(scores))[kept]
    return int(noisy.argmax()), distance


def some_logits(
    seed: int, shape: tuple[int, int], scale: float, grid: float, ruled_out: float
) -> torch.Tensor:
    """Normal logits, rounded to multiples of ``grid`` unless it is 0, some of them -inf."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(*shape, generator=generator, device="cpu")
    if grid:
        logits = (logits / grid).round() * grid
    out = torch.rand(*shape, generator=generator, device="cpu") < ruled_out
    out[:, seed % shape[1]] = False
    return logits.masked_fill(out, -torch.inf).to(DEVICE)


def plain_sample(
    model: Any, samples: CachedExamples, prompt: Any, sample: int, decoding: Decoding
) -> Any:
    """One row by itself, from whole texts."""
    sampling = decoding.sampling
    assert sampling is not None
    question = samples.examples[sample].question
    choose = sampling.choice([question], DEVICE)
    ids = [*samples.before[sample], *prompt, *samples.after[sample]]
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


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 5),
    width=st.sampled_from([1, 2, 17, LIKELIEST, LIKELIEST + 1, 700, 5000]),
    scale=st.floats(0, 8),
    grid=st.sampled_from([0, 0.0625, 1, 8]),
    ruled_out=st.sampled_from([0, 0.3, 0.999]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]),
    temperature=st.floats(0.05, 5),
    top_k=st.sampled_from([0, 0, 1, 3, LIKELIEST, 300, 10_000]),
    top_p=st.sampled_from([0.01, 0.3, 0.9, 0.999, 1, 1]),
    step=st.integers(0, 1000),
)
def test_a_draw_is_the_largest_of_all_noisy_scores(
    seed: int,
    rows: int,
    width: int,
    scale: float,
    grid: float,
    ruled_out: float,
    dtype: torch.dtype,
    temperature: float,
    top_k: int,
    top_p: float,
    step: int,
) -> None:
    logits = some_logits(seed, (rows, width), scale, grid, ruled_out).to(dtype)
    sampling = Sampling(temperature, top_k, top_p, seed)
    questions = [f"question {row // 2}" for row in range(rows)]
    choose = sampling.choice(questions, DEVICE)
    origin = torch.arange(rows)
    drawn = choose(logits, origin, step)
    expected = [
        plain_draw(sampling, row, question, step)
        for row, question in zip(logits, questions, strict=True)
    ]
    assume(min(distance for _, distance in expected) > 1e-12)
    assert drawn.tolist() == [token for token, _ in expected]
    assert choose(logits.flip(0), origin.flip(0), step).flip(0).equal(drawn)
    for row in range(rows):
        assert choose(logits[row : row + 1], origin[row : row + 1], step).equal(
            drawn[row : row + 1]
        )


@pytest.mark.parametrize("sampling", [Sampling(3.0), Sampling(3.0, top_p=0.99), Sampling(3.0, 900)])
def test_tokens_that_are_not_among_the_likeliest(sampling: Sampling) -> None:
    logits = some_logits(0, (40, 5000), scale=2, grid=0, ruled_out=0)
    questions = [f"question {row}" for row in range(40)]
    drawn = sampling.choice(questions, DEVICE)(logits, torch.arange(40), 3)
    expected = [
        plain_draw(sampling, row, question, 3)[0]
        for row, question in zip(logits, questions, strict=True)
    ]
    assert drawn.tolist() == expected
    ranks = (logits > logits.gather(1, drawn[:, None])).sum(1)
    assert int((ranks > LIKELIEST).sum()) > 10


@pytest.mark.parametrize("sampling", [Sampling(1.0, top_k=3), Sampling(1.0, top_p=0.0025)])
def test_of_equally_likely_tokens_the_lowest_ids_are_left(sampling: Sampling) -> None:
    choose = sampling.choice(["why?"], DEVICE)
    logits = torch.zeros(1, 1000)
    logits[0, 3] = -1
    found = {int(choose(logits, torch.tensor([0]), step)) for step in range(60)}
    assert found == {0, 1, 2}


def test_a_token_after_enough_probability_is_left_out() -> None:
    choose = Sampling(1.0, top_p=0.5).choice(["why?"], DEVICE)
    found = {int(choose(torch.zeros(1, 4), torch.tensor([0]), step)) for step in range(60)}
    assert found == {0, 1}


def test_every_token_of_a_flat_distribution_can_win() -> None:
    questions = [f"question {row}" for row in range(3000)]
    logits = torch.zeros(3000, LIKELIEST + 17)
    logits[:, LIKELIEST:] = -0.01
    drawn = Sampling(1.0).choice(questions, DEVICE)(logits, torch.arange(3000), 0)
    assert drawn.unique().tolist() == list(range(LIKELIEST + 17))


@pytest.mark.parametrize("sampling", [Sampling(1.0), Sampling(1.0, top_k=5), Sampling(1.0, 0, 0.9)])
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
@pytest.mark.parametrize("width", [20, 1000])
def test_logits_that_are_not_finite(sampling: Sampling, wrong: float, width: int) -> None:
    choose = sampling.choice(["a", "b", "c"], DEVICE)
    logits = torch.zeros(2, width)
    logits[1, width - 1] = wrong
    with pytest.raises(NotFiniteError) as caught:
        choose(logits, torch.tensor([0, 2]), 0)
    assert caught.value.row == 2
    logits[1] = -torch.inf
    with pytest.raises(NotFiniteError):
        choose(logits, torch.tensor([0, 2]), 0)


def test_hashes_are_the_same_on_every_device() -> None:
    generator = torch.Generator().manual_seed(0)
    starts = torch.randint(-(2**63), 2**63 - 1, (5,), generator=generator, device="cpu")
    counters = torch.randint(-(2**63), 2**63 - 1, (16, 3000), generator=generator, device="cpu")
    assert (
        _largest(starts.to(DEVICE), counters.to(DEVICE))
        .cpu()
        .equal(_largest_on_cpu(starts, counters))
    )


@pytest.mark.parametrize("hashed", [0, 2**64 - 1])
def test_noise_is_finite(hashed: int) -> None:
    x = hashed
    # The hash's steps, undone from the last to the first.
    for shift, factor in ((31, SECOND), (27, FIRST), (30, 1)):
        y = x
        for _ in range(64 // shift):
            y = x ^ (y >> shift)
        x = y * pow(factor, -1, 2**64) % 2**64
    start = x - 2**64 if x >= 2**63 else x
    token = torch.tensor([5])
    noise = float(_noise(torch.tensor([start]) - token * INCREMENT, token))
    assert noise == pytest.approx(36.74 if hashed else -3.62, abs=0.01)


@given(st.integers(0, 2**32), st.floats(0.2, 3), st.integers(0, 5), st.floats(0.1, 1))
def test_only_what_is_likely_enough(
    seed: int, temperature: float, top_k: int, top_p: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 12, generator=generator, device="cpu").to(DEVICE)
    choose = Sampling(temperature, top_k, top_p, seed).choice(["why?"], DEVICE)
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
    choose = Sampling(0.7, seed=1).choice(["why?"], DEVICE)
    found = torch.tensor([int(choose(logits, torch.tensor([0]), step)) for step in range(20_000)])
    expected = (logits[0] / 0.7).softmax(0)
    # Four standard deviations of a share of 20,000 draws, and of 5,000.
    shares = torch.bincount(found, minlength=4) / 20_000
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.015)
    # One draw says nothing about the next.
    behind = found[1:][found[:-1] == 0][:5_000]
    shares = torch.bincount(behind, minlength=4) / len(behind)
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.04)


def gradient(model: Any, samples: CachedExamples, weights: LossWeights) -> torch.Tensor:
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
