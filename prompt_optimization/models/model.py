"""One model, wherever its copies are.

Work is cut by its expected cost, the largest piece first, and an idle worker takes the next piece.
The pieces depend on the number of workers alone, so a run does not depend on which worker was
faster. ``submit_*`` returns a future, so that several models can work at the same time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from prompt_optimization.models import worker as jobs
from prompt_optimization.models.chat import ChatFormat
from prompt_optimization.models.encoded import EncodedExamples, common_length
from prompt_optimization.models.engine import Decoding, Outcome
from prompt_optimization.models.executor import Executor, Future, InProcessExecutor
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.template import PromptTemplate
from prompt_optimization.models.worker import Job, ModelInfo, RowLimits, Worker
from prompt_optimization.tasks.examples import Example

# How byte-level and SentencePiece tokenizers write the space that a token begins with.
SPACE_MARKS = ("\u0120", "\u2581")

# Rows of held-out splits that a worker encodes together, and whose results come together; about so
# many, because the blocks of a split cost the same.
BLOCK = 100


class Model:
    """A model that answers, proposes and is differentiated.

    Attributes:
        counts: tokens so far, by kind (see ``LanguageModel.counts``). Whoever pays for the work
            puts a counter of its own here.
        info: name, vocabulary and context.
        training: the examples that a search works on, encoded; set by ``train_on``.
        prefix: the ids of the prompt that are cached with what stands before it.
        proposing: the same of the cache off which the prompt's next token is read, where that is
            another one; see ``CachedExamples.proposing``.
        lengths: tokens of each training example's longest reasoning when it was last run.
    """

    def __init__(
        self, executor: Executor, tokenizer: PreTrainedTokenizerBase, chat: ChatFormat
    ) -> None:
        self.executor = executor
        self.tokenizer = tokenizer
        self.chat = chat
        self.counts: Counter[str] = Counter()
        self.prefix: Ids = ()
        self.proposing: Ids = ()
        self.lengths: dict[int, int] = {}
        self._training: EncodedExamples | None = None
        self.info: ModelInfo = self.call_any(jobs.model_info)

    @classmethod
    def in_process(cls, worker: Worker) -> Model:
        """A model with one copy, in this process."""
        return cls(InProcessExecutor(worker), worker.model.tokenizer, worker.chat)

    @property
    def training(self) -> EncodedExamples:
        assert self._training is not None, "train_on comes first"
        return self._training

    def encode(
        self, template: PromptTemplate, examples: Sequence[Example], prompt: str
    ) -> EncodedExamples:
        """``examples`` as this model's ids.

        Raises:
            InputError: see ``EncodedExamples``.
        """
        return EncodedExamples(template.layout(self.tokenizer, self.chat), examples, prompt)

    def train_on(
        self, template: PromptTemplate, examples: Sequence[Example], prompt: str
    ) -> EncodedExamples:
        """Encode the examples that a search works on, here and in every worker.

        Raises:
            InputError: see ``EncodedExamples``.
        """
        self._training = self.encode(template, examples, prompt)
        self.prefix, self.proposing, self.lengths = (), (), {}
        self._broadcast(
            jobs.set_training,
            [(template, self._training.examples, prompt)] * self.executor.size,
            "training",
        )
        return self._training

    def check_room(self, examples: EncodedExamples, prompt_tokens: int, decoding: Decoding) -> None:
        """Refuse examples that do not fit the model with a prompt of ``prompt_tokens``.

        Raises:
            InputError: see ``EncodedExamples.check_ids`` and ``check_room``.
        """
        examples.check_ids(self.info.name, self.info.vocabulary)
        examples.check_room(
            self.info.name,
            self.info.context,
            prompt_tokens,
            decoding.max_new_tokens,
            decoding.answer_tokens,
        )

    def call_any(self, job: Job) -> Any:
        """What any one of the workers returns for ``job``."""
        return self._submit(job, [()]).result()[0]

    def move_prefix(self, ids: Ids) -> None:
        """Have the prefix of the training questions cached up to ``ids`` of the prompt."""
        # In every worker: the cost of a piece must not depend on who does it.
        self._broadcast(jobs.move_prefix, [(ids,)] * self.executor.size, "prefix")
        self.prefix = ids

    def move_proposing(self, ids: Ids) -> None:
        """Have the proposing cache hold ``ids``, which the prompt has in its layout."""
        self._broadcast(jobs.move_proposing, [(ids,)] * self.executor.size, "proposing")
        self.proposing = ids

    def log_probs(self, ids: Ids, examples: Sequence[int]) -> torch.Tensor:
        """Log-probabilities of what could follow ``ids`` of the prompt, for training ``examples``,
        with the question before the prompt: [examples, vocabulary].

        A token that cannot stand there has minus infinity.
        """
        proposing = self.training.layout.proposing
        apart = proposing is not self.training.layout
        self.move_prefix(ids)
        if apart:
            self.move_proposing(self.training.paper_ids(ids))
        size = -(-len(examples) // self.executor.size)
        shares = [examples[i : i + size] for i in range(0, len(examples), size)]
        parts = self._submit(jobs.log_probs, [(share,) for share in shares]).result()
        found = torch.from_numpy(np.concatenate(parts))
        if apart and not ids and not self.training.layout.frame.spaced:
            return without_space(found, self.tokenizer)
        return found

    def submit_run(
        self, prompts: Sequence[Ids], decoding: Decoding, examples: Sequence[int]
    ) -> Future[list[list[Outcome]]]:
        """Let every prompt reason and answer on training examples.

        Returns:
            one list a prompt, with one outcome an example in the order of ``examples``.

        Raises:
            FloatingPointError: the model's logits are not finite.
            InputError: the memory does not hold one row.
        """
        self._share_prefix(prompts)
        costs = [self._cost(example, decoding) for example in examples]

        def by_prompt(by_example: list[tuple[Outcome, ...]]) -> list[list[Outcome]]:
            for example, outcomes in zip(examples, by_example, strict=True):
                self.lengths[example] = max(len(outcome.reasoning) for outcome in outcomes)
            return [list(outcomes) for outcomes in zip(*by_example, strict=True)]

        # One piece a worker: a token costs less in a larger pool (docs/lab_notes.md).
        arguments = (prompts, decoding)
        return self.submit_each(jobs.run, examples, costs, arguments, pieces=1).then(by_prompt)

    def submit_reread(
        self,
        prompts: Sequence[Ids],
        decoding: Decoding,
        asked: Sequence[tuple[int, Sequence[Ids]]],
        *,
        answers: bool = False,
    ) -> Future[NDArray[np.floating[Any]]]:
        """Read reasonings of training examples again after every prompt; see ``reread``.

        Args:
            decoding: what drew them.
            asked: examples by number with their reasonings, the same number each.
            answers: score the answers too.

        Returns:
            the reasonings' log-probabilities in nats, the losses of the answers after them in nats,
            and 1 where these are wrong; the last two are 0 where not asked for: [3, asked, prompts,
            reasonings].

        Raises:
            FloatingPointError: a log-probability is not finite.
            InputError: the memory does not hold one row.
        """
        self._share_prefix(prompts)
        costs = [sum(len(reasoning) + 1 for reasoning in own) for _, own in asked]
        arguments = (prompts, decoding, answers)
        submitted = self.submit_each(jobs.reread_rows, asked, costs, arguments, pieces=4)
        return submitted.then(lambda found: np.stack(found, axis=1))

    def submit_each(
        self,
        job: Job,
        items: Sequence[Any],
        costs: Sequence[float],
        arguments: Sequence[Any],
        pieces: int,
    ) -> Future[list[Any]]:
        """``job(worker, some items, *arguments)``, which gives one result an item, over pieces of
        ``items``; the results are in the order of ``items``.

        Args:
            costs: of each item.
            pieces: for each worker, where there are several workers. Idle workers take over more
                evenly when there are more pieces.
        """
        bins = balanced(costs, self.executor.size * pieces if self.executor.size > 1 else 1)

        def in_order(parts: list[Any]) -> list[Any]:
            results: dict[int, Any] = {}
            for each, part in zip(bins, parts, strict=True):
                results.update(zip(each, part, strict=True))
            return [results[i] for i in range(len(items))]

        submitted = self._submit(job, [([items[i] for i in each], *arguments) for each in bins])
        return submitted.then(in_order)

    def held_out(
        self, template: PromptTemplate, examples: Sequence[Example], prompt: str, decoding: Decoding
    ) -> list[Outcome]:
        """Let a prompt reason and answer on any examples, in order.

        Raises:
            InputError: see ``EncodedExamples``; or the prompt does not fit the model.
        """
        encoded = self.encode(template, examples, prompt)
        ids = encoded.prompt_ids(prompt)
        self.check_room(encoded, len(ids), decoding)
        # The same blocks for every prompt, because a worker keeps what it has read of its block.
        costs = [encoded.fixed_tokens(i) for i in range(len(examples))]
        blocks = balanced(costs, max(self.executor.size, -(-len(examples) // BLOCK)))
        pieces = [
            (template, tuple(examples[i] for i in block), prompt, ids, decoding) for block in blocks
        ]
        parts = self._submit(jobs.run_block, pieces).result()
        found = {
            i: outcome
            for block, part in zip(blocks, parts, strict=True)
            for i, outcome in zip(block, part, strict=True)
        }
        return [found[i] for i in range(len(examples))]

    def row_limits(self) -> list[RowLimits]:
        """The rows that fit each worker's memory."""
        found: list[RowLimits] = self._broadcast(jobs.row_limits, [()] * self.executor.size)
        return found

    def set_row_limits(self, learnt: Sequence[RowLimits]) -> None:
        """Apply the limits of an earlier session, where there were as many workers."""
        if len(learnt) == self.executor.size:
            self._broadcast(jobs.set_row_limits, [(each,) for each in learnt], "limits")

    def restore(
        self,
        prefix: Sequence[int],
        proposing: Sequence[int],
        lengths: dict[int, int],
        limits: Sequence[Sequence[Any]],
    ) -> None:
        """Bring the caches to where an earlier session had them."""
        self.set_row_limits([RowLimits(*each) for each in limits])
        if self.training.layout.mask is None:  # a masked model has no cache
            self.move_prefix(tuple(prefix))
        if proposing:
            self.move_proposing(tuple(proposing))
        self.lengths = dict(lengths)

    def close(self) -> None:
        """Let the workers go."""
        self.executor.close()

    def _share_prefix(self, prompts: Sequence[Ids]) -> None:
        """Have no more of the prompt cached than all of ``prompts`` begin with."""
        shared = min(common_length(self.prefix, prompt) for prompt in prompts)
        if shared < len(self.prefix):
            self.move_prefix(self.prefix[:shared])

    def _cost(self, example: int, decoding: Decoding) -> float:
        """Expected tokens of a row; its reasoning will be about as long as the last time."""
        expected = self.lengths.get(example, decoding.max_new_tokens)
        training = self.training
        return training.fixed_tokens(example) + expected

    def _broadcast(
        self, job: Job, arguments: Sequence[Sequence[Any]], replay_key: str = ""
    ) -> list[Any]:
        done = self.executor.broadcast(job, arguments, replay_key)
        self.counts += done[0][1]  # All workers ran the same job; its tokens count once.
        return [result for result, _ in done]

    def _submit(self, job: Job, pieces: Sequence[Sequence[Any]]) -> Future[list[Any]]:
        def count(done: list[tuple[Any, Counter[str]]]) -> list[Any]:
            for _, counts in done:
                self.counts += counts
            return [result for result, _ in done]

        return self.executor.submit(job, pieces).then(count)


def without_space(log_probs: torch.Tensor, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """The same [rows, vocabulary] for the tokens as they are where no space stands before them.

    A tokenizer whose tokens hold no spaces has the same tokens in both places.
    """
    vocabulary = tokenizer.get_vocab()
    marks = [mark for mark in SPACE_MARKS if any(text.startswith(mark) for text in vocabulary)]
    if not marks:
        return log_probs
    found = torch.full_like(log_probs, -torch.inf)
    pairs = [
        (token, spaced)
        for text, token in vocabulary.items()
        for mark in marks
        if (spaced := vocabulary.get(mark + text)) is not None
        and max(token, spaced) < log_probs.shape[1]
    ]
    bare, spaced = zip(*pairs, strict=True)
    found[:, list(bare)] = log_probs[:, list(spaced)]
    return found


def balanced(costs: Sequence[float], bins: int) -> list[list[int]]:
    """Indices of ``costs`` in at most ``bins`` bins of about the same sum, the largest sum first;
    within a bin in order. No bin is empty."""
    bins = min(bins, len(costs))
    sums = [0.0] * bins
    found: list[list[int]] = [[] for _ in range(bins)]
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        least = min(range(bins), key=lambda i: (sums[i], len(found[i]), i))
        found[least].append(index)
        sums[least] += costs[index]
    order = sorted(range(bins), key=lambda i: (-sums[i], i))
    return [sorted(found[i]) for i in order]
