"""What every method has in common: the protocol, a step, the best prompts so far, the registry.

A method is a folder of this package with two modules: ``settings.py``, whose ``SETTINGS`` is its
group of settings, and ``search.py``, whose ``OPTIMIZER`` is a class derived from ``Optimizer``. The
folder's name is the method's. A method knows no file, flag or screen.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from prompt_optimization.models.embedder import Embedder
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.role_settings import JudgeSettings, WriterSettings
from prompt_optimization.optimizers.artifacts import Artifacts
from prompt_optimization.optimizers.registry import module_of
from prompt_optimization.scoring.finalists import Finalist, Text
from prompt_optimization.scoring.held_out import HeldOut
from prompt_optimization.scoring.scorer import Row, Scored, Scorer
from prompt_optimization.scoring.writing import CountedWriter


@dataclass(frozen=True)
class Entry:
    """A scored prompt and the step that found it; -1 is the initial prompt."""

    scored: Scored
    step: int

    @property
    def text(self) -> str:
        return self.scored.text

    @property
    def rank(self) -> tuple[float, ...]:
        """Sorts best first: objectives on more rows come before those on fewer."""
        return (-self.scored.rows, *self.scored.order, self.step)

    def state_dict(self) -> dict[str, Any]:
        return {"scored": self.scored, "step": self.step}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Entry:
        return cls(state["scored"], state["step"])


class Leaderboard:
    """The best prompts so far, each once, with the score that ranks highest."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.entries: list[Entry] = []

    def add(self, found: Iterable[Entry]) -> None:
        kept: dict[str, Entry] = {}
        for entry in sorted([*self.entries, *found], key=lambda entry: entry.rank):
            kept.setdefault(entry.text, entry)
        self.entries = list(kept.values())[: self.size]

    @property
    def best(self) -> Entry:
        return self.entries[0]


@dataclass(frozen=True)
class Tried:
    """A prompt that a step tried; ``label`` names it in a few characters."""

    label: str
    scored: Scored


@dataclass(frozen=True)
class Step:
    """What one step did.

    Attributes:
        tried: the prompts that were scored for selection, in the method's order.
        incumbent: the prompt after the step.
        accepted: whether the incumbent changed.
        events: what else happened, in words.
        details: the method's own, as JSON can hold it.
    """

    tried: tuple[Tried, ...]
    incumbent: Entry
    accepted: bool
    events: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tools:
    """What a method may use besides the scorer.

    Attributes:
        rng: the search's only random generator; the session keeps its state.
        max_steps: the steps that the search makes at most.
        top_prompts: how many of the best prompts are kept.
        max_prompt_tokens: a prompt does not grow beyond this.
        writer: for methods that ask one (``Settings.writes``).
        judge: for methods that ask one (``Settings.judges``).
        embedder: for methods that compare texts (``Settings.embeds``).
        artifacts: what the method keeps besides its state, beside the log.
    """

    rng: random.Random
    max_steps: int
    top_prompts: int = 10
    max_prompt_tokens: int = 64
    writer: CountedWriter[WriterSettings] | None = None
    judge: CountedWriter[JudgeSettings] | None = None
    embedder: Embedder | None = None
    artifacts: Artifacts = field(default_factory=Artifacts)


class Optimizer(ABC):
    """A method.

    Attributes:
        steps: how many were made.
        initial: the initial prompt.
        incumbent: the prompt that the next step changes.
        leaderboard: the best prompts so far.
        baseline: the one of ``contenders`` that test compares the others with, too; empty for none.
        exhausted: why ``step`` has returned None, in words.
        grown: the step after which objectives last changed their meaning, because training rows
            were added; -1 for never.
    """

    #: The method takes the gradient of the loss of the answers, so there has to be an extractor.
    differentiates = False

    baseline = ""

    def __init__(self, settings: Any, scorer: Scorer, tools: Tools) -> None:
        self.settings = settings
        self.scorer = scorer
        self.tools = tools
        self.leaderboard = Leaderboard(tools.top_prompts)
        self.steps = 0
        self.exhausted = "nothing is left to try"
        self.grown = -1
        self.initial: Entry
        self.incumbent: Entry

    @classmethod  # noqa: B027
    def check_start(cls, prompt: str, ids: Ids) -> None:
        """Refuse an initial prompt that the method cannot work with, before a run begins.

        Raises:
            InputError: it cannot.
        """

    @classmethod  # noqa: B027
    def check_models(cls, settings: Any, names: Sequence[str]) -> None:
        """Refuse a model that the method loads itself, before a run begins.

        Args:
            settings: the method's.
            names: of the models that the prompt is optimised for.

        Raises:
            InputError: it cannot be used.
        """

    @classmethod
    def first_round(cls, settings: Any, examples: int, models: int) -> int:
        """The evaluations below which a budget leaves the method nothing to show: those of the
        initial prompt, and of a first population where the method has one.

        Args:
            settings: the method's.
            examples: of the training split.
            models: that the prompt is optimised for.
        """
        return examples * models

    def can_try(self, prompt: str) -> bool:
        """Whether a prompt that something else wrote can be scored, and is not too long."""
        if self.scorer.problem(prompt):
            return False
        return len(self.scorer.ids(prompt)) <= self.tools.max_prompt_tokens

    def start(self, prompt: str) -> Scored:
        """Score the initial prompt, given in ``Layout.normalise``'s form."""
        (scored,) = self.scorer.score([prompt], self._rows())
        self.initial = self.incumbent = Entry(scored, -1)
        self.leaderboard.add([self.initial])
        return scored

    def step(self) -> Step | None:
        """Try to improve the incumbent; None when there is nothing left to try."""
        made = self._step()
        if made is not None:
            self.steps += 1
        return made

    @abstractmethod
    def _step(self) -> Step | None:
        """The method's step; ``self.steps`` is its number, from 0."""

    @property
    def owed(self) -> int:
        """The evaluations that ``conclude`` takes at most; ``max_evaluations`` leaves room."""
        return 0

    def conclude(self) -> bool:
        """Do what is left when no step follows and nothing has been elected; whether there was
        anything. It may come again, when nothing is left.

        Raises:
            BudgetSpent: what it has done so far stays.
        """
        return False

    def finalists(self) -> Sequence[Finalist]:
        """What dev elects from, best first by the training objective."""
        return [Text(entry.text) for entry in self.leaderboard.entries]

    def contenders(self) -> dict[str, Finalist]:
        """What test measures beside the initial prompt and the elected finalist, by what it is
        called: the method's own controls. It does not stand for election by being here."""
        return {}

    def dev_rank(self, finalist: Finalist, result: HeldOut) -> tuple[float, ...]:
        """Sorts what dev elects from, best first.

        Args:
            result: what ``finalist`` is worth on the dev rows.
        """
        return result.rank

    def state_dict(self) -> dict[str, Any]:
        """Where the search stands: JSON values, tensors and ``Scored`` objects. What the scorer
        knows and the generator's state are the session's to keep."""
        return {
            "steps": self.steps,
            "grown": self.grown,
            "initial": self.initial.state_dict(),
            "incumbent": self.incumbent.state_dict(),
            "leaderboard": [entry.state_dict() for entry in self.leaderboard.entries],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        self.steps, self.grown = state["steps"], state["grown"]
        self.initial = Entry.of_state(state["initial"])
        self.incumbent = Entry.of_state(state["incumbent"])
        self.leaderboard.entries = [Entry.of_state(each) for each in state["leaderboard"]]

    def carry_over(self, state: dict[str, Any]) -> None:
        """After ``start``: continue with the prompts of ``state``, which was taken under other
        settings, data or models. Each is scored anew; a prompt that cannot be is dropped."""
        self.steps = state["steps"]
        incumbent = self._rescored(state["incumbent"])
        found = [self._rescored(each) for each in state["leaderboard"]]
        self.incumbent = incumbent or self.initial
        self.leaderboard.add([entry for entry in (incumbent, *found) if entry])

    def _rows(self) -> Sequence[Row] | None:
        """The rows that prompts are scored on; None for all."""
        return None

    def _rescored(self, state: dict[str, Any]) -> Entry | None:
        text = state["scored"].text
        if self.scorer.problem(text):
            return None
        (scored,) = self.scorer.score([text], self._rows())
        return Entry(scored, state["step"])


def optimizer_class(name: str) -> type[Optimizer]:
    """The method called ``name``.

    Raises:
        InputError: there is none.
    """
    found: type[Optimizer] = module_of(name, "search").OPTIMIZER
    return found
