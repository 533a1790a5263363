"""What a pool's rows are worth: the right answers after what they have reasoned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from prompt_optimization.models.answer_loss import own_loss
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import (
    LanguageModel,
    at_least_float32,
    pad_right,
)
from prompt_optimization.models.layout import Ids, Target
from prompt_optimization.models.sampling import first_choice
from prompt_optimization.tasks.answers import strict_match

if TYPE_CHECKING:
    from prompt_optimization.models.engine import Decoding


@torch.no_grad()
def score_answers(
    model: LanguageModel,
    examples: CachedExamples,
    pool: Sequence[tuple[int, int]],
    kv: KVRows,
    unread: Sequence[Ids],
    decoding: Decoding,
) -> tuple[list[float], list[bool], list[float]]:
    """Teacher-forced loss, mistake and margin of the answers after reasoning and extractor.

    Args:
        pool: (prompt, example) pairs, one a row of ``kv``.
        kv: the rows up to the reasoning's end, but for ``unread``; they grow by the target.
        unread: the ids between reasoning and extractor that ``kv`` does not hold yet.
        decoding: its temperature divides the logits under its loss; whether answers must end.

    Raises:
        InputError: see ``own_loss``.
    """
    targets = [examples.targets[s] for _, s in pool]
    ids, valid = pad_right(
        [
            [*last, *target.extractor, *target.answer]
            for last, target in zip(unread, targets, strict=True)
        ],
        model.filler,
        model.device,
    )
    starts = [
        len(last) + len(target.extractor) - 1 for last, target in zip(unread, targets, strict=True)
    ]
    places = [
        (row, start + offset)
        for row, (start, target) in enumerate(zip(starts, targets, strict=True))
        for offset in range(len(target.answer))
    ]
    scored = len(places)
    if decoding.must_end:
        places += [
            (row, start + len(target.answer))
            for row, (start, target) in enumerate(zip(starts, targets, strict=True))
        ]
    where = torch.tensor(places, device=model.device).unbind(1)
    logits = model.extend(kv, ids, (where[0], where[1]), valid)
    model.counts["prefilled"] += int(valid.sum())
    answers = ids[where[0][:scored], where[1][:scored] + 1]
    chosen = first_choice(logits, where[0])
    wrong = (chosen[:scored] != answers).tolist()
    logits = at_least_float32(logits[:scored]) / decoding.temperature
    function = decoding.answer_loss
    losses = torch.nn.functional.cross_entropy(logits, answers, reduction="none").tolist()
    margins = [0.0] * len(pool)
    if decoding.margin:
        margins = _margins(examples, targets, logits)
    # A few numbers a row, added up in their order: a GPU would add them in any.
    start, loss, mistake = 0, [], []
    for target in targets:
        stop = start + len(target.answer)
        if start == stop:  # No answer is known.
            loss.append(0.0)
        elif function is None:
            loss.append(sum(losses[start:stop]) / len(target.answer))
        else:
            loss.append(float(own_loss(function, logits[start:stop], answers[start:stop])))
        mistake.append(any(wrong[start:stop]))
        start = stop
    for row, following in enumerate(chosen[scored:].tolist()):
        mistake[row] = mistake[row] or not _ends(model, examples, pool[row][1], following)
    return loss, mistake, margins


def _margins(
    examples: CachedExamples, targets: Sequence[Target], logits: torch.Tensor
) -> list[float]:
    """The margin of each of ``targets``.

    Args:
        logits: [tokens of all targets' answers, vocabulary].
    """
    labels = examples.first_tokens
    place = {token: i for i, token in enumerate(labels)}
    shares = logits[:, labels].softmax(-1).tolist()
    start, found = 0, []
    for target in targets:
        margin = 0.0
        if target.answer:
            own = place[target.answer[0]]
            others = [share for i, share in enumerate(shares[start]) if i != own]
            margin = shares[start][own] - max(others, default=0.0)
        found.append(margin)
        start += len(target.answer)
    return found


def _ends(model: LanguageModel, examples: CachedExamples, example: int, following: int) -> bool:
    """Whether the answer of ``example`` is still stated when ``following`` comes after it."""
    if following in model.stop_ids:
        return True
    text = model.tokenizer.decode(
        [*examples.targets[example].answer, following], skip_special_tokens=True
    )
    references = examples.examples[example].references
    return any(strict_match(text, reference) for reference in references)
