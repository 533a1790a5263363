"""Held-out scoring: what a finalist is worth on rows that the search never saw.

Dev and test rows of a run, other models, the evaluate command and the library all come this way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from prompt_optimization.models.engine import Decoding, Outcome
from prompt_optimization.models.model import Model
from prompt_optimization.models.template import PromptTemplate
from prompt_optimization.scoring.finalists import Ensemble, Finalist, Text, vote
from prompt_optimization.scoring.ledger import Ledger
from prompt_optimization.scoring.settings import METRICS
from prompt_optimization.scoring.statistics import Estimate, paired_difference, share
from prompt_optimization.tasks.answers import flexible_match, strict_match
from prompt_optimization.tasks.examples import Example


@dataclass(frozen=True)
class HeldOut:
    """One finalist's accuracy on one split, each figure with its 95 % interval.

    Attributes:
        prompt: the finalist's name; of a text, the text.
        hits: per metric, whether each row was right. ``strict`` and ``flexible`` read what the
            model wrote after the extractor; ``teacher_forced`` asks whether every token of the
            reference answer was its first choice (see ``Outcome.mistake``).
        loss: mean answer cross-entropy over rows, in nats.
        written: per row the question, the reasoning, the answer, the reference and the loss.
    """

    prompt: str
    hits: dict[str, list[bool]]
    loss: float
    written: list[dict[str, Any]] = field(default_factory=list, compare=False)

    @property
    def accuracy(self) -> dict[str, Estimate]:
        return {metric: share(hits) for metric, hits in self.hits.items()}

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
    def rows(self) -> list[dict[str, Any]]:
        """Per row what was written, and 1 or 0 under each metric."""
        marks = zip(*(self.hits[metric] for metric in METRICS), strict=True)
        return [
            row | {metric: int(hit) for metric, hit in zip(METRICS, hits, strict=True)}
            for row, hits in zip(self.written, marks, strict=True)
        ]

    def minus(self, other: HeldOut, metric: str = "strict") -> Estimate:
        """The paired difference to another finalist on the same rows, with its 95 % interval;
        zero without one where it is the same finalist.

        Raises:
            ValueError: they were asked other questions.
        """
        if [row["question"] for row in self.written] != [row["question"] for row in other.written]:
            raise ValueError("the two prompts were evaluated on different questions")
        return difference(other, self, metric)

    def __str__(self) -> str:
        value = self.strict
        return (
            f"{100 * value.value:.1f} % [{100 * value.low:.1f}, {100 * value.high:.1f}] "
            f"of {value.n} right: {self.prompt}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        accuracy = {metric: asdict(estimate) for metric, estimate in self.accuracy.items()}
        return {"prompt": self.prompt, **accuracy, "loss": self.loss, "rows": self.rows}

    def record(self) -> dict[str, Any]:
        """As the log holds it; ``hits`` has a 1 for every right row and a 0 for every wrong one."""
        return {
            "prompt": self.prompt,
            "loss": self.loss,
            **{metric: asdict(estimate) for metric, estimate in self.accuracy.items()},
            "hits": {
                metric: "".join(str(int(hit)) for hit in hits) for metric, hits in self.hits.items()
            },
        }

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts best first: by strictly right rows; the lower answer loss decides among equals."""
        return -sum(self.hits["strict"]), self.loss


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
    ) -> None:
        """
        Args:
            decoding: with ``answer_tokens``, so that answers are written.
        """
        assert decoding.answer_tokens, "held-out scoring reads written answers"
        self.model = model
        self.template = template
        self.decoding = decoding
        self.ledger = ledger or Ledger()

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
        return read_answers(finalist.name, examples, outcomes, self.model.tokenizer)

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


def best_on(results: Iterable[HeldOut]) -> HeldOut:
    """The result that ranks first."""
    return min(results, key=lambda result: result.rank)


def difference(before: HeldOut, after: HeldOut, metric: str) -> Estimate:
    """The paired difference ``after - before`` on the same rows; exactly zero for one prompt."""
    if before.prompt == after.prompt:
        return Estimate(0.0, 0.0, 0.0, len(after.hits[metric]))
    return paired_difference(before.hits[metric], after.hits[metric])


def compare(initial: HeldOut, best: HeldOut) -> dict[str, Any]:
    """Per metric the paired difference ``best - initial``, as the log holds it."""
    return {metric: asdict(difference(initial, best, metric)) for metric in METRICS}


def read_answers(
    name: str,
    examples: Sequence[Example],
    outcomes: Sequence[Outcome],
    tokenizer: PreTrainedTokenizerBase,
) -> HeldOut:
    """Read the answers in ``outcomes``, one an example."""
    hits: dict[str, list[bool]] = {metric: [] for metric in METRICS}
    written = []
    for example, outcome in zip(examples, outcomes, strict=True):
        assert outcome.answer is not None, "decode with answer_tokens to read answers"
        hits["strict"].append(strict_match(outcome.answer, example.answer))
        hits["flexible"].append(flexible_match(outcome.answer, example.answer))
        hits["teacher_forced"].append(not outcome.mistake)
        written.append(
            {
                "question": example.question,
                "reasoning": tokenizer.decode(list(outcome.reasoning), skip_special_tokens=True),
                "answer": outcome.answer,
                "reference": example.answer,
                "loss": outcome.loss,
            }
        )
    loss = sum(outcome.loss for outcome in outcomes) / len(outcomes)
    return HeldOut(name, hits, loss, written)
