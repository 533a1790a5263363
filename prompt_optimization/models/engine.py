"""Reasoning and scoring of many prompts on many examples at the cost of the tokens decoded.

Every (prompt, example) pair is a row. Rows start from the examples' cached prefix, read what is
left of their prompt, reason greedily side by side, and are scored from the cache that reasoning
left: only extractor and answer are new to the model then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from prompt_optimization.models.answer_loss import AnswerLoss
from prompt_optimization.models.answers import score_answers
from prompt_optimization.models.decode import (
    NotFiniteError,
    Part,
    Sampling,
    decode,
    decode_parts,
)
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import (
    LanguageModel,
    pad_right,
)
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.memory import RowBudget, give_back, most_rows
from prompt_optimization.models.pools import (
    groups,
    planned_tokens,
    pool_size,
    rows_begun,
    taken_at_once,
)
from prompt_optimization.models.thinking import decoded


@dataclass(frozen=True)
class Decoding:
    """How rows reason and answer.

    Attributes:
        max_new_tokens: limit of the reasoning, in tokens.
        answer_tokens: limit of the freely generated answer, in tokens; raised where a reference
            answer is longer; 0 skips the answer.
        temperature: divides the logits under the answer loss.
        sampling: how the reasoning draws its tokens; None chooses the likeliest. The answer is
            always greedy.
        answer_loss: in place of the mean cross-entropy.
        must_end: an answer whose tokens are all the model's first choice is a mistake where its
            first choice after them states another answer, as ``0`` does after ``2``.
        margin: measure the outcomes' margins.
    """

    max_new_tokens: int
    answer_tokens: int = 0
    temperature: float = 1.0
    sampling: Sampling | None = None
    answer_loss: AnswerLoss | None = None
    must_end: bool = False
    margin: bool = False


@dataclass(frozen=True)
class Outcome:
    """What one prompt did on one example.

    Attributes:
        reasoning: the reasoning's ids, without the token that ended it.
        loss: mean cross-entropy of the answer's tokens in nats, at the decoding's temperature; 0
            without an extractor or an answer.
        mistake: True unless every token of the answer was the model's first choice, and the model
            would end there where it must; False without an extractor.
        nll: mean negative log-likelihood of the prompt's tokens after this question, in nats.
        answer: what the model wrote after the extractor, or all of its reasoning without one; None
            when it was not asked.
        margin: of the probabilities that the answers of all examples have among each other, by
            their first tokens: that of the right answer less the greatest of the others, from -1 to
            1; 0 when it was not asked for.
    """

    reasoning: Ids
    loss: float
    mistake: bool
    nll: float
    answer: str | None = None
    margin: float = 0.0


class Engine:
    """Runs prompts over examples with one model.

    Attributes:
        progress: called with how many rows are done, and of how many.
    """

    def __init__(self, model: LanguageModel, max_rows: int = 0) -> None:
        """
        Args:
            max_rows: rows decoded side by side; 0 is as many as should fit the memory. Halves by
                itself when memory runs out.
        """
        self.model = model
        self.progress: Callable[[int, int], None] = lambda done, of: None
        self.measures = max_rows == 0
        self.budget = RowBudget(max_rows or most_rows(model.device), model.release_buffers)

    @torch.no_grad()
    def run(
        self,
        examples: CachedExamples,
        prompts: Sequence[Ids],
        decoding: Decoding,
        indices: Sequence[int] | None = None,
    ) -> list[list[Outcome]]:
        """Let every prompt reason and answer on every example.

        Args:
            examples: the split.
            prompts: prompts as ids, each of which a text means.
            decoding: limits and temperature.
            indices: the examples to run; all when left out.

        Returns:
            one list a prompt, with one outcome an example in the order of ``indices``.

        Raises:
            FloatingPointError: the model's logits are not finite.
            InputError: the memory does not hold one row.
        """
        assert prompts and all(prompts)
        indices = range(len(examples)) if indices is None else indices
        # What stands in the cache is used; what does not is read by the rows themselves.
        shared = examples.prefix.share(prompts)
        if self.measures and examples.pool is None:
            self.model.release_buffers()  # they are part of what a pool may take
            longest = max(map(len, prompts))
            examples.pool = pool_size(examples, longest, decoding, self.budget.rows)
        # The longest come first, so that a lack of memory shows at once.
        rows = sorted(
            ((p, s) for p in range(len(prompts)) for s in indices),
            key=lambda row: (
                -len(prompts[row[0]]),
                -examples.fixed_tokens(row[1]),
                row,
            ),
        )
        lengths = [len(prompts[p]) for p, _ in rows]

        outcomes: dict[tuple[int, int], Outcome] = {}
        self._done, self._rows = 0, len(rows)
        for start, stop in groups(lengths, decoding.max_new_tokens, self.model.device):
            outcomes |= self._run_group(examples, prompts, rows[start:stop], shared, decoding)
        give_back(self.model.device)
        return [[outcomes[p, s] for s in indices] for p in range(len(prompts))]

    def _run_group(
        self,
        examples: CachedExamples,
        prompts: Sequence[Ids],
        group: Sequence[tuple[int, int]],
        shared: int,
        decoding: Decoding,
    ) -> dict[tuple[int, int], Outcome]:
        """What the (prompt, example) pairs of ``group`` do, whose first prompt is the longest. Rows
        that a pool gives up go on in another one, with others that are as far."""
        width = len(prompts[group[0][0]])
        outcomes: dict[tuple[int, int], Outcome] = {}
        begun: dict[tuple[int, int], Ids] = dict.fromkeys(group, ())

        def run_pool(pool: Sequence[tuple[int, int]]) -> list[Outcome | Ids]:
            so_far = [begun[row] for row in pool]
            try:
                done = self._run_pool(examples, prompts, pool, so_far, shared, decoding)
            except NotFiniteError as error:
                prompt, example = pool[error.row]
                text = self.model.tokenizer.decode(list(prompts[prompt]))
                row = examples.examples[example].row
                raise FloatingPointError(f"{error} for prompt '{text}' on row {row}") from None
            self._done += sum(isinstance(each, Outcome) for each in done)
            return done

        while begun:
            length = min(map(len, begun.values()))
            some = [row for row, ids in begun.items() if len(ids) == length]
            limit = None
            if self.measures and examples.pool is not None:
                limit = rows_begun(examples, width, decoding, length)
                if examples.pool.columns is not None:
                    limit = taken_at_once(len(some), limit)
            for row, found in zip(some, self.budget.map(some, run_pool, limit), strict=True):
                if isinstance(found, Outcome):
                    outcomes[row] = found
                    del begun[row]
                else:
                    begun[row] = found
        return outcomes

    def _run_pool(
        self,
        examples: CachedExamples,
        prompts: Sequence[Ids],
        pool: Sequence[tuple[int, int]],
        begun: Sequence[Ids],
        shared: int,
        decoding: Decoding,
    ) -> list[Outcome | Ids]:
        """The outcome of each row of ``pool``, which goes on from what it has ``begun``; what a row
        has reasoned so far if it had to be given up."""
        prefix, limit, done = examples.prefix, decoding.max_new_tokens, len(begun[0])
        rest = [
            (*prompts[p][shared:], *examples.following(s, prompts[p]), *own)
            for (p, s), own in zip(pool, begun, strict=True)
        ]
        left = [len(prompts[p]) - shared for p, _ in pool]
        targets = [examples.targets[s] for _, s in pool]
        after = 1 + max(len(target.extractor) + len(target.answer) for target in targets)
        after += examples.layout.ending_tokens
        ids, valid = pad_right(rest, self.model.filler, self.model.device)
        room = examples.pool.columns if self.measures and examples.pool else None
        spare = limit - done if room is None else planned_tokens(limit - done, self.model.device)
        spare += after
        kv = prefix.select([s for _, s in pool], ids.shape[1] + spare, self.model.static)
        logits, nll = self.model.read(kv, ids, max(0, max(left) - 1), valid)
        # Rows that are shorter than others have a gap now.
        kv = self.model.packed(kv, spare)
        give_back(self.model.device)  # what reading took
        prompt_nll = prefix.prompt_nll([s for _, s in pool], ids, left, nll).tolist()

        choice = None
        if decoding.sampling:
            questions = [examples.examples[s].question for _, s in pool]
            choice = decoding.sampling.choice(questions, self.model.device)

        def on_step(step: int) -> None:
            self.progress(self._done + len(pool) * step // limit, self._rows)

        parts = decode_parts(
            self.model, kv, logits, limit, after, choice, on_step, begun=done, room=room
        )
        found: dict[int, Outcome | Ids] = {}
        for part in parts:
            own = part.rows.tolist()
            part.written = [begun[row] + more for row, more in zip(own, part.written, strict=True)]
            if part.kv is None:
                found.update(zip(own, part.written, strict=True))
            else:
                nll_of = [prompt_nll[row] for row in own]
                try:
                    ended = self._outcomes(examples, [pool[r] for r in own], part, nll_of, decoding)
                except NotFiniteError as error:
                    raise NotFiniteError(own[error.row]) from None
                found.update(zip(own, ended, strict=True))
            del part  # The cache makes room for the rows that go on.
            give_back(self.model.device)
        return [found[row] for row in range(len(pool))]

    def _outcomes(
        self,
        examples: CachedExamples,
        pool: Sequence[tuple[int, int]],
        part: Part,
        prompt_nll: Sequence[float],
        decoding: Decoding,
    ) -> list[Outcome]:
        """What the rows of ``part``, which are ``pool``, answer after their reasoning."""
        reasonings, targets = part.written, [examples.targets[s] for _, s in pool]
        assert part.kv is not None
        kv = self.model.packed(part.kv)
        part.kv = None
        # The last token of a row that met the limit was chosen but never read.
        unread = [
            (
                *(reasoning[-1:] if len(reasoning) == decoding.max_new_tokens else ()),
                *examples.ending(sample, reasoning),
            )
            for reasoning, (_, sample) in zip(reasonings, pool, strict=True)
        ]
        end = kv.columns
        answers: list[str | None] = [None] * len(pool)
        margins = [0.0] * len(pool)
        if not examples.has_targets:
            loss, mistake = [0.0] * len(pool), [False] * len(pool)
            spoken = self._texts(examples, reasonings)
            # Thinking that the limit has cut has said nothing.
            cut = [examples.ending(s, own) for own, (_, s) in zip(reasonings, pool, strict=True)]
            answers = ["" if own else text for own, text in zip(cut, spoken, strict=True)]
        elif any(target.answer for target in targets):
            loss, mistake, margins = score_answers(self.model, examples, pool, kv, unread, decoding)
        else:
            loss, mistake = [0.0] * len(pool), [True] * len(pool)
        if examples.has_targets and decoding.answer_tokens:
            kv.crop(end)
            # Room for the longest answer of all and for the token that ends it.
            longest = max(len(target.answer) for target in examples.targets) + 1
            limit = max(decoding.answer_tokens, longest)
            answers = [*self._answer(examples, pool, kv, unread, limit)]
        return [
            Outcome(reasoning, *rest_of)
            for reasoning, *rest_of in zip(
                reasonings, loss, mistake, prompt_nll, answers, margins, strict=True
            )
        ]

    def _answer(
        self,
        examples: CachedExamples,
        pool: Sequence[tuple[int, int]],
        kv: KVRows,
        unread: Sequence[Ids],
        limit: int,
    ) -> list[str]:
        """What the model itself writes after the extractor."""
        ids, valid = pad_right(
            [
                [*last, *examples.targets[s].extractor]
                for last, (_, s) in zip(unread, pool, strict=True)
            ],
            self.model.filler,
            self.model.device,
        )
        row = torch.arange(len(pool), device=self.model.device)
        logits = self.model.extend(kv, ids, (row, valid.sum(1) - 1), valid)
        self.model.counts["prefilled"] += int(valid.sum())
        written = decode(self.model, self.model.packed(kv, limit), logits, limit)
        return self._texts(examples, written)

    def _texts(self, examples: CachedExamples, written: Sequence[Ids]) -> list[str]:
        """What was written, without the thinking before it."""
        tokenizer, thinking = self.model.tokenizer, examples.layout.thinking
        # Tags may be special tokens; the thinking is found by them, so they stay.
        tags = (thinking.opening, thinking.closing) if thinking else ()
        texts = decoded(tokenizer, written, tags)
        return [thinking.spoken(text) for text in texts] if thinking else texts
