"""One model copy with its caches, and the jobs that any copy can do.

A job is a module-level function whose first argument is the worker, so that it can be named to a
worker in another process. Its other arguments and its result are plain values. The worker's caches
change the time that it takes and nothing else, so any worker can do a job again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prompt_optimization.models.chat import ChatFormat
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.engine import Decoding, Engine, Outcome
from prompt_optimization.models.graphs import use_graphs
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.loading import load_model
from prompt_optimization.models.masked import MaskedEngine, MaskedModel
from prompt_optimization.models.memory import PoolSize, RowBudget
from prompt_optimization.models.reread import reread
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.models.template import PromptTemplate
from prompt_optimization.tasks.examples import Example

Job = Callable[..., Any]

# Examples in one backward pass at most where the settings leave it open. More only take memory on a
# CPU.
GRADIENT_ROWS = {"cpu": 2, "cuda": 8}


class Worker:
    """A model copy.

    Attributes:
        training: the examples whose prefix cache follows the search; set by ``set_training``.
        plans_gradients: the examples in a backward pass are as many as should fit the memory. A GPU
            says that it has too little, and they are halved; on a CPU the kernel ends the process.
    """

    def __init__(
        self,
        model: LanguageModel,
        chat: ChatFormat,
        max_rows: int = 0,
        gradient_rows: int = 0,
        graphs: str = "auto",
    ) -> None:
        """
        Args:
            max_rows, gradient_rows: rows at once in decoding and backward passes; 0 leaves it to
                the device and its memory.
            graphs: whether it decodes by CUDA graphs, as ``use_graphs`` takes it.
        """
        use_graphs(model, graphs)
        self.model = model
        self.chat = chat
        kind = MaskedEngine if isinstance(model, MaskedModel) else Engine
        self.engine = kind(model, max_rows)
        self.plans_gradients = gradient_rows == 0 and model.device.type == "cpu"
        gradient_rows = gradient_rows or GRADIENT_ROWS.get(model.device.type, 2)
        self.gradient_budget = RowBudget(gradient_rows, model.release_buffers)
        self.training: CachedExamples | None = None
        self._block: tuple[Any, CachedExamples] | None = None

    @classmethod
    def load(
        cls, settings: ModelSettings, max_rows: int, gradient_rows: int, graphs: str = "auto"
    ) -> Worker:
        """A worker with the model that ``settings`` name.

        Raises:
            InputError: it cannot be loaded.
        """
        return cls(*load_model(settings), max_rows, gradient_rows, graphs)

    def encode(
        self, template: PromptTemplate, examples: tuple[Example, ...], prompt: str
    ) -> CachedExamples:
        """``examples`` as this model's ids, with a cache."""
        return CachedExamples(
            self.model, template.layout(self.model.tokenizer, self.chat), examples, prompt
        )

    @property
    def examples(self) -> CachedExamples:
        """The training examples."""
        assert self.training is not None, "set_training comes first"
        return self.training

    def block(
        self, template: PromptTemplate, examples: tuple[Example, ...], prompt: str
    ) -> CachedExamples:
        """``examples``, encoded. They are kept until others are asked for, because one prompt
        after the other is tried on them."""
        key = (template, examples)
        if self._block is None or self._block[0] != key:
            self._block = None  # what is no longer needed makes room first
            self._block = key, self.encode(template, examples, prompt)
        return self._block[1]


def execute(worker: Worker, job: Job, arguments: Sequence[Any]) -> tuple[Any, Counter[str]]:
    """A job's result and the tokens that it took."""
    before = Counter(worker.model.counts)
    result = job(worker, *arguments)
    return result, Counter(worker.model.counts) - before


@dataclass(frozen=True)
class ModelInfo:
    """What a process without the model has to know of it: its name, the rows of its embedding, and
    its context in tokens, None when it does not say."""

    name: str
    vocabulary: int
    context: int | None


def model_info(worker: Worker) -> ModelInfo:
    model = worker.model
    return ModelInfo(model.name, model.vocabulary, model.context)


def set_training(
    worker: Worker, template: PromptTemplate, examples: tuple[Example, ...], prompt: str
) -> None:
    """Encode the examples that the search works on."""
    worker.training = worker.encode(template, examples, prompt)


def move_prefix(worker: Worker, ids: Ids) -> None:
    """Make the prefix cache of the training examples hold ``ids`` of the prompt."""
    worker.examples.prefix.reach(ids)


def move_proposing(worker: Worker, ids: Ids) -> None:
    """The same for the cache off which the prompt's next token is read."""
    worker.examples.proposing.reach(ids)


def log_probs(worker: Worker, examples: Sequence[int]) -> NDArray[np.floating[Any]]:
    """Next-token log-probabilities after that prefix: [examples, vocabulary]."""
    cache = worker.examples.proposing
    found: NDArray[np.floating[Any]] = cache.log_probs[cache.row_of[list(examples)]].cpu().numpy()
    return found


def run(
    worker: Worker, examples: Sequence[int], prompts: Sequence[Ids], decoding: Decoding
) -> list[tuple[Outcome, ...]]:
    """Let ``prompts`` reason and answer on training examples: per example one outcome a prompt."""
    outcomes = worker.engine.run(worker.examples, prompts, decoding, examples)
    return list(zip(*outcomes, strict=True))


def reread_rows(
    worker: Worker,
    asked: Sequence[tuple[int, Sequence[Ids]]],
    prompts: Sequence[Ids],
    decoding: Decoding,
    answers: bool,
) -> list[NDArray[np.floating[Any]]]:
    """Log-probabilities of reasonings of training examples after ``prompts``, at the temperature
    that drew them, losses of the answers, and whether they are wrong: per asked example [3,
    prompts, reasonings]."""
    found = reread(worker.engine, worker.examples, asked, prompts, decoding, answers=answers)
    return [
        np.array([[[each.log_prob, each.loss, each.mistake] for each in own] for own in some])
        .astype(float)
        .transpose(2, 0, 1)
        for some in found
    ]


def run_block(
    worker: Worker,
    template: PromptTemplate,
    examples: tuple[Example, ...],
    prompt: str,
    ids: Ids,
    decoding: Decoding,
) -> list[Outcome]:
    """Let a prompt reason and answer on ``examples``."""
    encoded = worker.block(template, examples, prompt)
    (outcomes,) = worker.engine.run(encoded, [ids], decoding)
    return outcomes


@dataclass(frozen=True)
class RowLimits:
    """What fits a worker's memory: rows at once in decoding, in backward passes, and of the
    training examples; columns of all of these together."""

    rows: int
    gradient_rows: int
    pool_rows: int | None
    pool_columns: int | None = None


def row_limits(worker: Worker) -> RowLimits:
    pool = None if worker.training is None else worker.training.pool
    rows = worker.engine.budget.rows, worker.gradient_budget.rows
    return RowLimits(*rows, *(pool or (None, None)))


def set_row_limits(worker: Worker, learnt: RowLimits) -> None:
    """Apply the limits of an earlier session; a smaller number that is set now counts more."""
    worker.engine.budget.rows = min(worker.engine.budget.rows, learnt.rows)
    worker.gradient_budget.rows = min(worker.gradient_budget.rows, learnt.gradient_rows)
    rows = learnt.pool_rows
    worker.examples.pool = None if rows is None else PoolSize(rows, learnt.pool_columns)
