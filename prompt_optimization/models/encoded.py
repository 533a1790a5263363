"""The samples of one split with everything about them that is computed once.

The keys and values of the questions never change during a run. The part of the prompt left of
the edited position changes only where the search has moved on, so it is cached after the
questions and only the difference is ever computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import (
    LanguageModel,
    at_least_float32,
    pad_left,
)
from prompt_optimization.models.layout import BoundaryError, Ids, Layout, Target
from prompt_optimization.models.memory import RowBudget, is_out_of_memory
from prompt_optimization.tasks.examples import Example

QUESTIONS_AT_ONCE = 64


class EncodedExamples:
    """Examples as ids: question, suffix and target. Needs no model.

    Attributes:
        examples: the examples, in order; a sample is named by its index here.
        questions: ids before the prompt, per sample.
        suffix: ids between prompt and reasoning, the same for all.
        targets: extractor and answer ids, per sample; empty without an extractor.
    """

    def __init__(self, layout: Layout, examples: Sequence[Example], prompt: str) -> None:
        """
        Args:
            prompt: any prompt; it shows where the questions' tokens end.

        Raises:
            InputError: the prompt does not stand on its own tokens after some question, or
                ``Layout.targets`` refuses an answer.
        """
        assert examples
        self.layout = layout
        self.examples = tuple(examples)
        try:
            contexts = layout.contexts([example.question for example in examples], prompt)
        except BoundaryError as error:
            raise error.refusal(prompt) from None
        for context, example in zip(contexts, examples, strict=True):
            if (context.prompt, context.suffix) != (contexts[0].prompt, contexts[0].suffix):
                raise InputError(
                    f"after the question of row {example.row} the prompt '{prompt.strip()}' has "
                    "other tokens than elsewhere; let the connector end in a word",
                    key="connector",
                )
        self.questions: list[Ids] = [context.question for context in contexts]
        self.suffix: Ids = contexts[0].suffix
        self.targets: list[Target] = layout.targets(examples)

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def has_targets(self) -> bool:
        """Whether there is an answer to force after the reasoning."""
        return bool(self.layout.extractor)

    def prompt_ids(self, prompt: str) -> Ids:
        """The ids that ``prompt`` has after these questions.

        Raises:
            InputError: it has no ids of its own there.
        """
        try:
            (context,) = self.layout.contexts([self.examples[0].question], prompt)
        except BoundaryError as error:
            raise error.refusal(prompt) from None
        if context.around != (self.questions[0], self.suffix):
            raise InputError(
                f"the prompt '{prompt.strip()}' changes the tokens of the text around it; let the "
                "connector end in a word and the prompt start with one",
                key=("connector", "control_init"),
            )
        return context.prompt

    def roundtrip_text(self, prompts: Sequence[Ids]) -> list[str | None]:
        """The text of each prompt, or None where no text means exactly these ids."""
        around = self.questions[0], self.suffix
        return self.layout.roundtrip_text(self.examples[0].question, around, prompts)

    def check_ids(self, model: str, rows: int) -> None:
        """Refuse tokens that a model has no embedding for.

        Raises:
            InputError: a sample has one; the embedding has so many rows.
        """
        for question, target, example in zip(
            self.questions, self.targets, self.examples, strict=True
        ):
            largest = max((*question, *self.suffix, *target.extractor, *target.answer))
            if largest >= rows:
                token = self.layout.tokenizer.decode([largest])
                raise InputError(
                    f"row {example.row} has the token '{token}' ({largest}), and {model} knows "
                    f"only {rows}; give the model's own tokenizer"
                )

    def check_room(
        self, model: str, limit: int | None, prompt_tokens: int, new_tokens: int, answer_tokens: int
    ) -> None:
        """Refuse samples that cannot fit a model.

        Args:
            model: its name.
            limit: its context in tokens; None when it does not say.

        Raises:
            InputError: a sample with ``prompt_tokens`` of prompt, ``new_tokens`` of reasoning
                and an answer of ``answer_tokens`` is longer.
        """
        if limit is None:
            return
        for question, target, example in zip(
            self.questions, self.targets, self.examples, strict=True
        ):
            fixed = len(question) + len(self.suffix) + len(target.extractor)
            fixed += max(len(target.answer) + 1, answer_tokens)
            needed = fixed + prompt_tokens + new_tokens
            if needed > limit:
                raise InputError(
                    f"row {example.row} needs {needed} tokens, more than the {limit} of "
                    f"{model}; shorten the question or allow fewer new tokens",
                    key="max_new_tokens",
                )


class CachedExamples(EncodedExamples):
    """Examples as one model reads them: with the prefix cache.

    Attributes:
        pool_rows: how many rows of these samples fit the memory together, once that was
            estimated; it stays as it is, because other pools round differently.
    """

    def __init__(
        self, model: LanguageModel, layout: Layout, examples: Sequence[Example], prompt: str
    ) -> None:
        """As ``EncodedExamples``."""
        super().__init__(layout, examples, prompt)
        self.model = model
        self.prefix = PrefixCache(model, self.questions)
        self.pool_rows: int | None = None


class PrefixCache:
    """Keys and values of ``question + prompt[:n]`` for all samples, moved along as n moves.

    Attributes:
        ids: the prompt tokens now cached after the questions.
        log_probs: [samples, vocabulary] float32, next-token log-probabilities after them.
        nll: [samples, len(ids)] negative log-likelihood of each cached prompt token.
    """

    def __init__(self, model: LanguageModel, questions: Sequence[Ids]) -> None:
        self._model = model
        self._questions = questions
        self._kv: KVRows | None = None
        self._columns = 0
        self.ids: Ids = ()
        self.log_probs = torch.empty(0)
        self.nll = torch.empty(0)

    @property
    def kv(self) -> KVRows:
        """The cached rows; copy them with ``select`` before extending them."""
        assert self._kv is not None, "reach() comes first"
        return self._kv

    @torch.no_grad()
    def reach(self, ids: Ids) -> None:
        """Make the cache hold ``question + ids``, computing only what it lacks.

        Raises:
            InputError: the cache of all samples does not fit the memory.
        """
        try:
            self._reach(ids)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(
                f"the device's memory does not hold the cache of {len(self._questions)} examples; "
                "use fewer or a smaller model",
                key=("n_train_data", "n_dev_data", "n_test_data"),
            ) from None

    def _reach(self, ids: Ids) -> None:
        if self._kv is None:
            self._read_questions()
        shared = common_length(self.ids, ids)
        if shared < len(self.ids):
            # The distribution after the last shared token was not kept: that token comes again.
            self.kv.crop(self._columns + shared - 1)
            self._read([(*question, *ids[:shared])[-1] for question in self._questions])
            self.nll = self.nll[:, :shared]
        for token in ids[shared:]:
            self.nll = torch.cat([self.nll, -self.log_probs[:, token, None]], dim=1)
            self._read([token] * self.kv.rows)
        self.ids = ids

    def _read_questions(self) -> None:
        def read(questions: Sequence[Ids]) -> KVRows:
            ids, valid = pad_left(questions, self._model.filler, self._model.device)
            kv = KVRows.empty(len(questions), self._model.device)
            self._model.read(kv, ids, valid=valid)
            return kv

        counted = Counter(self._model.counts)
        beginnings = [question[:-1] for question in self._questions]
        # A budget of their own: how pools have fared must not change how questions are read.
        kv = KVRows.join(RowBudget(QUESTIONS_AT_ONCE).chunks(beginnings, read))
        self._kv, self._columns = kv, kv.columns + 1
        self._read([question[-1] for question in self._questions])
        # How often questions are read depends on where a run was interrupted and by how many
        # workers it is done; what a search costs does not.
        self._model.counts = counted
        self.nll = self.log_probs.new_zeros(kv.rows, 0)

    def _read(self, tokens: Sequence[int]) -> None:
        """One more token per sample, always by itself: the cache is then the same to the last bit
        whichever way it was reached, and so is a search that resumes."""
        ids = torch.tensor(tokens, dtype=torch.long, device=self._model.device)
        logits, _ = self._model.read(self.kv, ids[:, None])
        self.log_probs = at_least_float32(logits).log_softmax(-1)


def common_length(one: Ids, other: Ids) -> int:
    """How many tokens the two have in common at their beginning."""
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return length
