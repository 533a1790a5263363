"""The only way to learn what a prompt is worth on the training examples.

Every method scores by the same objective, nothing is computed twice, and the ledger counts all of
it.
"""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.models.encoded import EncodedExamples
from prompt_optimization.models.engine import Decoding, Outcome
from prompt_optimization.models.executor import Future
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.model import Model
from prompt_optimization.models.sampling import Sampling
from prompt_optimization.scoring.activity import Activity
from prompt_optimization.scoring.ledger import Ledger
from prompt_optimization.scoring.settings import OBJECTIVES
from prompt_optimization.tasks.examples import Example
from prompt_optimization.tasks.metrics.metric import Metric
from prompt_optimization.tasks.metrics.stated import STRICT
from prompt_optimization.tasks.texts import lacking_words

# Prompts whose outcomes are remembered; the least recently used one is forgotten first.
REMEMBERED = 256

# Values of answers that are remembered; some metrics take longer than writing the answer.
VALUES = 65536

# More than what adding the same numbers in another order can change.
ROUNDING = 1e-9

# (model, example), both by number.
Row = tuple[int, int]


class BudgetSpent(Exception):
    """A budget was spent before the next batch; the message is the reason."""


@dataclass(frozen=True)
class Scored:
    """What a prompt is worth, on all the rows that were asked for or, ``capped``, on some of them.

    Means weigh every row with its example's weight. Rows without a known answer do not count; where
    all are such, the objective is 0 and says nothing.

    Attributes:
        objective: what selection minimises; a lower bound of it when capped.
        loss: mean answer cross-entropy over rows, in nats; None without an extractor.
        mistakes: share of rows that are mistakes (see ``Outcome``); without an extractor the same
            as ``wrong``; None where no answer is known.
        nll: mean over rows of the prompt's negative log-likelihood per token, in nats.
        wrong: 1 less the mean value of the freely written answers, which is the share of wrong
            ones unless the metric grades them; None where no answers were written or none is known.
        outcomes: of the rows, models one after the other.
        capped: given up, because the rows so far settle that the objective is above a ceiling; the
            means count the rows that were not run as zero.
        tie: decides between equal objectives.
    """

    text: str
    objective: float
    loss: float | None
    mistakes: float | None
    nll: float
    wrong: float | None
    outcomes: tuple[Outcome, ...]
    capped: bool = False
    tie: float = 0.0

    @property
    def order(self) -> tuple[float, float]:
        """Sorts best first."""
        return self.objective, self.tie

    @property
    def rows(self) -> int:
        """Rows that were run."""
        return len(self.outcomes)

    @property
    def reasonings(self) -> list[Ids]:
        return [outcome.reasoning for outcome in self.outcomes]

    def record(self) -> dict[str, Any]:
        """As the log holds it."""
        record = {
            "prompt": self.text,
            "samples": self.rows,
            "objective": self.objective,
            "loss": self.loss,
            "mistakes": self.mistakes,
            "nll": self.nll,
        }
        return record if self.wrong is None else record | {"wrong_answers": self.wrong}


@dataclass(frozen=True)
class Transcript:
    """What one model was asked under a prompt and what it wrote.

    Attributes:
        reference: the first one; empty where no answer is known.
        value: what the metric gives to the answer, from 0 to 1; 0 where no answer is known.
        cut: the reasoning was ended by its limit.
    """

    question: str
    reasoning: str
    answer: str
    reference: str
    value: float
    cut: bool

    @property
    def right(self) -> bool:
        """Whether the answer is worth all that it can be."""
        return self.value == 1


class Scorer:
    """Scores prompts on the training examples, as one model or several answer them.

    Attributes:
        models: all have the same tokenizer and the same training examples.
        examples: the training examples, as answers are judged by; a row is a pair (model, example)
            of numbers.
        ledger: what all of it cost.
        activity: where progress is told.
        limit: called before every batch; returns a reason once a budget is spent.
    """

    def __init__(
        self,
        models: Sequence[Model],
        decoding: Decoding,
        *,
        objective: str,
        nll_weight: float,
        written: bool = False,
        metric: Metric = STRICT,
        keep: Sequence[str] = (),
    ) -> None:
        """
        Args:
            models: with their training examples (``Model.train_on``).
            decoding: how a row reasons; with ``answer_tokens`` where answers are to be written.
            objective: one of ``OBJECTIVES``.
            nll_weight: of the prompt's negative log-likelihood in the objective.
            written: let every row write its answer, for methods that read ``transcripts``.
            metric: what a written answer is worth.
            keep: words that have to stay in every prompt.
        """
        assert objective in OBJECTIVES, objective
        assert decoding.answer_tokens or not (written or objective == "answers")
        self.models = models
        self.decoding = decoding
        self.objective = objective
        self.nll_weight = nll_weight
        self.written = written or objective == "answers"
        self.metric = metric
        self.keep = tuple(keep)
        self.encoded: EncodedExamples = models[0].training
        self.examples: tuple[Example, ...] = self.encoded.examples
        self.ledger = Ledger()
        self.activity = Activity()
        self.limit: Callable[[], str | None] = lambda: None
        self._value = lru_cache(VALUES)(self._value_of)
        self._known: OrderedDict[str, dict[Row, Outcome]] = OrderedDict()
        for model in models:
            model.counts = self.ledger.tokens

    def relabel(self, examples: Sequence[Example]) -> None:
        """Judge written answers by other examples, which ask the same in the same order.

        One without an answer does not count from now on. What a model takes the right answer for
        is known of those alone that stay the same objects, so ``loss`` and ``mistakes`` are theirs.
        """
        assert self.objective == "answers", "labels change what written answers are worth"
        assert [e.question for e in examples] == [e.question for e in self.encoded.examples]
        self.examples = tuple(examples)
        self._value.cache_clear()

    def rows(self, examples: Sequence[int] | None = None, models: int | None = None) -> list[Row]:
        """``examples`` (all of them) as the first ``models`` (all) answer them."""
        chosen = range(len(self.examples)) if examples is None else examples
        return [(m, e) for m in range(models or len(self.models)) for e in chosen]

    def score(
        self,
        prompts: Sequence[str],
        examples: Sequence[int] | Sequence[Row] | None = None,
        *,
        ceiling: float = math.inf,
        chunk: int = 0,
    ) -> list[Scored]:
        """Score ``prompts``; one result each, in order.

        No part of the objective is ever negative, so the rows run so far give a lower bound of it.
        A prompt whose bound is above ``ceiling`` is given up.

        Args:
            prompts: in ``Layout.normalise``'s form.
            examples: by number, as all models answer them, or rows; everything when left out.
            ceiling: an objective.
            chunk: rows at a time, in their order; 0 runs all of them at once.

        Raises:
            BudgetSpent: a budget was spent before one of the batches.
            FloatingPointError: a model's logits are not finite.
            InputError: a prompt is not made of whole tokens after the questions, or memory does
                not hold one row.
        """
        asked = self._rows(examples)
        assert asked, "a prompt is scored on at least one example"
        size = chunk or len(asked)
        ordered = sorted(asked)
        running = list(dict.fromkeys(prompts))
        for start in range(0, len(asked), size):
            self._run(running, asked[start : start + size])
            running = [
                prompt
                for prompt in running
                if self._scored(prompt, ordered).objective <= ceiling + ROUNDING
            ]
        found = [self._scored(prompt, ordered) for prompt in prompts]
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Within, what is computed and asked counts in ``ledger.apart``, and no budget ends it."""
        limit, self.limit = self.limit, lambda: None
        try:
            with self.ledger.counting_apart():
                yield
        finally:
            self.limit = limit

    def draw_reasonings(
        self, prompt: str, rows: Sequence[Row], sampling: Sampling, draws: int
    ) -> list[tuple[Outcome, ...]]:
        """Let ``prompt`` reason on ``rows``, ``draws`` times: by draw and row.

        What is drawn counts as evaluations, does not enter the objective and is not remembered.

        Raises:
            As ``score``.
        """
        drawn = []
        for number in range(draws):
            self.activity.progress(number, draws)
            (found,) = self._run_draw([prompt], rows, replace(sampling, draw=number))
            drawn.append(tuple(found[row] for row in rows))
        self.activity.progress(draws, draws)
        return drawn

    def transcripts(self, prompt: str, examples: Sequence[int]) -> list[Transcript]:
        """What the first model was asked under ``prompt`` and what it wrote, example by example.

        Raises:
            As ``score``.
        """
        assert self.written, "the scorer does not let answers be written"
        (known,) = self._outcomes([prompt], self.rows(examples, models=1))
        return [self._transcript(example, known[0, example]) for example in examples]

    def draw_answers(
        self, prompt: str, examples: Sequence[int], sampling: Sampling, draws: int
    ) -> list[list[str]]:
        """What the first model answers after each of ``draw_reasonings``: by example and draw.

        Raises:
            As ``score``.
        """
        assert self.decoding.answer_tokens, "the scorer does not let answers be written"
        drawn = self.draw_reasonings(prompt, self.rows(examples, models=1), sampling, draws)
        return [[each.answer or "" for each in own] for own in zip(*drawn, strict=True)]

    def values(
        self, prompts: Sequence[str], examples: Sequence[int], draw: int = 0
    ) -> list[list[float]]:
        """What the metric gives to the first model's answers: one list a prompt, with one value an
        example.

        Args:
            draw: which answer, where they are drawn. The first is the one that ``score`` sees.
                Later ones are not remembered, so whoever asks for them keeps their values.

        Raises:
            As ``score``.
        """
        assert self.written, "the scorer does not let answers be written"
        rows = self.rows(examples, models=1)
        if draw:
            sampling = self.decoding.sampling
            assert sampling is not None, "one answer is all there is where none is drawn"
            found = self._run_draw(prompts, rows, replace(sampling, draw=draw))
        else:
            found = self._outcomes(prompts, rows)
        return [[self._value(row[1], known[row].answer) for row in rows] for known in found]

    def nothing_found(self, prompt: str) -> str | None:
        """A sentence where the metric that is minimised finds nothing in any answer that is known
        under ``prompt``; else None."""
        if self.objective != "answers":
            return None
        known = self._known[prompt]
        judged = {row: each for row, each in known.items() if self.examples[row[1]].labelled}
        if not judged:
            return None
        examples = [self.examples[example] for _, example in judged]
        return self.metric.nothing_found(examples, [each.answer or "" for each in judged.values()])

    def costs(self, prompt: str, rows: Sequence[Row]) -> list[float]:
        """What each of ``rows`` costs under ``prompt``, from 0 to 1: what its answer lacks to being
        right, or under the objective ``loss`` what the right answer lacks to being certain.

        Raises:
            As ``score``.
        """
        (known,) = self._outcomes([prompt], rows)
        return [self._cost(row, known[row]) for row in rows]

    def parts(self, scored: Scored, rows: Sequence[Row]) -> list[float]:
        """What each of ``rows``, on which ``scored`` was run, adds to the mean in its objective."""
        if self.objective == "loss":
            return [outcome.loss for outcome in scored.outcomes]
        return [self._cost(row, each) for row, each in zip(rows, scored.outcomes, strict=True)]

    def weights(self, rows: Sequence[Row]) -> list[float]:
        """How much each of ``rows`` counts, beside 1 for the training example that counts most."""
        most = max(self._weight(example) for example in range(len(self.examples))) or 1.0
        return [self._weight(example) / most for _, example in rows]

    def problem(self, prompt: str) -> str | None:
        """Why ``prompt`` cannot be scored, in words; None when it can."""
        if not prompt.strip():
            return "it is empty"
        if lacking := lacking_words(prompt, self.keep):
            return f"it lacks the words '{lacking}', which have to stay"
        try:
            ids = self.ids(prompt)
            for model in self.models:
                model.check_room(model.training, len(ids), self.decoding)
        except InputError as error:
            return error.problem
        return None

    def ids(self, prompt: str) -> Ids:
        """The ids of ``prompt`` after the questions.

        Raises:
            InputError: it is not made of whole tokens there.
        """
        return self.encoded.prompt_ids(prompt)

    def state_dict(self) -> dict[str, Any]:
        """All that is known, for ``load_state_dict``; outcomes stay objects."""
        return {
            "known": [
                [prompt, [[*row, outcome] for row, outcome in known.items()]]
                for prompt, known in self._known.items()
            ],
            "ledger": self.ledger.record(),
            "models": [
                {
                    "prefix": list(model.prefix),
                    "proposing": list(model.proposing),
                    "lengths": list(model.lengths.items()),
                    "limits": [list(astuple(each)) for each in model.row_limits()],
                }
                for model in self.models
            ],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        self._known = OrderedDict(
            (prompt, {(model, example): outcome for model, example, outcome in known})
            for prompt, known in state["known"]
        )
        for model, record in zip(self.models, state["models"], strict=True):
            proposing = record.get("proposing", ())  # came with templates
            model.restore(record["prefix"], proposing, dict(record["lengths"]), record["limits"])
        # Last: the prefix that was just read once more has been counted already.
        self.ledger.restore(state["ledger"])

    def _rows(self, examples: Sequence[int] | Sequence[Row] | None) -> list[Row]:
        if examples is None:
            return self.rows()
        found: list[Row] = []
        for each in examples:
            found += self.rows([each]) if isinstance(each, int) else [each]
        return found

    def _run(self, prompts: Sequence[str], rows: Sequence[Row]) -> None:
        """Let ``prompts`` reason on those of ``rows`` where their outcome is not known."""
        unknown: dict[tuple[Row, ...], list[str]] = defaultdict(list)
        for prompt in prompts:
            known = self._known.setdefault(prompt, {})
            self._known.move_to_end(prompt)
            missing = tuple(dict.fromkeys(row for row in rows if row not in known))
            self.ledger.reused += len(rows) - len(missing)
            if missing:
                unknown[missing].append(prompt)
        total = sum(len(missing) * len(group) for missing, group in unknown.items())
        done = 0
        for missing, group in unknown.items():
            if reason := self.limit():
                raise BudgetSpent(reason)
            self.activity.progress(done, total)
            for prompt, found in zip(group, self._run_batch(group, missing), strict=True):
                self._known[prompt].update(found)
            done += len(group) * len(missing)
            self.ledger.evaluations += len(group) * len(missing)
        if total:
            self.activity.progress(total, total)

    def _outcomes(self, prompts: Sequence[str], rows: Sequence[Row]) -> list[dict[Row, Outcome]]:
        """What each of ``prompts`` does on ``rows``."""
        ordered, scores = sorted(rows), self.score(prompts, rows)
        return [dict(zip(ordered, each.outcomes, strict=True)) for each in scores]

    def _run_draw(
        self, prompts: Sequence[str], rows: Sequence[Row], sampling: Sampling
    ) -> list[dict[Row, Outcome]]:
        """The outcomes of ``prompts`` on ``rows`` as ``sampling`` draws them."""
        if reason := self.limit():
            raise BudgetSpent(reason)
        found = self._run_batch(prompts, rows, replace(self.decoding, sampling=sampling))
        self.ledger.evaluations += len(prompts) * len(rows)
        return found

    def _run_batch(
        self, prompts: Sequence[str], rows: Sequence[Row], decoding: Decoding | None = None
    ) -> list[dict[Row, Outcome]]:
        """Let ``prompts`` reason on ``rows``, all models at the same time."""
        ids = [self.ids(prompt) for prompt in prompts]
        submitted: list[tuple[list[Row], Future[list[list[Outcome]]]]] = []
        for number, model in enumerate(self.models):
            if own := [row for row in rows if row[0] == number]:
                examples = [example for _, example in own]
                run = model.submit_run(ids, decoding or self.decoding, examples)
                submitted.append((own, run))
        found: list[dict[Row, Outcome]] = [{} for _ in prompts]
        for own, future in submitted:
            for known, outcomes in zip(found, future.result(), strict=True):
                known.update(zip(own, outcomes, strict=True))
        return found

    def _scored(self, prompt: str, rows: Sequence[Row]) -> Scored:
        known = self._known[prompt]
        run = [row for row in rows if row in known]
        outcomes = tuple(known[row] for row in run)

        def mean(value: Callable[[Row], float], some: Callable[[int], float]) -> float | None:
            """Of the rows that were run; ``some`` gives each example's weight."""
            total = sum(some(example) for _, example in rows)
            return sum(some(row[1]) * value(row) for row in run) / total if total else None

        wrong = None
        if self.written:
            wrong = mean(lambda row: 1 - self._value(row[1], known[row].answer), self._weight)
        loss = mean(lambda row: known[row].loss, self._forced)
        mistakes = mean(lambda row: known[row].mistake, self._forced)
        nll = mean(lambda row: known[row].nll, self._weight)
        if nll is None:
            nll = mean(lambda row: known[row].nll, lambda example: 1.0) or 0.0
        if not self.encoded.has_targets or loss is None:
            loss, mistakes = None, wrong
        chief = {"mistakes": mistakes, "loss": loss, "answers": wrong}[self.objective]
        return Scored(
            prompt,
            (chief or 0.0) + self.nll_weight * nll,
            loss,
            mistakes,
            nll,
            wrong,
            outcomes,
            capped=len(outcomes) < len(rows),
            tie=loss or 0.0 if self.objective == "answers" else 0.0,
        )

    def _weight(self, example: int) -> float:
        """How much it counts; 0 where no answer is known."""
        own = self.examples[example]
        return own.weight if own.labelled else 0.0

    def _forced(self, example: int) -> float:
        """The same; 0 also where another answer was forced than the one that counts."""
        same = self.examples[example] is self.encoded.examples[example]
        return self._weight(example) if same else 0.0

    def _cost(self, row: Row, outcome: Outcome) -> float:
        if self.objective == "loss":
            return 1 - math.exp(-outcome.loss)
        if self.objective == "mistakes":
            return float(outcome.mistake)
        return 1 - self._value(row[1], outcome.answer)

    def _value_of(self, example: int, answer: str | None) -> float:
        assert answer is not None
        own = self.examples[example]
        return self.metric.value(answer, own) if own.labelled else 0.0

    def _transcript(self, example: int, outcome: Outcome) -> Transcript:
        row = self.examples[example]
        assert outcome.answer is not None
        reasoning = self.models[0].tokenizer.decode(
            list(outcome.reasoning), skip_special_tokens=True
        )
        value = self._value(example, outcome.answer)
        cut = len(outcome.reasoning) == self.decoding.max_new_tokens
        return Transcript(row.question, reasoning, outcome.answer, row.answer, value, cut)
