"""The plain path: one row at a time, no cache, no padding. What the engine must equal."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.layout import Ids


def logits(model: LanguageModel, ids: Sequence[int]) -> torch.Tensor:
    """[len(ids), vocabulary], from ids alone."""
    inputs = torch.tensor([list(ids)], device=model.device)
    with torch.no_grad():
        return model.model(input_ids=inputs, use_cache=False).logits[0]


def reason(
    model: LanguageModel, samples: CachedExamples, prompt: Ids, sample: int, limit: int
) -> Ids:
    context = [*samples.before[sample], *prompt, *samples.following(sample, prompt)]
    return continued(model, context, limit)


def continued(model: LanguageModel, context: Sequence[int], limit: int) -> Ids:
    """What the model writes after ``context``, greedily."""
    ids = [*context]
    while len(ids) - len(context) < limit:
        token = int(logits(model, ids)[-1].argmax())
        if token in model.stop_ids:
            break
        ids.append(token)
    return tuple(ids[len(context) :])


def log_prob(
    model: LanguageModel,
    samples: CachedExamples,
    prompt: Ids,
    sample: int,
    reasoning: Ids,
    temperature: float,
    limit: int,
) -> float:
    """Of a reasoning, and of its end where it is shorter than ``limit``."""
    context = [*samples.before[sample], *prompt, *samples.following(sample, prompt)]
    shares = (logits(model, [*context, *reasoning]).float() / temperature).log_softmax(-1)
    shares = shares[len(context) - 1 :]
    total = sum(float(shares[step, token]) for step, token in enumerate(reasoning))
    if len(reasoning) < limit:
        total += float(shares[len(reasoning), sorted(model.stop_ids)].logsumexp(0))
    return total


def prompt_nll(model: LanguageModel, samples: CachedExamples, prompt: Ids, sample: int) -> float:
    before = samples.before[sample]
    ids = torch.tensor([*before, *prompt])
    losses = torch.nn.functional.cross_entropy(
        logits(model, ids.tolist())[len(before) - 1 : -1].float(), ids[len(before) :]
    )
    return float(losses)


def answer_loss(
    model: LanguageModel,
    samples: CachedExamples,
    prompt: Ids,
    sample: int,
    reasoning: Ids,
    temperature: float,
) -> tuple[float, bool]:
    target = samples.targets[sample]
    context = [*samples.before[sample], *prompt, *samples.following(sample, prompt), *reasoning]
    context += target.extractor
    answer = torch.tensor(target.answer)
    scores = logits(model, [*context, *target.answer])[len(context) - 1 : -1].float()
    loss = torch.nn.functional.cross_entropy(scores / temperature, answer)
    return float(loss), bool((scores.argmax(-1) != answer).any())
