"""The samples of one split with everything about them that is computed once.

The keys and values of what stands before the prompt never change during a run, and rows that have
the same text there share them. The part of the prompt left of the edited position changes only
where the search has moved on, so it is cached after them and only the difference is ever computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property

import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.kv import KVRows, Place
from prompt_optimization.models.language_model import (
    LanguageModel,
    at_least_float32,
    pad_left,
)
from prompt_optimization.models.layout import BoundaryError, Context, Ids, Layout, Target
from prompt_optimization.models.memory import (
    PoolSize,
    RowBudget,
    give_back,
    is_out_of_memory,
    rows_that_fit,
)
from prompt_optimization.tasks.examples import Example
from prompt_optimization.tasks.templates import END

# Texts and tokens of one reading: their activations would otherwise outgrow everything else.
ROWS_AT_ONCE = 64
TOKENS_AT_ONCE = 2**13

# Tokens at each end of a prompt on which the tokens beside it depend.
ENDS = 3


class EncodedExamples:
    """Examples as ids: what stands before and after the prompt, and the target. Needs no model.

    Attributes:
        examples: the examples, in order; a sample is named by its index here.
        before: ids before the prompt, per sample.
        after: ids between the prompt's last place and the reasoning, per sample.
        between: ids between two places of the prompt, per sample; empty where it has one.
        targets: extractor and answer ids, per sample; empty without an extractor.
    """

    def __init__(self, layout: Layout, examples: Sequence[Example], prompt: str) -> None:
        """
        Args:
            prompt: any prompt; it shows where the other tokens end and begin.

        Raises:
            InputError: the prompt does not stand on its own tokens beside some question, the chat
                template changes a question, or ``Layout.targets`` refuses an answer.
        """
        assert examples
        self.layout = layout
        self.examples = tuple(examples)
        self.prompt = prompt
        try:
            contexts = layout.contexts([example.question for example in examples], prompt)
        except BoundaryError as error:
            raise error.refusal(prompt) from None
        for context, example in zip(contexts, examples, strict=True):
            if context.prompt != contexts[0].prompt:
                raise InputError(
                    f"beside the question of row {example.row} the prompt '{prompt.strip()}' has "
                    "other tokens than elsewhere; let the connector end in a word",
                    key="connector",
                )
            if not layout.keeps_words(example.question, prompt):
                raise InputError(
                    f"the model's chat template changes the words of row {example.row}; leave the "
                    "row out, or name a conversation template",
                    key="conversation_templates",
                )
        self.before: list[Ids] = [context.before for context in contexts]
        self.after: list[Ids] = [context.after for context in contexts]
        self.between: list[tuple[Ids, ...]] = [context.between for context in contexts]
        self.targets: list[Target] = layout.targets(examples)
        self._sound_ends: set[tuple[Ids, Ids]] = set()

    def __len__(self) -> int:
        return len(self.examples)

    @cached_property
    def first_tokens(self) -> list[int]:
        """What the answers begin with, each once."""
        return sorted({target.answer[0] for target in self.targets if target.answer})

    @property
    def has_targets(self) -> bool:
        """Whether there is an answer to force after the reasoning, or at the mask."""
        return bool(self.layout.extractor) or self.layout.mask is not None

    def prompt_ids(self, prompt: str) -> Ids:
        """The ids that ``prompt`` has beside these questions.

        Raises:
            InputError: it has no ids of its own there.
        """
        try:
            (context,) = self.layout.contexts([self.examples[0].question], prompt)
        except BoundaryError as error:
            raise error.refusal(prompt) from None
        if context.around == self._around and self._stands_everywhere(prompt, context.prompt):
            return context.prompt
        fix, keys = "let the connector end in a word and the prompt start with one", ["connector"]
        if self.layout.template != END:
            fix = "let spaces stand around {prompt} in the template, or end the prompt differently"
            keys = ["template"]
        raise InputError(
            f"the prompt '{prompt.strip()}' changes the tokens of the text around it; {fix}",
            key=(*keys, "control_init"),
        )

    def roundtrip_text(self, prompts: Sequence[Ids]) -> list[str | None]:
        """The text of each prompt, or None where no text means exactly these ids."""
        texts = self.layout.roundtrip_text(self.examples[0].question, self._around, prompts)
        return [
            text if text is not None and self._stands_everywhere(text, ids) else None
            for text, ids in zip(texts, prompts, strict=True)
        ]

    def following(self, sample: int, prompt: Ids) -> Ids:
        """The ids between the first place of ``prompt`` and the reasoning."""
        between = (token for ids in self.between[sample] for token in (*ids, *prompt))
        return (*between, *self.after[sample])

    def places(self, sample: int) -> int:
        """How often the prompt stands beside a question."""
        return 1 + len(self.between[sample])

    def fixed_tokens(self, sample: int) -> int:
        """Tokens before the reasoning that are none of the prompt's."""
        between = sum(map(len, self.between[sample]))
        return len(self.before[sample]) + between + len(self.after[sample])

    @property
    def _around(self) -> tuple[Ids, ...]:
        """The ids around the first example's prompt."""
        return self.before[0], *self.between[0], self.after[0]

    @cached_property
    def _others(self) -> list[int]:
        """The samples that a prompt meets other text beside than with the first one."""
        beside = [
            (before[-1:], *between, after)
            for before, between, after in zip(self.before, self.between, self.after, strict=True)
        ]
        return [first for pair in dict.fromkeys(beside) if (first := beside.index(pair))]

    def _stands_everywhere(self, prompt: str, ids: Ids) -> bool:
        """Whether ``prompt``, which has these ids beside the first question, has them beside all.

        This depends on its ends, which are looked at once.
        """
        ends = ids[:ENDS], ids[-ENDS:]
        if self._others and ends not in self._sound_ends:
            questions = [self.examples[sample].question for sample in self._others]
            expected = [
                Context(self.before[s], ids, self.after[s], self.between[s]) for s in self._others
            ]
            try:
                if self.layout.contexts(questions, prompt) != expected:
                    return False
            except BoundaryError:
                return False
            self._sound_ends.add(ends)
        return True

    def paper_ids(self, ids: Ids) -> Ids:
        """The tokens of a prompt's beginning ``ids`` where the paper has it, after the question.

        They differ where no space stands before the prompt here, or a piece of a word is the last
        token. Where they cannot be read, ``ids`` serve.
        """
        if not ids:
            return ids
        before = self.before[0]
        whole, start = self.layout.tokenizer.batch_decode(
            [list(before + ids), list(before)], clean_up_tokenization_spaces=False
        )
        question, text = self.examples[0].question, self.layout.normalise(whole[len(start) :])
        try:
            (context,) = self.layout.proposing.contexts([question], text)
        except BoundaryError:
            return ids
        return context.prompt

    def ending(self, sample: int, reasoning: Ids) -> Ids:
        """What stands between ``reasoning`` and the extractor; see ``Layout.ending_after``."""
        return self.layout.ending_after(self.after[sample], reasoning)

    def check_ids(self, model: str, rows: int) -> None:
        """Refuse tokens that a model has no embedding for.

        Raises:
            InputError: a sample has one; the embedding has only ``rows``.
        """
        for sample, (target, example) in enumerate(self._rows()):
            around = (*self.before[sample], *self.following(sample, ()))
            largest = max((*around, *target.extractor, *target.answer))
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
        lengths = self.lengths(prompt_tokens, new_tokens, answer_tokens)
        fix, key = "shorten the question or allow fewer new tokens", "max_new_tokens"
        if self.layout.mask is not None:
            fix, key = "shorten the question or allow fewer tokens of prompt", "max_prompt_tokens"
        for needed, example in zip(lengths, self.examples, strict=True):
            if needed > limit:
                raise InputError(
                    f"row {example.row} needs {needed} tokens, more than the {limit} of "
                    f"{model}; {fix}",
                    key=key,
                )

    def lengths(self, prompt_tokens: int, new_tokens: int, answer_tokens: int) -> list[int]:
        """Tokens of every sample with ``prompt_tokens`` of prompt, ``new_tokens`` of reasoning and
        an answer of ``answer_tokens``, or of its own where that is longer. A masked model writes
        nothing, whatever it may."""
        ending, found = self.layout.ending_tokens, []
        for sample, (target, _) in enumerate(self._rows()):
            read = self.fixed_tokens(sample) + prompt_tokens * self.places(sample)
            if self.layout.mask is None:
                read += new_tokens + ending + len(target.extractor)
                read += max(len(target.answer) + 1, answer_tokens)
            found.append(read)
        return found

    def _rows(self) -> Iterator[tuple[Target, Example]]:
        return zip(self.targets, self.examples, strict=True)


class CachedExamples(EncodedExamples):
    """Examples as one model reads them: with the prefix cache.

    Attributes:
        pool: how many rows of these samples fit the memory together, once that was estimated; it
            stays as it is, because other pools round differently.
    """

    def __init__(
        self, model: LanguageModel, layout: Layout, examples: Sequence[Example], prompt: str
    ) -> None:
        """As ``EncodedExamples``."""
        super().__init__(layout, examples, prompt)
        self.model = model
        self.prefix = PrefixCache(model, self.before)
        self.pool: PoolSize | None = None

    @cached_property
    def proposing(self) -> PrefixCache:
        """The cache off which the next token of a prompt is read: with the question before the
        prompt, as in the paper, wherever the prompt stands when it is scored."""
        layout = self.layout.proposing
        if layout is self.layout:
            return self.prefix
        paper = EncodedExamples(layout, self.examples, self.prompt)
        return PrefixCache(self.model, paper.before)


class PrefixCache:
    """Keys and values of ``before + prompt[:n]`` for all samples, moved along as n moves.

    Samples that have the same text before the prompt share a row.

    Attributes:
        ids: the prompt tokens now cached.
        row_of: [samples] each sample's row.
        log_probs: [rows, vocabulary] float32, next-token log-probabilities after them.
        nll: [rows, len(ids)] negative log-likelihood of each cached prompt token.
    """

    def __init__(self, model: LanguageModel, before: Sequence[Ids]) -> None:
        self._model = model
        self._before = list(dict.fromkeys(before))
        rows = {ids: row for row, ids in enumerate(self._before)}
        self.row_of = torch.tensor([rows[ids] for ids in before], device=model.device)
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

    def select(self, samples: Sequence[int], spare: int, into: Place | None = None) -> KVRows:
        """A copy of the rows of ``samples`` with room for ``spare`` more columns, which lies in
        ``into`` if that is given."""
        return self.kv.select(self.row_of[list(samples)], spare, into)

    def prompt_nll(
        self, samples: Sequence[int], ids: torch.Tensor, left: Sequence[int], nll: torch.Tensor
    ) -> torch.Tensor:
        """Of rows that went on from those of ``samples``, the mean negative log-likelihood of the
        prompt's tokens [rows], the cached ones among them.

        Args:
            ids: [rows, columns] what the rows have read.
            left: how many of these belong to the prompt.
            nll: [rows, at least ``max(left) - 1``] of the second of them and those that follow.
        """
        rows = self.row_of[list(samples)]
        first = -self.log_probs[rows].gather(1, ids[:, :1])
        own = torch.cat([first, nll], dim=1)
        counts = torch.tensor(left, device=ids.device)
        beyond = torch.arange(own.shape[1], device=ids.device) >= counts[:, None]
        whole = torch.cat([self.nll[rows], own.masked_fill(beyond, 0.0)], dim=1)
        return whole.sum(1) / (self.nll.shape[1] + counts)

    def share(self, prompts: Sequence[Ids]) -> int:
        """Hold no more of the prompt than all of ``prompts`` begin with; how many tokens that is.

        Raises:
            InputError: see ``reach``.
        """
        shared = min(common_length(self.ids, prompt) for prompt in prompts)
        self.reach(self.ids[:shared])
        return shared

    @torch.no_grad()
    def reach(self, ids: Ids) -> None:
        """Make the cache hold ``before + ids``, computing only what it lacks.

        Raises:
            InputError: the cache of all samples does not fit the memory.
        """
        try:
            self._reach(ids)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(
                f"the device's memory does not hold the cache of {len(self._before)} examples; "
                "use fewer or a smaller model",
                key=("n_train_data", "n_dev_data", "n_test_data"),
            ) from None

    def _reach(self, ids: Ids) -> None:
        if self._kv is None:
            self._read_before()
        shared = common_length(self.ids, ids)
        if shared < len(self.ids):
            # The distribution after the last shared token was not kept: that token comes again.
            self.kv.crop(self._columns + shared - 1)
            self._read([(*before, *ids[:shared])[-1] for before in self._before])
            self.nll = self.nll[:, :shared]
        for token in ids[shared:]:
            self.nll = torch.cat([self.nll, -self.log_probs[:, token, None]], dim=1)
            self._read([token] * self.kv.rows)
        self.ids = ids

    def _read_before(self) -> None:
        def read(beginnings: Sequence[Ids]) -> KVRows:
            kv = KVRows.empty(len(beginnings), self._model.device)
            if any(beginnings):
                ids, valid = pad_left(beginnings, self._model.filler, self._model.device)
                self._model.read(kv, ids, valid=valid)
            return kv

        counted = Counter(self._model.counts)
        beginnings = [before[:-1] for before in self._before]
        # A budget of their own: how pools have fared must not change how these are read.
        longest = max(1, *map(len, beginnings))
        row = longest * self._model.shape.reading_bytes
        most = rows_that_fit(
            dict.fromkeys(self._model.devices, row), max(1, TOKENS_AT_ONCE // longest)
        )
        kv = KVRows.join(RowBudget(ROWS_AT_ONCE).chunks(beginnings, read, most))
        self._kv, self._columns = kv, kv.columns + 1
        self._read([before[-1] for before in self._before])
        give_back(self._model.device)
        # How often they are read depends on where a run was interrupted and by how many
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
