"""The gradient equals a brute-force finite difference of the one-hot, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from prompt_optimization.models.memory import RowBudget
from prompt_optimization.optimizers.greater.differentiate import (
    LossWeights,
    aggregate,
    token_gradients,
)
from tests.conftest import PLACES

WEIGHTS = LossWeights(answer=0.9, nll=0.3, temperature=0.5)


def loss_at(
    model: Any, samples: Any, sample: int, prompt: Any, reasoning: Any, mixed: Any
) -> float:
    """The loss written plainly: whole text, no cache, the edited place's vector given."""
    position, one_hot_vector = mixed
    target = samples.targets[sample]
    context = [*samples.before[sample], *prompt, *samples.following(sample, prompt), *reasoning]
    context += target.extractor
    ids = torch.tensor([*context, *target.answer])
    vectors = model.model.get_input_embeddings()(ids).detach().clone()
    place = len(samples.before[sample]) + position
    for between in [*samples.between[sample], ()]:  # in each of the prompt's places
        assert ids[place] == prompt[position]
        vectors[place] = one_hot_vector
        place += len(prompt) + len(between)
    with torch.no_grad():
        logits = model.model(inputs_embeds=vectors[None], use_cache=False).logits[0]
    ce = torch.nn.functional.cross_entropy
    start = len(samples.before[sample])
    nll = ce(logits[start - 1 : start - 1 + len(prompt)], torch.tensor(prompt))
    answer = ce(logits[len(context) - 1 : -1] / WEIGHTS.temperature, torch.tensor(target.answer))
    return float(WEIGHTS.answer * answer + WEIGHTS.nll * nll)


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers computes norms and eager attention's softmax in float32 whatever the model's
    dtype, which is too coarse for a difference quotient."""

    def rms_norm(module: Any, x: torch.Tensor) -> torch.Tensor:
        llama = hasattr(module, "variance_epsilon")
        scale = module.weight if llama else 1 + module.weight
        epsilon = module.variance_epsilon if llama else module.eps
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * scale

    plain_softmax = torch.nn.functional.softmax

    def softmax(x: torch.Tensor, dim: int, dtype: Any = None) -> torch.Tensor:
        return plain_softmax(x, dim=dim)

    monkeypatch.setattr(LlamaRMSNorm, "forward", rms_norm)
    monkeypatch.setattr(Gemma2RMSNorm, "forward", rms_norm)
    monkeypatch.setattr(torch.nn.functional, "softmax", softmax)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("position", [0, 3, -1])
@pytest.mark.parametrize("place", PLACES)
def test_equals_finite_differences(
    family: str, position: int, place: str, make_model: Any, make_samples: Any
) -> None:
    model = make_model(family, torch.float64)
    samples = make_samples(model, n=3, template=place)
    prompt = samples.prompt_ids(" proper logical reasoning and think step by step.")
    position %= len(prompt)
    reasonings = [tuple(range(20, 20 + n)) for n in (4, 0, 7)]
    tokens = [30, 41, 77, prompt[position]]
    gradients = token_gradients(
        model,
        samples,
        range(3),
        prompt,
        position,
        tokens,
        reasonings,
        WEIGHTS,
        RowBudget(2),
    )
    embed = model.model.get_input_embeddings()
    here = embed(torch.tensor(prompt[position])).detach()
    step = 1e-5
    for sample in range(3):
        for column, token in enumerate(tokens):
            # The one-hot's coordinate of this token, moved both ways.
            push = step * embed(torch.tensor(token)).detach()
            up, down = (
                loss_at(model, samples, sample, prompt, reasonings[sample], (position, here + d))
                for d in (push, -push)
            )
            difference = (up - down) / (2 * step)
            assert float(gradients[sample, column]) == pytest.approx(difference, rel=1e-5, abs=1e-7)


def test_an_appended_place_and_micro_batches(make_model: Any, make_samples: Any) -> None:
    model = make_model("llama-3", torch.float64)
    samples = make_samples(model, n=5)
    prompt = (*samples.prompt_ids(" think step by step"), 77)
    reasonings = [(21,) * n for n in range(5)]
    results = [
        token_gradients(
            model,
            samples,
            range(5),
            prompt,
            len(prompt) - 1,
            [30, 41],
            reasonings,
            WEIGHTS,
            RowBudget(rows),
        )
        for rows in (1, 2, 5)
    ]
    assert torch.allclose(results[0], results[1]) and torch.allclose(results[0], results[2])
    assert not any(p.requires_grad or p.grad is not None for p in model.model.parameters())


def test_aggregate_is_the_sum_at_length_one() -> None:
    gradients = torch.tensor([[3.0, 0.0], [0.0, -4.0]])
    assert aggregate(gradients).tolist() == pytest.approx([0.6, -0.8])
    assert aggregate(torch.zeros(2, 3)).tolist() == [0, 0, 0]


def test_a_gradient_that_is_no_number_is_told(make_model: Any, make_samples: Any) -> None:
    model = make_model("llama-3")
    samples = make_samples(model, n=2)
    prompt = samples.prompt_ids(" think step by step")
    with torch.no_grad():
        model.model.get_output_embeddings().weight[7] = torch.nan
    with pytest.raises(FloatingPointError, match="gradient is not finite"):
        token_gradients(
            model,
            samples,
            range(2),
            prompt,
            1,
            [30],
            [(21,), (22,)],
            WEIGHTS,
            RowBudget(8),
        )
