"""Everything that steers the search, with the two named behaviours.

``published`` repeats the search rules of the authors' released code, accidents included;
``sound`` is what we do instead. docs of each key: ``configs/template.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prompt_optimization.models.engine import Decoding
from prompt_optimization.optimizers.greater.differentiate import LossWeights

# The keys that the two behaviours set differently.
BEHAVIOURS: dict[str, dict[str, Any]] = {
    "sound": {
        "accept": "anneal",
        "period_rule": "off",
        "placeholder": "proposal",
        "current_in_shortlist": False,
        "ties": "first",
        "progressive_group": 10,
        "restart_when_solved": False,
    },
    "published": {
        "accept": "always",
        "period_rule": "published",
        "placeholder": "underscore",
        "current_in_shortlist": True,
        "ties": "last",
        "progressive_group": 100,
        "restart_when_solved": True,
    },
}


@dataclass(frozen=True)
class SearchSettings:
    """Settings of one search.

    Attributes:
        steps: steps to make (paper: T = 105).
        topk: proposals per sample before intersecting (paper: 10).
        topq: random groups of samples whose intersections are united.
        group_size: samples per group (paper: q = 5).
        shortlist: ``gradient``, or what it is compared with: ``random`` or ``proposal``.
        shortlist_size: tokens tried for real (paper: mu = 3).
        reasoning_gradient: differentiate through the reasoning; otherwise the answer stands right
            behind the prompt.
        min_proposals: below this many proposals ``topk`` is widened by ``widening``.
        gradient: weights of the differentiated loss.
        decoding: limits of the reasoning; its temperature belongs to the selection's loss.
        objective: ``mistakes`` or ``loss``: what selection minimises, besides
            ``objective_nll_weight`` times the prompt's negative log-likelihood.
        accept, period_rule, placeholder, current_in_shortlist, ties, progressive_group,
            restart_when_solved: see ``configs/template.py``.
        progressive: begin with one group of samples and add groups.
        progressive_models: begin with one model and add the others once all samples are in use.
        loss_threshold: objective below which a group counts as solved.
        early_stopping_steps: steps without a new best after which a group is added or, when all
            samples are in use, the position starts over.
        sample_chunk: evaluate candidates on so many samples at a time and give up those that can no
            longer be taken nor kept; 0 evaluates all at once.
        max_prompt_tokens: the prompt does not grow beyond this.
        top_prompts: how many of the best prompts are kept.
        seed: of the search's only random generator.
    """

    steps: int
    topk: int
    topq: int
    gradient: LossWeights
    decoding: Decoding
    objective: str
    accept: str
    period_rule: str
    placeholder: str
    current_in_shortlist: bool
    ties: str
    progressive: bool
    progressive_group: int
    restart_when_solved: bool
    group_size: int = 5
    shortlist: str = "gradient"
    shortlist_size: int = 3
    reasoning_gradient: bool = True
    min_proposals: int = 6
    widening: int = 2
    objective_nll_weight: float = 0.02
    allow_non_ascii: bool = False
    progressive_models: bool = False
    loss_threshold: float = 0.12
    early_stopping_steps: int = 150
    sample_chunk: int = 0
    max_prompt_tokens: int = 64
    top_prompts: int = 10
    seed: int = 0
