"""One model's workers, asked as if they were one model.

Work is cut by what it should cost, the longest piece first; whoever is idle takes the next. The
pieces depend on their number alone, not on who does them, so a run does not hang on which worker
was faster. What begins with ``begin`` only hands the work out, so that several models can work at
the same time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from prompt_optimization.models import worker as jobs
from prompt_optimization.models.chat import ChatFormat
from prompt_optimization.models.crew import Alone, Crew
from prompt_optimization.models.engine import Decoding, Outcome
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.samples import LaidOut, common_length
from prompt_optimization.models.worker import Budgets, Facts, Job, Wording, Worker
from prompt_optimization.tasks.examples import Example

# Rows of held-out splits that a worker lays out, and whose results come, together.
BLOCK = 100


class Team:
    """The copies of one model.

    Attributes:
        counts: tokens so far, by kind (see ``LanguageModel.counts``).
        facts: the model's name, vocabulary and context.
        training: the samples that a search works on, laid out; set by ``train_on``.
        prefix: the ids of the prompt that are cached behind the training samples.
        lengths: tokens of each training sample's longest reasoning when it last was run.
    """

    def __init__(
        self,
        crew: Crew,
        tokenizer: PreTrainedTokenizerBase,
        chat: ChatFormat,
    ) -> None:
        self.crew = crew
        self.tokenizer = tokenizer
        self.chat = chat
        self.counts: Counter[str] = Counter()
        self.prefix: Ids = ()
        self.lengths: dict[int, int] = {}
        self._training: LaidOut | None = None
        self.facts: Facts = self.ask_one(jobs.facts)

    @classmethod
    def alone(cls, worker: Worker) -> Team:
        """A team of one in this process."""
        return cls(Alone(worker), worker.model.tokenizer, worker.chat)

    @property
    def training(self) -> LaidOut:
        assert self._training is not None, "train_on comes first"
        return self._training

    def lay_out(self, wording: Wording, examples: Sequence[Example], prompt: str) -> LaidOut:
        """``examples`` as this model's ids.

        Raises:
            InputError: see ``LaidOut``.
        """
        return LaidOut(wording.layout(self.tokenizer, self.chat), examples, prompt)

    def train_on(self, wording: Wording, examples: Sequence[Example], prompt: str) -> LaidOut:
        """Lay out the samples that a search works on, here and in every worker.

        Raises:
            InputError: see ``LaidOut``.
        """
        self._training = self.lay_out(wording, examples, prompt)
        self._everyone(
            jobs.give_training,
            [(wording, self._training.examples, prompt)] * self.crew.size,
            "training",
        )
        return self._training

    def check_room(self, samples: LaidOut, prompt_tokens: int, decoding: Decoding) -> None:
        """Refuse samples that do not fit the model with a prompt of so many tokens.

        Raises:
            InputError: see ``LaidOut.check_ids`` and ``check_room``.
        """
        samples.check_ids(self.facts.name, self.facts.vocabulary)
        samples.check_room(
            self.facts.name,
            self.facts.context,
            prompt_tokens,
            decoding.max_new_tokens,
            decoding.answer_tokens,
        )

    def ask_one(self, job: Job) -> Any:
        """What any of the workers says to ``job``."""
        return self._share(job, [()])[0]

    def move_prefix(self, ids: Ids) -> None:
        """Have the training samples' prefix cached up to ``ids`` of the prompt."""
        # Everyone has to: what a piece costs must not depend on who does it.
        self._everyone(jobs.move_prefix, [(ids,)] * self.crew.size, "prefix")
        self.prefix = ids

    def log_probs(self, ids: Ids, active: int) -> torch.Tensor:
        """Next-token log-probabilities behind the first ``active`` training samples and ``ids``
        of the prompt: [active, vocabulary]."""
        self.move_prefix(ids)
        size = -(-active // self.crew.size)
        shares = [range(i, min(i + size, active)) for i in range(0, active, size)]
        parts = self._share(jobs.log_probs, [(share,) for share in shares])
        return torch.from_numpy(np.concatenate(parts))

    def begin_run(
        self, prompts: Sequence[Ids], decoding: Decoding, samples: Sequence[int]
    ) -> Callable[[], list[list[Outcome]]]:
        """Let every prompt reason and answer on training samples.

        Returns:
            waits for the results: one list a prompt, with one outcome a sample in the order of
            ``samples``.

        Raises:
            FloatingPointError: the model's logits are not finite.
            InputError: the memory does not hold one row.
        """
        shared = min(common_length(self.prefix, prompt) for prompt in prompts)
        if shared < len(self.prefix):
            self.move_prefix(self.prefix[:shared])
        costs = [self._cost(sample, decoding) for sample in samples]
        # One piece a worker: a token costs less in a larger pool (docs/lab_notes.md).
        collect = self.begin_each(jobs.run, samples, costs, (prompts, decoding), pieces=1)

        def by_prompt() -> list[list[Outcome]]:
            by_sample: list[tuple[Outcome, ...]] = collect()
            for sample, outcomes in zip(samples, by_sample, strict=True):
                self.lengths[sample] = max(len(outcome.reasoning) for outcome in outcomes)
            return [list(outcomes) for outcomes in zip(*by_sample, strict=True)]

        return by_prompt

    def begin_each(
        self,
        job: Job,
        items: Sequence[Any],
        costs: Sequence[float],
        arguments: Sequence[Any],
        pieces: int,
    ) -> Callable[[], list[Any]]:
        """``job(worker, some items, *arguments)``, which gives one result an item, over pieces of
        ``items``. What is returned waits for all results, in order.

        Args:
            costs: of each item.
            pieces: for each worker, where there are several. Where a piece costs what its items
                do, several let whoever is idle take over.
        """
        bins = balanced(costs, self.crew.size * pieces if self.crew.size > 1 else 1)
        collect = self._begin(job, [([items[i] for i in each], *arguments) for each in bins])

        def in_order() -> list[Any]:
            results: dict[int, Any] = {}
            for each, part in zip(bins, collect(), strict=True):
                results.update(zip(each, part, strict=True))
            return [results[i] for i in range(len(items))]

        return in_order

    def held_out(
        self,
        wording: Wording,
        examples: Sequence[Example],
        prompt: str,
        ids: Ids,
        decoding: Decoding,
    ) -> list[Outcome]:
        """Let a prompt, given as text and ids, reason and answer on any examples, in order."""
        size = min(BLOCK, -(-len(examples) // self.crew.size))
        blocks = [tuple(examples[i : i + size]) for i in range(0, len(examples), size)]
        parts = self._share(
            jobs.run_block, [(wording, block, prompt, ids, decoding) for block in blocks]
        )
        return [outcome for part in parts for outcome in part]

    def held_out_text(
        self, wording: Wording, examples: Sequence[Example], prompt: str, decoding: Decoding
    ) -> list[Outcome]:
        """``held_out`` for a prompt that is known by its text only.

        Raises:
            InputError: see ``LaidOut``; or it does not fit the model.
        """
        samples = self.lay_out(wording, examples, prompt)
        ids = samples.prompt_ids(prompt)
        self.check_room(samples, len(ids), decoding)
        return self.held_out(wording, examples, prompt, ids, decoding)

    def budgets(self) -> list[Budgets]:
        """What the memory has taught every worker."""
        found: list[Budgets] = self._everyone(jobs.budgets, [()] * self.crew.size)
        return found

    def limit(self, learnt: Sequence[Budgets]) -> None:
        """Hold every worker to what an earlier session has learnt, where they are as many."""
        if len(learnt) == self.crew.size:
            self._everyone(jobs.limit, [(each,) for each in learnt], "limits")

    def close(self) -> None:
        """Let the workers go."""
        self.crew.close()

    def _cost(self, sample: int, decoding: Decoding) -> float:
        """Tokens that a row should cost; its reasoning will be about as long as the last time."""
        return len(self.training.questions[sample]) + self.lengths.get(
            sample, decoding.max_new_tokens
        )

    def _everyone(self, job: Job, arguments: Sequence[Sequence[Any]], lasting: str = "") -> Any:
        done = self.crew.everyone(job, arguments, lasting)
        self.counts += done[0][1]  # they all did the same, and one would have done it
        return [result for result, _ in done]

    def _share(self, job: Job, pieces: Sequence[Sequence[Any]]) -> list[Any]:
        return self._begin(job, pieces)()

    def _begin(self, job: Job, pieces: Sequence[Sequence[Any]]) -> Callable[[], list[Any]]:
        collect = self.crew.begin(job, pieces)

        def results() -> list[Any]:
            done = collect()
            for _, counts in done:
                self.counts += counts
            return [result for result, _ in done]

        return results


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
