"""What an optimisation gives back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from prompt_optimization.extras import require_package
from prompt_optimization.files import write_whole
from prompt_optimization.optimizers.base import Entry
from prompt_optimization.paths import user_path
from prompt_optimization.report.notebook import notebook_html
from prompt_optimization.runs.recommend import open_recommender as open_recommender
from prompt_optimization.scoring.held_out import HeldOut

PromptEvaluation = HeldOut


def pasted(result: HeldOut) -> HeldOut:
    """``result`` of the prompt as it is pasted, without the space before it."""
    return replace(result, prompt=result.prompt.strip())


@dataclass(frozen=True)
class Prompt:
    """A prompt that was found, or the initial one.

    Attributes:
        text: what to paste after question and connector.
        objective: what the search minimised, on the inputs; ``loss``, ``mistakes`` and ``nll`` are
            its parts: mean loss of the answers (None without an extractor), share of wrong ones,
            and the prompt's negative log-likelihood per token.
        found_at: the round, from 0; -1 is the initial prompt.
        group: which of the prompts that were optimised, from 0.
        dev, test: on held-out data, where some was given: dev for every prompt, test for the
            initial and the best.
    """

    text: str
    objective: float
    loss: float | None
    mistakes: float | None
    nll: float
    found_at: int
    group: int
    dev: PromptEvaluation | None = None
    test: PromptEvaluation | None = None

    @classmethod
    def of(cls, entry: Entry, group: int, held_out: Mapping[str, Mapping[str, HeldOut]]) -> Prompt:
        """A scored prompt with what it is worth on held-out rows, by split and prompt."""
        scored = entry.scored
        found = {name: held_out.get(name, {}).get(entry.text) for name in ("dev", "test")}
        return cls(
            entry.text.strip(), scored.objective, scored.loss, scored.mistakes, scored.nll,
            entry.step, group,
            **{name: pasted(result) for name, result in found.items() if result},
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        held_out = {"dev": self.dev, "test": self.test}
        found = {name: result.as_dict() for name, result in held_out.items() if result}
        return asdict(replace(self, dev=None, test=None)) | found


@dataclass(frozen=True)
class Round:
    """One round of a search.

    Attributes:
        group, index: which search, and which of its rounds, from 0.
        position: the token that was edited; None where the method edits more than that.
        tried: the tokens or prompts that were tried.
        accepted: whether the prompt changed.
        prompt, objective, loss, mistakes: after the round.
        best: the best objective so far.
        seconds: that it took.
    """

    group: int
    index: int
    position: int | None
    tried: tuple[str, ...]
    accepted: bool
    prompt: str
    objective: float
    loss: float | None
    mistakes: float | None
    best: float
    seconds: float

    @classmethod
    def of_record(cls, group: int, record: Mapping[str, Any]) -> Round:
        """A step as the log holds it."""
        incumbent = record["incumbent"]
        return cls(
            group=group,
            index=record["step"],
            position=record.get("position"),
            tried=tuple(each["label"] for each in record["tried"]),
            accepted=record["accepted"],
            prompt=incumbent["prompt"].strip(),
            **{name: incumbent[name] for name in ("objective", "loss", "mistakes")},
            best=record["best_objective"],
            seconds=sum(record["seconds"].values()),
        )


class GreaterOutputs(dict[str, list[str]]):
    """From every question to its optimised prompts, best first; and the numbers beside them.

    Attributes:
        prompts: those of every search, best first, search by search.
        initial: the initial prompt of every search.
        history: all rounds.
        status: ``finished``; ``stopped`` by a callback; ``interrupted`` by Ctrl-C; ``failed`` when
            an error ended it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[Prompt] = []
        self.initial: list[Prompt] = []
        self.history: list[Round] = []
        self.status = "finished"

    def add(self, questions: Iterable[str], initial: Prompt, found: Sequence[Prompt]) -> None:
        """What a search has found, best first."""
        self.update((question, [prompt.text for prompt in found]) for question in questions)
        self.initial.append(initial)
        self.prompts += found

    @property
    def best(self) -> str:
        """The text of ``best_prompt``."""
        return self.best_prompt.text

    @property
    def best_prompt(self) -> Prompt:
        """The best prompt: elected on dev, or with the best objective on the inputs.

        Raises:
            ValueError: several prompts were optimised, so there are several best ones; or none
                was evaluated.
        """
        if not self.initial:
            raise ValueError(f"{self.status} before any prompt was evaluated")
        if len(self.initial) > 1:
            raise ValueError(
                f"{len(self.initial)} prompts were optimised; see outputs[question] or .prompts"
            )
        return self.prompts[0]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "status": self.status,
            "prompts_of": dict(self),
            "prompts": [prompt.as_dict() for prompt in self.prompts],
            "initial": [prompt.as_dict() for prompt in self.initial],
            "history": [asdict(step) for step in self.history],
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """Everything as JSON; written whole to ``path`` when that is given.

        Raises:
            InputError: the file cannot be written.
        """
        text = json.dumps(self.as_dict(), ensure_ascii=False, indent=1)
        if path is not None:
            write_whole(user_path(str(path)), text.encode())
        return text

    def to_dataframe(self) -> Any:
        """One row a prompt, as a pandas data frame; the initial prompt's round is -1.

        Raises:
            InputError: pandas is not installed.
        """
        require_package("to_dataframe", "report", "pandas")
        return import_module("pandas").DataFrame([_flat(prompt) for prompt in self.prompts])

    def _repr_html_(self) -> str:
        return notebook_html(self.initial, self.prompts, self.history)

    def __repr__(self) -> str:
        many = f"{len(self)} questions, {len(self.prompts)} prompts, {len(self.history)} rounds"
        return f"GreaterOutputs({self.status}: {many})"


def _flat(prompt: Prompt) -> dict[str, Any]:
    row = asdict(replace(prompt, dev=None, test=None))
    for split in ("dev", "test"):
        result: PromptEvaluation | None = getattr(prompt, split)
        names = ("value", "low", "high", "n")
        row |= {f"{split}_{name}": getattr(result and result.value, name, None) for name in names}
        del row[split]
    return row
