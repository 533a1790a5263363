"""The score-function part of the gradient, linearised at the token's embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.language_model import at_least_float32, pad_right
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.memory import RowBudget


def score_gradients(
    samples: CachedExamples,
    rows: Sequence[tuple[int, Ids, float]],
    prompt: Ids,
    position: int,
    tokens: Sequence[int],
    temperature: float,
    budget: RowBudget,
) -> torch.Tensor:
    """Gradient of the sum of advantage times log-likelihood of the reasonings over the choice of
    the prompt's token at ``position``: [tokens].

    Args:
        rows: example, reasoning and advantage; a reasoning's end is left out.
        temperature: the one that drew them.
    """
    samples.prefix.reach(prompt[:position])
    model = samples.model
    rows = [row for row in rows if row[1]]

    def work(some: Sequence[tuple[int, Ids, float]]) -> list[torch.Tensor]:
        stems = [(*prompt[position:], *samples.following(sample, prompt)) for sample, _, _ in some]
        read = [(*stem, *own) for stem, (_, own, _) in zip(stems, some, strict=True)]
        ids, valid = pad_right(read, model.filler, model.device)
        model.counts["differentiated"] += int(valid.sum())
        places = [
            (row, column, advantage)
            for row, (stem, (_, own, advantage)) in enumerate(zip(stems, some, strict=True))
            for column in range(len(stem) - 1, len(stem) + len(own) - 1)
        ]
        row, column, advantage = zip(*places, strict=True)
        where = torch.tensor(row), torch.tensor(column)
        kv = samples.prefix.select([sample for sample, _, _ in some], ids.shape[1])
        with torch.enable_grad():
            vectors = model.embed(ids).detach()
            edited = vectors[:, :1].requires_grad_(True)
            inputs = torch.cat([edited, vectors[:, 1:]], dim=1)
            logits = at_least_float32(model.extend(kv, inputs, where, valid)) / temperature
            losses = torch.nn.functional.cross_entropy(
                logits, ids[where[0], where[1] + 1], reduction="none"
            )
            weights = torch.tensor(advantage, dtype=losses.dtype, device=losses.device)
            (gradient,) = torch.autograd.grad((-losses * weights).sum(), edited)
        return list(gradient[:, 0])

    with torch.no_grad():
        vectors = model.embed(torch.tensor(list(tokens), device=model.device))
        total = torch.stack(budget.map(rows, work)).sum(0)
        return at_least_float32(total.to(vectors.dtype) @ vectors.T)
