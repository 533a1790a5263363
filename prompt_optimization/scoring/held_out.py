"""Held-out scoring: what a finalist is worth on rows that the search never saw.

Dev and test rows of a run, other models, the evaluate command and the library all come this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from prompt_optimization.models.engine import Decoding, Outcome
from prompt_optimization.models.model import Model
from prompt_optimization.models.template import PromptTemplate
from prompt_optimization.scoring.finalists import Ensemble, Finalist, Text, vote
from prompt_optimization.scoring.ledger import Ledger
from prompt_optimization.scoring.statistics import (
    Estimate,
    is_graded,
    mean_value,
    paired_difference,
)
from prompt_optimization.tasks.examples import Example
from prompt_optimization.tasks.metrics.metric import Metric, called
from prompt_optimization.tasks.metrics.stated import FLEXIBLE, STRICT


@dataclass(frozen=True)
class HeldOut:
    """What one finalist is worth on one split, each figure with its 95 % interval.

    Attributes:
        prompt: the finalist's name; of a text, the text.
        hits: per metric, what each row is worth: 1 when it was right, 0 when it was wrong, and
            something between where the metric grades. ``strict`` and ``flexible`` read what the
            model wrote after the extractor, as does the metric that counts; ``teacher_forced`` asks
            whether every token of the reference answer was its first choice (see
            ``Outcome.mistake``), and is missing without an extractor.
        loss: mean answer cross-entropy over rows, in nats; None without an extractor.
        written: per row the question, the reasoning, the answer, the reference and the loss, and
            all ``references`` where there are several.
        metric: the name of the one that counts, for election and on the screen.
        weights: how much each row counts; empty where all count alike.
        groups: the group of each row; empty where there are none.
    """

    prompt: str
    hits: dict[str, list[float]]
    loss: float | None
    written: list[dict[str, Any]] = field(default_factory=list, compare=False)
    metric: str = "strict"
    weights: list[float] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    @property
    def accuracy(self) -> dict[str, Estimate]:
        return {
            metric: mean_value(hits, self.weights, is_graded(hits))
            for metric, hits in self.hits.items()
        }

    @property
    def value(self) -> Estimate:
        """By the metric that counts."""
        return self.accuracy[self.metric]

    @property
    def strict(self) -> Estimate:
        """The written answer is the reference to the letter, but for space and case of no
        meaning."""
        return self.accuracy["strict"]

    @property
    def flexible(self) -> Estimate:
        """The written answer is the reference once both are read by their form."""
        return self.accuracy["flexible"]

    @property
    def teacher_forced(self) -> Estimate:
        """Every token of the reference was the model's first choice."""
        return self.accuracy["teacher_forced"]

    @property
    def by_group(self) -> dict[str, HeldOut]:
        """The same on the rows of each group."""
        return {name: self._in(name) for name in dict.fromkeys(self.groups)}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Per row what was written, and what it is worth under each metric."""
        marks = zip(*self.hits.values(), strict=True)
        return [
            row | {metric: _whole(hit) for metric, hit in zip(self.hits, hits, strict=True)}
            for row, hits in zip(self.written, marks, strict=True)
        ]

    def minus(self, other: HeldOut, metric: str = "") -> Estimate:
        """The paired difference to another finalist on the same rows, with its 95 % interval;
        zero without one where it is the same finalist.

        Args:
            metric: the one that counts when left out.

        Raises:
            ValueError: they were asked other questions.
        """
        if [row["question"] for row in self.written] != [row["question"] for row in other.written]:
            raise ValueError("the two prompts were evaluated on different questions")
        return difference(other, self, metric or self.metric)

    def __str__(self) -> str:
        value = self.value
        return (
            f"{100 * value.value:.1f} % [{100 * value.low:.1f}, {100 * value.high:.1f}] "
            f"of {value.n} {called(self.metric)}: {self.prompt}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {"prompt": self.prompt, **self._figures(), "loss": self.loss, "rows": self.rows}

    def record(self) -> dict[str, Any]:
        """As the log holds it; ``hits`` has a 1 for every right row and a 0 for every wrong one,
        or a list of values where they were graded."""
        more: dict[str, Any] = {"weights": self.weights} if self.weights else {}
        if self.groups:
            more["groups"] = self.groups
            more["by_group"] = {name: each._figures() for name, each in self.by_group.items()}
        return {
            "prompt": self.prompt,
            "metric": self.metric,
            "loss": self.loss,
            **self._figures(),
            "hits": {
                metric: hits if is_graded(hits) else "".join(str(int(hit)) for hit in hits)
                for metric, hits in self.hits.items()
            },
            **more,
        }

    @property
    def rank(self) -> tuple[float, float]:
        """Sorts best first: by the metric that counts; the lower answer loss decides among
        equals."""
        hits = self.hits[self.metric]
        weights = self.weights or [1] * len(hits)
        return -sum(w * hit for w, hit in zip(weights, hits, strict=True)), self.loss or 0.0

    def _figures(self) -> dict[str, Any]:
        return {metric: asdict(estimate) for metric, estimate in self.accuracy.items()}

    def _in(self, group: str) -> HeldOut:
        chosen = [row for row, name in enumerate(self.groups) if name == group]
        return replace(
            self,
            hits={metric: [hits[row] for row in chosen] for metric, hits in self.hits.items()},
            loss=None,
            written=[self.written[row] for row in chosen] if self.written else [],
            weights=[self.weights[row] for row in chosen] if self.weights else [],
            groups=[],
        )


def _whole(hit: float) -> float:
    return int(hit) if hit in (0, 1) else hit


class HeldOutScorer:
    """Scores finalists on held-out rows with one model.

    Attributes:
        ledger: what that cost, apart from the search.
    """

    def __init__(
        self,
        model: Model,
        template: PromptTemplate,
        decoding: Decoding,
        ledger: Ledger | None = None,
        metric: Metric = STRICT,
    ) -> None:
        """
        Args:
            decoding: with ``answer_tokens``, so that answers are written.
            metric: the one that counts.
        """
        assert decoding.answer_tokens, "held-out scoring reads written answers"
        self.model = model
        self.template = template
        self.decoding = decoding
        self.ledger = ledger or Ledger()
        self.metric = metric

    def check(self, examples: Sequence[Example], prompt: str, prompt_tokens: int) -> None:
        """Refuse rows that do not fit the model with a prompt of ``prompt_tokens``.

        Args:
            prompt: any prompt; it shows where the questions end.

        Raises:
            InputError: see ``EncodedExamples``.
        """
        encoded = self.model.encode(self.template, examples, prompt)
        self.model.check_room(encoded, prompt_tokens, self.decoding)

    def score(self, finalist: Finalist, examples: Sequence[Example]) -> HeldOut:
        """What ``finalist`` is worth on ``examples``.

        Raises:
            FloatingPointError: the model's logits are not finite.
            InputError: a prompt does not go with the rows, or does not fit the model.
        """
        counts, self.model.counts = self.model.counts, self.ledger.tokens
        try:
            with self.ledger.running():
                outcomes = self._outcomes(finalist, examples)
        finally:
            self.model.counts = counts
        forced = self.template.forced
        return read_answers(
            finalist.name, examples, outcomes, self.model.tokenizer, self.metric, forced
        )

    def _outcomes(self, finalist: Finalist, examples: Sequence[Example]) -> list[Outcome]:
        if isinstance(finalist, Text):
            return self._run(finalist.prompt, examples)
        if isinstance(finalist, Ensemble):
            runs = [self._run(prompt, examples) for prompt in finalist.prompts]
            return [_elected(outcomes) for outcomes in zip(*runs, strict=True)]
        prompts = [finalist.prompt_for(example.question) for example in examples]
        found: dict[int, Outcome] = {}
        for prompt in dict.fromkeys(prompts):
            rows = [i for i, own in enumerate(prompts) if own == prompt]
            found |= dict(zip(rows, self._run(prompt, [examples[i] for i in rows]), strict=True))
        return [found[i] for i in range(len(examples))]

    def _run(self, prompt: str, examples: Sequence[Example]) -> list[Outcome]:
        self.ledger.evaluations += len(examples)
        return self.model.held_out(self.template, examples, prompt, self.decoding)


def _elected(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome whose answer wins the vote."""
    return outcomes[vote([outcome.answer or "" for outcome in outcomes])]


def difference(before: HeldOut, after: HeldOut, metric: str) -> Estimate:
    """The paired difference ``after - before`` on the same rows; exactly zero for one prompt."""
    if before.prompt == after.prompt:
        return Estimate(0.0, 0.0, 0.0, len(after.hits[metric]))
    return paired_difference(before.hits[metric], after.hits[metric], after.weights)


def compare(initial: HeldOut, best: HeldOut) -> dict[str, Any]:
    """Per metric the paired difference ``best - initial``, as the log holds it."""
    return {metric: asdict(difference(initial, best, metric)) for metric in best.hits}


def compare_by_group(initial: HeldOut, best: HeldOut) -> dict[str, Any]:
    """The same for each group of rows."""
    before, after = initial.by_group, best.by_group
    return {name: compare(before[name], after[name]) for name in after}


def read_answers(
    name: str,
    examples: Sequence[Example],
    outcomes: Sequence[Outcome],
    tokenizer: PreTrainedTokenizerBase,
    metric: Metric = STRICT,
    forced: bool = True,
) -> HeldOut:
    """Read the answers in ``outcomes``, one an example.

    Args:
        forced: whether the outcomes tell how the model took the reference answers.

    Raises:
        InputError: see ``Metric.value``.
    """
    hits = {
        each.name: [
            each.value(_answer(outcome), example)
            for example, outcome in zip(examples, outcomes, strict=True)
        ]
        for each in (STRICT, FLEXIBLE, metric)
    }
    if forced:
        hits["teacher_forced"] = [float(not outcome.mistake) for outcome in outcomes]
    written = [
        {
            "question": example.question,
            "reasoning": tokenizer.decode(list(outcome.reasoning), skip_special_tokens=True),
            "answer": outcome.answer,
            "reference": example.answer,
            **({"references": list(example.references)} if example.alternatives else {}),
            "loss": outcome.loss if forced else None,
        }
        for example, outcome in zip(examples, outcomes, strict=True)
    ]
    loss = weighted_loss([row["loss"] for row in written], examples)
    return HeldOut(name, hits, loss, written, metric.name, **weights_and_groups(examples))


def weighted_loss(losses: Sequence[float | None], examples: Sequence[Example]) -> float | None:
    """The mean of one loss an example; None where there are none."""
    total = sum(example.weight for example in examples)
    pairs = zip(examples, losses, strict=True)
    weighed = [example.weight * loss for example, loss in pairs if loss is not None]
    return sum(weighed) / total if weighed else None


def weights_and_groups(examples: Sequence[Example]) -> dict[str, Any]:
    """As ``HeldOut`` has them."""
    weights = [example.weight for example in examples]
    groups = [example.group for example in examples]
    return {
        "weights": weights if len({*weights}) > 1 else [],
        "groups": groups if any(groups) else [],
    }


def _answer(outcome: Outcome) -> str:
    assert outcome.answer is not None, "decode with answer_tokens to read answers"
    return outcome.answer
