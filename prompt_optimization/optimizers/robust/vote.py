"""Labels by a vote of several prompts, and what each threshold would make of them. No model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prompt_optimization.scoring.finalists import form, vote
from prompt_optimization.scoring.statistics import wilson

# What a product of a threshold and a number of prompts may be off by rounding.
ROUNDING = 1e-9


def needed(threshold: float, prompts: int) -> int:
    """The votes that an answer needs to be a label, at least one."""
    return max(1, math.ceil(threshold * prompts - ROUNDING))


def leading(answers: Sequence[str], ties: bool = False) -> tuple[str, int]:
    """The answer that most of ``answers`` give, and how many; nothing and 0 for no answer at all.
    An empty answer is no vote.

    Args:
        ties: among answers with equally many votes the first one leads; otherwise nothing does.
    """
    given = [answer for answer in answers if answer]
    if not given:
        return "", 0
    votes = Counter(map(form, given))
    most = max(votes.values())
    if not ties and list(votes.values()).count(most) > 1:
        return "", most
    return given[vote(given)], most


def precision(votes: Sequence[int], right: Sequence[bool], prompts: int) -> list[dict[str, Any]]:
    """For every number of votes that might be needed: how many rows would be labelled, which share
    of all that is, and which share of the labels is right, with its 95 % interval.

    Args:
        votes: for each row's leading answer.
        right: whether that answer is right.
    """
    found = []
    for least in range(1, prompts + 1):
        kept = [own for count, own in zip(votes, right, strict=True) if count >= least]
        share = asdict(wilson(sum(kept) / len(kept), len(kept))) if kept else None
        found.append(
            {"votes": least, "kept": len(kept), "coverage": len(kept) / len(votes), "right": share}
        )
    return found
