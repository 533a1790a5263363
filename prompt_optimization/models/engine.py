"""Reasoning and scoring of many prompts on many examples at the cost of the tokens decoded.

Every (prompt, example) pair is a row. Rows start from the examples' cached prefix, read what is
left of their prompt, reason greedily side by side, and are scored from the cache that reasoning
left: only extractor and answer are new to the model then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from prompt_optimization.models.answer_loss import AnswerLoss, own_loss
from prompt_optimization.models.decode import NotFiniteError, Sampling, decode, first_choice
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import (
    LanguageModel,
    at_least_float32,
    pad_right,
)
from prompt_optimization.models.layout import Ids, Target
from prompt_optimization.models.memory import (
    RowBudget,
    give_back,
    logits_bytes,
    most_rows,
    row_bytes,
    rows_that_fit,
)
from prompt_optimization.models.thinking import decoded
from prompt_optimization.tasks.answers import strict_match


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
        if self.measures and examples.pool_rows is None:
            self.model.release_buffers()  # they are part of what a pool may take
            examples.pool_rows = self._rows_that_fit(examples, max(map(len, prompts)), decoding)
        # Rows whose prompts have equally many tokens share a pool, without padding where the same
        # text follows them; the longest come first, so that a lack of memory shows at once.
        rows = sorted(
            ((p, s) for p in range(len(prompts)) for s in indices),
            key=lambda row: (
                -len(prompts[row[0]]),
                -examples.fixed_tokens(row[1]),
                row,
            ),
        )

        def run_pool(pool: Sequence[tuple[int, int]]) -> list[Outcome]:
            try:
                done = self._run_pool(examples, prompts, pool, shared, decoding)
                self._done += len(pool)
                return done
            except NotFiniteError as error:
                prompt, example = pool[error.row]
                text = self.model.tokenizer.decode(list(prompts[prompt]))
                row = examples.examples[example].row
                raise FloatingPointError(f"{error} for prompt '{text}' on row {row}") from None

        outcomes: dict[tuple[int, int], Outcome] = {}
        self._done, self._rows = 0, len(rows)
        start = 0
        while start < len(rows):
            width = len(prompts[rows[start][0]])
            stop = start
            while stop < len(rows) and len(prompts[rows[stop][0]]) == width:
                stop += 1
            group = rows[start:stop]
            limit = examples.pool_rows if self.measures else None
            done = self.budget.map(group, run_pool, limit)
            outcomes.update(zip(group, done, strict=True))
            start = stop
        give_back(self.model.device)
        return [[outcomes[p, s] for s in indices] for p in range(len(prompts))]

    def _rows_that_fit(
        self, examples: CachedExamples, prompt_tokens: int, decoding: Decoding
    ) -> int:
        """How many rows the memory of every device should hold."""
        kv = examples.prefix.kv
        longest = max(len(target.extractor) + len(target.answer) for target in examples.targets)
        longest += examples.layout.ending_tokens
        filler = (0,) * prompt_tokens
        after = max(len(examples.following(s, filler)) for s in range(len(examples)))
        columns = kv.columns + prompt_tokens + after + decoding.max_new_tokens + longest + 1
        # Scoring holds the logits of all answers at once, with those after them; of several
        # devices, the first and the last.
        answer = max(len(target.answer) for target in examples.targets) + decoding.must_end
        logits = logits_bytes(answer, self.model.vocabulary)
        # Rows read what is left of their prompt together, and later the targets.
        reading = max(prompt_tokens + after, longest) * self.model.shape.reading_bytes
        sizes = kv.column_bytes.items()
        row = {
            device: row_bytes(columns, column) + max(logits, reading) for device, column in sizes
        }
        cached = {device: kv.rows * kv.columns * column for device, column in sizes}
        return rows_that_fit(row, self.budget.rows, cached)

    def _run_pool(
        self,
        examples: CachedExamples,
        prompts: Sequence[Ids],
        pool: Sequence[tuple[int, int]],
        shared: int,
        decoding: Decoding,
    ) -> list[Outcome]:
        prefix = examples.prefix
        rest = [(*prompts[p][shared:], *examples.following(s, prompts[p])) for p, s in pool]
        left = len(prompts[pool[0][0]]) - shared
        targets = [examples.targets[s] for _, s in pool]
        after = 1 + max(len(target.extractor) + len(target.answer) for target in targets)
        after += examples.layout.ending_tokens
        ids, valid = pad_right(rest, self.model.filler, self.model.device)
        spare = decoding.max_new_tokens + after
        kv = prefix.select([s for _, s in pool], ids.shape[1] + spare, self.model.static)
        logits, nll = self.model.read(kv, ids, scored=max(left - 1, 0), valid=valid)
        # Rows that are shorter than others have a gap now.
        kv = self.model.packed(kv, spare)
        rows = prefix.row_of[[s for _, s in pool]]
        pieces = [prefix.nll[rows], nll]
        if left:
            pieces.insert(1, -prefix.log_probs[rows].gather(1, ids[:, :1]))
        prompt_nll = torch.cat(pieces, dim=1).mean(1).tolist()

        limit, choice = decoding.max_new_tokens, None
        if decoding.sampling:
            questions = [examples.examples[s].question for _, s in pool]
            choice = decoding.sampling.choice(questions, self.model.device)

        def on_step(step: int) -> None:
            self.progress(self._done + len(pool) * step // limit, self._rows)

        reasonings, kv = decode(self.model, kv, logits, limit, after, choice, on_step)
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
            loss, mistake, margins = self.score(examples, pool, kv, unread, decoding)
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

    @torch.no_grad()
    def score(
        self,
        examples: CachedExamples,
        pool: Sequence[tuple[int, int]],
        kv: KVRows,
        unread: Sequence[Ids],
        decoding: Decoding,
    ) -> tuple[list[float], list[bool], list[float]]:
        """Teacher-forced loss, mistake and margin of the answers after reasoning and extractor.

        Args:
            pool: (prompt, example) pairs, one a row of ``kv``.
            kv: the rows up to the reasoning's end, but for ``unread``; they grow by the target.
            unread: the ids between reasoning and extractor that ``kv`` does not hold yet.
            decoding: its temperature divides the logits under its loss; whether answers must end.

        Raises:
            InputError: see ``own_loss``.
        """
        targets = [examples.targets[s] for _, s in pool]
        ids, valid = pad_right(
            [
                [*last, *target.extractor, *target.answer]
                for last, target in zip(unread, targets, strict=True)
            ],
            self.model.filler,
            self.model.device,
        )
        starts = [
            len(last) + len(target.extractor) - 1
            for last, target in zip(unread, targets, strict=True)
        ]
        places = [
            (row, start + offset)
            for row, (start, target) in enumerate(zip(starts, targets, strict=True))
            for offset in range(len(target.answer))
        ]
        scored = len(places)
        if decoding.must_end:
            places += [
                (row, start + len(target.answer))
                for row, (start, target) in enumerate(zip(starts, targets, strict=True))
            ]
        where = torch.tensor(places, device=self.model.device).unbind(1)
        logits = self.model.extend(kv, ids, (where[0], where[1]), valid)
        self.model.counts["prefilled"] += int(valid.sum())
        answers = ids[where[0][:scored], where[1][:scored] + 1]
        chosen = first_choice(logits, where[0])
        wrong = (chosen[:scored] != answers).tolist()
        logits = at_least_float32(logits[:scored]) / decoding.temperature
        function = decoding.answer_loss
        losses = torch.nn.functional.cross_entropy(logits, answers, reduction="none").tolist()
        margins = [0.0] * len(pool)
        if decoding.margin:
            margins = self._margins(examples, targets, logits)
        # A few numbers a row, added up in their order: a GPU would add them in any.
        start, loss, mistake = 0, [], []
        for target in targets:
            stop = start + len(target.answer)
            if start == stop:  # No answer is known.
                loss.append(0.0)
            elif function is None:
                loss.append(sum(losses[start:stop]) / len(target.answer))
            else:
                loss.append(float(own_loss(function, logits[start:stop], answers[start:stop])))
            mistake.append(any(wrong[start:stop]))
            start = stop
        for row, following in enumerate(chosen[scored:].tolist()):
            mistake[row] = mistake[row] or not self._ends(examples, pool[row][1], following)
        return loss, mistake, margins

    def _margins(
        self, examples: CachedExamples, targets: Sequence[Target], logits: torch.Tensor
    ) -> list[float]:
        """The margin of each of ``targets``.

        Args:
            logits: [tokens of all targets' answers, vocabulary].
        """
        labels = examples.first_tokens
        place = {token: i for i, token in enumerate(labels)}
        shares = logits[:, labels].softmax(-1).tolist()
        start, found = 0, []
        for target in targets:
            margin = 0.0
            if target.answer:
                own = place[target.answer[0]]
                others = [share for i, share in enumerate(shares[start]) if i != own]
                margin = shares[start][own] - max(others, default=0.0)
            found.append(margin)
            start += len(target.answer)
        return found

    def _ends(self, examples: CachedExamples, example: int, following: int) -> bool:
        """Whether the answer of ``example`` is still stated when ``following`` comes after it."""
        if following in self.model.stop_ids:
            return True
        text = self.model.tokenizer.decode(
            [*examples.targets[example].answer, following], skip_special_tokens=True
        )
        references = examples.examples[example].references
        return any(strict_match(text, reference) for reference in references)

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
        written, _ = decode(self.model, self.model.packed(kv, limit), logits, limit)
        return self._texts(examples, written)

    def _texts(self, examples: CachedExamples, written: Sequence[Ids]) -> list[str]:
        """What was written, without the thinking before it."""
        tokenizer, thinking = self.model.tokenizer, examples.layout.thinking
        # Tags may be special tokens; the thinking is found by them, so they stay.
        tags = (thinking.opening, thinking.closing) if thinking else ()
        texts = decoded(tokenizer, written, tags)
        return [thinking.spoken(text) for text in texts] if thinking else texts
