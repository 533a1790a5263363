"""Step 1: which tokens could stand at this place of the prompt? (paper, section 3.1)

The model's own next-token distribution after ``question + prompt[:i]`` says, sample by sample,
what it would write there. A token proposed for several samples together fits the task rather
than one question, so only intersections over random groups of samples are kept.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

# The tokens that the published filter lets through.
READABLE = re.compile("[A-Za-z ]+|[.,]")
ANY_TEXT = re.compile(".+", re.DOTALL)


@dataclass(frozen=True)
class Proposals:
    """The outcome of one round of proposing.

    Attributes:
        tokens: ids in the gradient's order of coordinates, best proposed first.
        topk: how many tokens were taken per sample in the end.
    """

    tokens: tuple[int, ...]
    topk: int


def banned_ids(
    tokenizer: PreTrainedTokenizerBase, vocabulary: int, *, allow_non_ascii: bool
) -> torch.Tensor:
    """Mask [vocabulary] of ids that are never proposed.

    Banned are special and added tokens and ids without text; unless ``allow_non_ascii``, also
    every token that is not printable ASCII or holds anything but letters and spaces, apart from
    exactly ``.``, ``,`` and a space.
    """
    specials = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    # What tokenizer.decode calls in the end; by its own way every id costs eight times as much.
    decode = tokenizer.backend_tokenizer.decode
    proposed = ANY_TEXT if allow_non_ascii else READABLE
    known = min(vocabulary, len(tokenizer))
    texts = (decode([i], skip_special_tokens=False) for i in range(known))
    banned = [i in specials or not proposed.fullmatch(text) for i, text in enumerate(texts)]
    return torch.tensor([*banned, *[True] * (vocabulary - known)])


def top_tokens(log_probs: torch.Tensor, banned: torch.Tensor, k: int) -> list[list[int]]:
    """The ``k`` most likely allowed ids per sample, best first.

    Args:
        log_probs: [samples, vocabulary].
        banned: [vocabulary] bool.
    """
    allowed = log_probs.masked_fill(banned.to(log_probs.device), -torch.inf)
    k = min(k, int((~banned).sum()))
    return allowed.topk(k, dim=1).indices.tolist()


def intersect(lists: Sequence[Sequence[int]], groups: Sequence[Sequence[int]]) -> set[int]:
    """Union over ``groups`` of samples of the tokens that every list of a group holds."""
    return {
        token
        for group in groups
        for token in set.intersection(*(set(lists[sample]) for sample in group))
    }


def propose(
    log_probs: Sequence[torch.Tensor],
    banned: torch.Tensor,
    rng: random.Random,
    *,
    topk: int,
    topq: int,
    group_size: int,
    minimum: int,
    widening: int,
    keep: Callable[[Sequence[int]], Sequence[int]],
) -> Proposals:
    """Tokens that several samples propose together.

    Args:
        log_probs: of every model, [samples, vocabulary] at the edited position. With several
            models, a token counts as proposed for an example only if every model proposes it. A
            token that has minus infinity cannot stand there.
        banned: [vocabulary] bool.
        topk: tokens per sample to begin with; grows by ``widening`` while fewer than
            ``minimum`` tokens come out, all groups being drawn again.
        topq: random groups whose intersections are united.
        group_size: samples per group.
        keep: lets through the tokens whose prompt survives as text.
    """
    samples = len(log_probs[0])
    mean = torch.stack([each.mean(0) for each in log_probs]).mean(0)
    banned = banned | torch.isneginf(mean).to(banned.device)
    allowed = int((~banned).sum())
    survives: dict[int, bool] = {}  # widening meets the same tokens again and again
    while True:
        models = [top_tokens(each, banned, topk) for each in log_probs]
        lists = [list(set.intersection(*map(set, some))) for some in zip(*models, strict=True)]
        groups = [rng.sample(range(samples), min(group_size, samples)) for _ in range(topq)]
        # Likeliest first: an order that does not depend on how a set is stored.
        union = sorted(intersect(lists, groups), key=lambda token: (-float(mean[token]), token))
        unknown = [token for token in union if token not in survives]
        kept = set(keep(unknown))
        survives |= {token: token in kept for token in unknown}
        tokens = tuple(token for token in union if survives[token])
        if len(tokens) >= minimum or topk >= allowed:
            return Proposals(tokens, topk)
        topk += widening
