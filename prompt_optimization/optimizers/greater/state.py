"""What a search holds and tells."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from prompt_optimization.models.layout import Ids
from prompt_optimization.optimizers.greater.evaluator import Evaluation

# The parts of a step, as its seconds name them.
PHASES = ("propose", "reason", "differentiate", "select")


@dataclass(frozen=True)
class Scored:
    """A prompt with its evaluation on ``samples`` training samples, found at ``step``; samples that
    several models answer count once for each."""

    text: str
    ids: Ids
    evaluation: Evaluation
    step: int

    @property
    def samples(self) -> int:
        return len(self.evaluation.outcomes)

    @property
    def rank(self) -> tuple[int, float, int]:
        """Sorts best first: objectives on more samples count before those on fewer."""
        return (-self.samples, self.evaluation.objective, self.step)


@dataclass(frozen=True)
class Candidate:
    """A shortlisted token, its coordinate of the normalised gradient, and the prompt it makes."""

    token: int
    gradient: float
    scored: Scored


@dataclass(frozen=True)
class Step:
    """What one step did.

    Attributes:
        index: from 0.
        position: index of the edited token in the prompt.
        appended: the position lies behind the prompt's last token.
        samples: training samples in use.
        topk: proposals per sample, after widening.
        proposals: proposed ids; ``gradients`` are their coordinates, in the same order.
        candidates: the shortlist in its order, evaluated.
        chosen: index into ``candidates``; None when nothing could be proposed or every candidate
            was given up.
        accepted: whether the chosen one became the incumbent.
        incumbent: the prompt after the step.
        events: what else happened (a group of samples added, the search started over).
        seconds: per phase.
        busy: seconds that each worker worked, model by model.
        tokens: tokens per kind (see ``LanguageModel.counts``).
    """

    index: int
    position: int
    appended: bool
    samples: int
    topk: int
    proposals: tuple[int, ...]
    gradients: tuple[float, ...]
    candidates: tuple[Candidate, ...]
    chosen: int | None
    accepted: bool
    incumbent: Scored
    events: tuple[str, ...]
    seconds: dict[str, float]
    busy: tuple[float, ...]
    tokens: dict[str, int]


@dataclass
class State:
    """All that changes from step to step.

    Attributes:
        active: training samples in use, and ``models`` that answer them; ``grown``: the step at
            which either last became more.
        since_best: steps since a better prompt, more samples or a new start.
        seconds, decoded, evaluations: totals over all steps.
    """

    incumbent: Scored
    position: int
    active: int
    models: int
    rng: random.Random
    initial: Scored
    step: int = 0
    best: list[Scored] = field(default_factory=list)
    since_best: int = 0
    grown: int = -1
    seconds: float = 0.0
    decoded: int = 0
    evaluations: int = 0
