"""What a search offers for election: a text, a rule from questions to texts, or an ensemble."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """One prompt for every question."""

    prompt: str

    @property
    def name(self) -> str:
        return self.prompt


@dataclass(frozen=True)
class Rule:
    """A prompt of its own for every question.

    Attributes:
        name: says what the rule does; two rules of a search have different names.
        prompt_for: the prompt for a question, in ``Layout.normalise``'s form.
    """

    name: str
    prompt_for: Callable[[str], str]


@dataclass(frozen=True)
class Ensemble:
    """Several prompts, whose answers are put to the vote."""

    prompts: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"vote of {len(self.prompts)}:" + " |".join(self.prompts)


Finalist = Text | Rule | Ensemble


def form(answer: str) -> str:
    """What answers share that agree."""
    return " ".join(answer.split()).casefold()


def vote(answers: Sequence[str]) -> int:
    """Index of the answer that most of ``answers`` agree on; among equals the first one.

    Answers agree when they are the same but for white space and case.
    """
    forms = [form(answer) for answer in answers]
    counts = Counter(forms)
    most = max(counts.values())
    return next(i for i, form in enumerate(forms) if counts[form] == most)
