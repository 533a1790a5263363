"""One model copy with what it has been given to read, and the jobs that any model copy can do.

A job is a function whose first argument is the worker. It can be named, so that it reaches a worker
in another process; its other arguments and its result are plain values, and what it depends on
besides them is the worker's caches, which change the time it takes and nothing else. A job can
therefore be done again, by another worker too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prompt_optimization.models.chat import ChatFormat
from prompt_optimization.models.engine import Decoding, Engine, Outcome
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.layout import Ids, Layout
from prompt_optimization.models.loading import ModelSettings, load_answerer
from prompt_optimization.models.memory import RowBudget
from prompt_optimization.models.samples import Samples
from prompt_optimization.tasks.examples import Example

Job = Callable[..., Any]

# Samples in one backward pass where the configuration leaves it open. More only take memory on a
# CPU.
GRADIENT_ROWS = {"cpu": 2, "cuda": 8}


@dataclass(frozen=True)
class Wording:
    """The text between question and prompt, and that behind the reasoning; see ``Layout``."""

    extractor: str
    connector: str
    separator: str

    def layout(self, tokenizer: Any, chat: ChatFormat) -> Layout:
        return Layout(
            tokenizer,
            chat,
            extractor=self.extractor,
            connector=self.connector,
            separator=self.separator,
        )


class Worker:
    """A model copy.

    Attributes:
        training: the samples whose prefix cache follows the search; set by ``give_training``.
    """

    def __init__(
        self, model: LanguageModel, chat: ChatFormat, max_rows: int = 0, gradient_rows: int = 0
    ) -> None:
        """
        Args:
            max_rows, gradient_rows: rows at once in decoding and backward passes; 0 leaves it to
                the device.
        """
        self.model = model
        self.chat = chat
        self.engine = Engine(model, max_rows)
        self.gradient_budget = RowBudget(gradient_rows or GRADIENT_ROWS.get(model.device.type, 2))
        self.training: Samples | None = None
        self._block: tuple[Any, Samples] | None = None

    @classmethod
    def load(cls, settings: ModelSettings, max_rows: int, gradient_rows: int) -> Worker:
        """A worker with the model that ``settings`` name.

        Raises:
            InputError: it cannot be loaded.
        """
        return cls(*load_answerer(settings), max_rows, gradient_rows)

    def lay_out(self, wording: Wording, examples: tuple[Example, ...], prompt: str) -> Samples:
        return Samples(
            self.model, wording.layout(self.model.tokenizer, self.chat), examples, prompt
        )

    def samples(self) -> Samples:
        assert self.training is not None, "give_training comes first"
        return self.training

    def block(self, wording: Wording, examples: tuple[Example, ...], prompt: str) -> Samples:
        """``examples`` laid out; kept until others are asked for, because one prompt after the
        other is tried on them."""
        key = (wording, examples)
        if self._block is None or self._block[0] != key:
            self._block = None  # what is no longer needed makes room first
            self._block = key, self.lay_out(wording, examples, prompt)
        return self._block[1]


def do(worker: Worker, job: Job, arguments: Sequence[Any]) -> tuple[Any, Counter[str]]:
    """A job's result and the tokens that it took."""
    before = Counter(worker.model.counts)
    result = job(worker, *arguments)
    return result, Counter(worker.model.counts) - before


@dataclass(frozen=True)
class Facts:
    """What has to be known of a model where it is not: its name, the rows of its embedding, and its
    context in tokens, None when it does not say."""

    name: str
    vocabulary: int
    context: int | None


def facts(worker: Worker) -> Facts:
    model = worker.model
    return Facts(model.name, model.vocabulary, model.context)


def give_training(
    worker: Worker, wording: Wording, examples: tuple[Example, ...], prompt: str
) -> None:
    """Lay out the samples that the search works on."""
    worker.training = worker.lay_out(wording, examples, prompt)


def move_prefix(worker: Worker, ids: Ids) -> None:
    """Make the training samples' prefix cache hold ``ids`` of the prompt."""
    worker.samples().prefix.reach(ids)


def log_probs(worker: Worker, samples: Sequence[int]) -> NDArray[np.floating[Any]]:
    """Next-token log-probabilities behind the prefix: [samples, vocabulary]."""
    found: NDArray[np.floating[Any]] = (
        worker.samples().prefix.log_probs[list(samples)].cpu().numpy()
    )
    return found


def run(
    worker: Worker, samples: Sequence[int], prompts: Sequence[Ids], decoding: Decoding
) -> list[tuple[Outcome, ...]]:
    """Let ``prompts`` reason and answer on training samples: per sample one outcome a prompt."""
    outcomes = worker.engine.run(worker.samples(), prompts, decoding, samples)
    return list(zip(*outcomes, strict=True))


def run_block(
    worker: Worker,
    wording: Wording,
    examples: tuple[Example, ...],
    prompt: str,
    ids: Ids,
    decoding: Decoding,
) -> list[Outcome]:
    """Let a prompt reason and answer on ``examples``."""
    samples = worker.block(wording, examples, prompt)
    (outcomes,) = worker.engine.run(samples, [ids], decoding)
    return outcomes


@dataclass(frozen=True)
class Budgets:
    """What the memory has taught a worker: rows at once in decoding, in backward passes, and of
    the training samples."""

    rows: int
    gradient_rows: int
    pool_rows: int | None


def budgets(worker: Worker) -> Budgets:
    pool = None if worker.training is None else worker.training.pool_rows
    return Budgets(worker.engine.budget.rows, worker.gradient_budget.rows, pool)


def limit(worker: Worker, learnt: Budgets) -> None:
    """Hold to what an earlier session has learnt; a smaller number asked for now counts more."""
    worker.engine.budget.rows = min(worker.engine.budget.rows, learnt.rows)
    worker.gradient_budget.rows = min(worker.gradient_budget.rows, learnt.gradient_rows)
    worker.samples().pool_rows = learnt.pool_rows
