"""What an optimisation gives back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from prompt_optimization.extras import require
from prompt_optimization.files import write_whole
from prompt_optimization.runs.evaluation import METRICS, HeldOut, difference
from prompt_optimization.runs.statistics import Estimate


@dataclass(frozen=True)
class PromptEvaluation:
    """A prompt's accuracy on a data set, each figure with its 95 % interval.

    Attributes:
        strict: the model's own answer is the reference, to the letter but for space and case of
            no meaning.
        flexible: it is once both are read by their form (numbers, options, yes and no).
        teacher_forced: every token of the reference was the model's first choice.
        loss: mean loss of the reference answers.
        rows: per question what was written: ``question``, ``reasoning``, ``answer``,
            ``reference``, and 1 or 0 under each of the three names above.
    """

    prompt: str
    strict: Estimate
    flexible: Estimate
    teacher_forced: Estimate
    loss: float
    rows: list[dict[str, Any]]

    def minus(self, other: PromptEvaluation, metric: str = "strict") -> Estimate:
        """The paired difference of two prompts on the same questions, with its 95 % interval; zero
        without one where it is the same prompt.

        Raises:
            ValueError: they were asked other questions.
        """
        if [row["question"] for row in self.rows] != [row["question"] for row in other.rows]:
            raise ValueError("the two prompts were evaluated on different questions")
        return difference(other.held_out, self.held_out, metric)

    @property
    def held_out(self) -> HeldOut:
        """The same as the engine's reports hold it."""
        hits = {metric: [bool(row[metric]) for row in self.rows] for metric in METRICS}
        return HeldOut(self.prompt, hits, self.loss)

    def __str__(self) -> str:
        value = self.strict
        return (
            f"{100 * value.value:.1f} % [{100 * value.low:.1f}, {100 * value.high:.1f}] "
            f"of {value.n} right: {self.prompt}"
        )


@dataclass(frozen=True)
class Prompt:
    """A prompt that was found, or the initial one.

    Attributes:
        text: what to paste behind question and connector.
        objective: what the search minimised, on the inputs; ``loss``, ``mistakes`` and ``nll`` are
            its parts: mean loss of the answers, share of wrong ones, and the prompt's negative
            log-likelihood per token.
        found_at: the round, from 0; -1 is the initial prompt.
        group: which of the prompts that were optimised, from 0.
        dev, test: on held-out data, where some was given: dev for every prompt, test for the
            initial and the best.
    """

    text: str
    objective: float
    loss: float
    mistakes: float
    nll: float
    found_at: int
    group: int
    dev: PromptEvaluation | None = None
    test: PromptEvaluation | None = None


@dataclass(frozen=True)
class Round:
    """One round of a search.

    Attributes:
        group, index: which search, and which of its rounds, from 0.
        position: the token that was edited; ``tried`` are the tokens that were tried there.
        accepted: whether the prompt changed.
        prompt, objective, loss, mistakes: behind the round.
        best: the best objective so far.
        seconds: that it took.
    """

    group: int
    index: int
    position: int
    tried: tuple[str, ...]
    accepted: bool
    prompt: str
    objective: float
    loss: float
    mistakes: float
    best: float
    seconds: float


class GreaterOutputs(dict[str, list[str]]):
    """From every question to its optimised prompts, best first; and the numbers behind them.

    Attributes:
        prompts: those of every search, best first, search by search.
        initial: the initial prompt of every search.
        history: all rounds.
        status: ``finished``; ``stopped`` by a callback; ``interrupted`` by Ctrl-C; ``failed`` when
            an error ended it.
    """

    def __init__(
        self,
        questions: Sequence[Sequence[str]],
        initial: Sequence[Prompt],
        found: Sequence[Sequence[Prompt]],
        history: Sequence[Round],
        status: str,
    ) -> None:
        """
        Args:
            questions: of every search; ``initial`` and ``found`` likewise.
        """
        super().__init__(
            (question, [prompt.text for prompt in prompts])
            for some, prompts in zip(questions, found, strict=True)
            for question in some
        )
        self.initial = list(initial)
        self.prompts = [prompt for prompts in found for prompt in prompts]
        self.history = list(history)
        self.status = status

    @property
    def best(self) -> str:
        """The text of the best prompt: elected on dev, or with the best objective on the inputs.

        Raises:
            ValueError: several prompts were optimised, so there are several best ones; or none
                was evaluated.
        """
        return self.best_prompt.text

    @property
    def best_prompt(self) -> Prompt:
        """The same with its numbers.

        Raises:
            ValueError: as ``best``.
        """
        if not self.initial:
            raise ValueError(f"{self.status} before any prompt was evaluated")
        if len(self.initial) > 1:
            raise ValueError(
                f"{len(self.initial)} prompts were optimised; look up outputs[question], or go "
                "through outputs.prompts"
            )
        return self.prompts[0]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "status": self.status,
            "prompts_of": dict(self),
            "prompts": [asdict(prompt) for prompt in self.prompts],
            "initial": [asdict(prompt) for prompt in self.initial],
            "history": [asdict(step) for step in self.history],
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """Everything as JSON; written whole to ``path`` when that is given.

        Raises:
            InputError: the file cannot be written.
        """
        text = json.dumps(self.as_dict(), ensure_ascii=False, indent=1)
        if path is not None:
            write_whole(Path(path).expanduser(), text.encode(), "give another path")
        return text

    def to_dataframe(self) -> Any:
        """One row a prompt, as a pandas data frame; the initial prompt's round is -1.

        Raises:
            InputError: pandas is not installed.
        """
        require("to_dataframe", "report", "pandas")
        pandas = import_module("pandas")
        return pandas.DataFrame([_flat(prompt) for prompt in self.prompts])

    def __repr__(self) -> str:
        return (
            f"GreaterOutputs({self.status}: {len(self)} questions, {len(self.prompts)} prompts, "
            f"{len(self.history)} rounds)"
        )


def _flat(prompt: Prompt) -> dict[str, Any]:
    row = {
        key: getattr(prompt, key)
        for key in ("text", "objective", "loss", "mistakes", "nll", "found_at", "group")
    }
    for split in ("dev", "test"):
        evaluation: PromptEvaluation | None = getattr(prompt, split)
        strict = None if evaluation is None else evaluation.strict
        row |= {
            f"{split}_{name}": getattr(strict, name, None) for name in ("value", "low", "high", "n")
        }
    return row
