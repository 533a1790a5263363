"""Step 3: the gradient through the reasoning. (paper, section 3.3)

``before + prompt + after + reasoning + extractor + answer`` is read once more, from the edited
position on. The loss of a sample is::

    answer_weight * mean cross-entropy of the answer's tokens at logits / temperature
      + nll_weight * mean negative log-likelihood of the prompt's tokens

and its gradient is taken with respect to the one-hot choice of the token at that position. The
input vector there is ``one_hot @ E``, so the gradient over the proposed tokens is the gradient of
that vector times their rows of E. Where the prompt stands several times, the vector stands in all
of its places, and the likelihood is that in the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prompt_optimization.errors import InputError
from prompt_optimization.models.answer_loss import AnswerLoss, own_loss
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.executor import Future
from prompt_optimization.models.language_model import LanguageModel, at_least_float32, pad_right
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.memory import (
    RowBudget,
    give_back,
    is_out_of_memory,
    logits_bytes,
    rows_that_fit,
)
from prompt_optimization.models.model import Model
from prompt_optimization.models.worker import Worker


@dataclass(frozen=True)
class LossWeights:
    """The loss that is differentiated: weights of its two parts, the answer's temperature, and what
    stands in for its mean cross-entropy, if anything does."""

    answer: float = 1.0
    nll: float = 0.2
    temperature: float = 0.2
    answer_loss: AnswerLoss | None = None


def token_gradients(
    model: LanguageModel,
    samples: CachedExamples,
    indices: Sequence[int],
    prompt: Ids,
    position: int,
    tokens: Sequence[int],
    reasonings: Sequence[Ids],
    weights: LossWeights,
    budget: RowBudget,
) -> torch.Tensor:
    """Gradient of each sample's loss over the choice of one prompt token.

    Args:
        indices: the samples, with one of ``reasonings`` each.
        prompt: the prompt's ids; the token at ``position`` is where the loss is linearised.
        tokens: the proposed ids.
        budget: rows at once in a forward and backward pass.

    Returns:
        [samples, tokens] in float32 or better; negative means that the token should lower the loss.

    Raises:
        FloatingPointError: a gradient is not finite.
        InputError: the user's own loss, or a quantised model, cannot be differentiated; see
            ``own_loss``.
    """
    samples.prefix.reach(prompt[:position])
    rows = budget.map(
        list(zip(indices, reasonings, strict=True)),
        lambda some: list(_input_gradients(model, samples, some, prompt, position, weights)),
    )
    give_back(model.device)
    with torch.no_grad():
        vectors = model.embed(torch.tensor(list(tokens), device=model.device))
        product = torch.stack(rows).to(vectors.dtype) @ vectors.T
        gradients: torch.Tensor = at_least_float32(product).cpu()
    if not bool(torch.isfinite(gradients).all()):
        raise FloatingPointError("the gradient is not finite")
    return gradients


def gradients_of(
    worker: Worker,
    some: Sequence[tuple[int, Ids]],
    prompt: Ids,
    position: int,
    tokens: Sequence[int],
    weights: LossWeights,
) -> list[NDArray[np.floating[Any]]]:
    """A worker's job: ``token_gradients`` of training samples, named with their reasonings."""
    samples, reasonings = zip(*some, strict=True)
    budget = worker.gradient_budget
    if worker.plans_gradients:
        rows = _rows_that_fit(worker.model, worker.examples, some, prompt, position, budget.rows)
        # For good, because passes of other sizes round differently.
        budget.rows = rows
    gradients = token_gradients(
        worker.model,
        worker.examples,
        samples,
        prompt,
        position,
        tokens,
        reasonings,
        weights,
        budget,
    )
    return list(gradients.numpy())


def submit_gradient(
    model: Model,
    rows: Sequence[tuple[int, Ids]],
    arguments: tuple[Ids, int, Sequence[int], LossWeights],
    weights: Sequence[float],
) -> Future[torch.Tensor]:
    """Have a model take its gradient: [tokens], summed over ``rows`` and normalised.

    Args:
        rows: training examples by number, with their reasonings.
        arguments: prompt, position, tokens and weights of the loss, as ``token_gradients`` takes
            them.
        weights: of the rows.
    """
    prompt, position, _, _ = arguments
    costs = [len(reasoning) + len(prompt) - position for _, reasoning in rows]
    gradients = model.submit_each(gradients_of, rows, costs, arguments, pieces=4)
    return gradients.then(
        lambda found: aggregate(torch.tensor(weights)[:, None] * torch.from_numpy(np.stack(found)))
    )


def _rows_that_fit(
    model: LanguageModel,
    samples: CachedExamples,
    some: Sequence[tuple[int, Ids]],
    prompt: Ids,
    position: int,
    most: int,
) -> int:
    """How many of ``some``, ``most`` at most, the memory should hold in one backward pass."""
    size = 0
    for sample, reasoning in some:
        target = samples.targets[sample]
        tokens = len(prompt) - position + len(samples.following(sample, prompt)) + len(reasoning)
        tokens += len(samples.ending(sample, reasoning))
        tokens += len(target.extractor) + len(target.answer)
        scored = len(prompt) - position + len(target.answer)
        size = max(
            size,
            tokens * model.shape.gradient_bytes + logits_bytes(scored, model.vocabulary),
        )
    # Of several devices each holds its own layers.
    share = size // len(model.devices)
    return rows_that_fit(dict.fromkeys(model.devices, share), most)


def aggregate(gradients: torch.Tensor) -> torch.Tensor:
    """Sum over samples [samples, tokens] -> [tokens], scaled to length one.

    The scale makes gradients of several models comparable before they are added.
    """
    return torch.nn.functional.normalize(gradients.sum(0), dim=0)


def _input_gradients(
    model: LanguageModel,
    samples: CachedExamples,
    some: Sequence[tuple[int, Ids]],
    prompt: Ids,
    position: int,
    weights: LossWeights,
) -> torch.Tensor:
    """Gradient of every row's loss by its input vector at ``position``: [rows, width]."""
    sequences, positions, scales, answers, edits = [], [], [], [], []
    for row, (sample, reasoning) in enumerate(some):
        target = samples.targets[sample]
        context = (*prompt[position:], *samples.following(sample, prompt), *reasoning)
        column = 0
        edits.append((row, column))
        for between in samples.between[sample]:
            column += len(prompt) + len(between)
            edits.append((row, column))
        context += (*samples.ending(sample, reasoning), *target.extractor)
        sequences.append((*context, *target.answer))
        # Column c predicts column c + 1. The edited token's own likelihood does not depend on its
        # input vector, so the prompt's part begins one further.
        for column in range(1, len(prompt) - position):
            positions.append((row, column - 1))
            scales.append((weights.nll / len(prompt), 1.0))
        answers.append(slice(len(positions), len(positions) + len(target.answer)))
        share = weights.answer / len(target.answer) if weights.answer_loss is None else 0.0
        for column in range(len(context), len(context) + len(target.answer)):
            positions.append((row, column - 1))
            scales.append((share, weights.temperature))
    ids, valid = pad_right(sequences, model.filler, model.device)
    kv = samples.prefix.select([sample for sample, _ in some], ids.shape[1])
    model.counts["differentiated"] += int(valid.sum())
    where = torch.tensor(positions, device=model.device).unbind(1)
    scale, temperature = torch.tensor(scales, device=model.device).unbind(1)
    with torch.enable_grad():
        vectors = model.embed(ids).detach()
        edited = vectors[:, :1].requires_grad_(True)
        stands = torch.zeros_like(valid)
        rows, columns = torch.tensor(edits, device=model.device).unbind(1)
        stands[rows, columns] = True
        inputs = torch.where(stands[..., None], edited, vectors)
        logits = model.extend(kv, inputs, (where[0], where[1]), valid)
        logits = at_least_float32(logits) / temperature[:, None]
        tokens = ids[where[0], where[1] + 1]
        losses = torch.nn.functional.cross_entropy(logits, tokens, reduction="none")
        total = (losses * scale).sum()
        if weights.answer_loss is not None:
            own = _own_losses(weights.answer_loss, logits, tokens, answers)
            total = total + weights.answer * own
        # Rows do not touch each other, so the gradient of the sum holds every row's own.
        try:
            (gradient,) = torch.autograd.grad(total, edited)
        except RuntimeError as error:
            if not model.quantised or is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"no gradient passes the quantised layers of model '{model.name}' ({reason}); give "
                "a model that is not quantised, or choose a method without gradients",
                key=("model_paths", "method"),
            ) from None
    return gradient[:, 0]


def _own_losses(
    function: AnswerLoss, logits: torch.Tensor, ids: torch.Tensor, answers: Sequence[slice]
) -> torch.Tensor:
    """Sum of ``function`` over the answers, each a slice of ``logits`` and ``ids``."""
    losses = [own_loss(function, logits[answer], ids[answer]) for answer in answers]
    if not all(loss.requires_grad for loss in losses):
        raise InputError(
            "loss_function's result cannot be differentiated; let it compute with torch on y_pred, "
            "without detach(), item() or argmax()"
        )
    return torch.stack(losses).sum()
