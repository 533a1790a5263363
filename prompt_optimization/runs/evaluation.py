"""Held-out evaluation: what the found prompts are worth on rows that the search never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from prompt_optimization.models.engine import Decoding, Outcome
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.team import Team
from prompt_optimization.models.worker import Wording
from prompt_optimization.runs.statistics import Estimate, paired_difference, share
from prompt_optimization.tasks.answers import flexible_match, strict_match
from prompt_optimization.tasks.examples import Example

METRICS = ("strict", "flexible", "teacher_forced")


@dataclass(frozen=True)
class HeldOut:
    """One prompt on one split: per metric, whether each row was right.

    ``strict`` and ``flexible`` read what the model wrote behind the extractor;
    ``teacher_forced`` asks whether every token of the reference answer was its first choice.
    """

    prompt: str
    hits: dict[str, list[bool]]
    loss: float

    @property
    def accuracy(self) -> dict[str, Estimate]:
        return {metric: share(hits) for metric, hits in self.hits.items()}

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


@dataclass(frozen=True)
class Split:
    """Rows for evaluation as a team reads them."""

    team: Team
    wording: Wording
    examples: tuple[Example, ...]

    def evaluate(self, prompt: str, ids: Ids, decoding: Decoding) -> HeldOut:
        """Score a prompt, given as text and ids, on every row."""
        outcomes = self.team.held_out(self.wording, self.examples, prompt, ids, decoding)
        return held_out(prompt, self.examples, outcomes)


def rank(result: HeldOut) -> tuple[int, float]:
    """Sorts best first: by strictly right rows; the lower answer loss decides among equals."""
    return -sum(result.hits["strict"]), result.loss


def best_on(results: Sequence[HeldOut]) -> HeldOut:
    """The result that ranks first."""
    return min(results, key=rank)


def difference(before: HeldOut, after: HeldOut, metric: str) -> Estimate:
    """The paired difference ``after - before`` on the same rows; exactly zero for one prompt."""
    if before.prompt == after.prompt:
        return Estimate(0.0, 0.0, 0.0, len(after.hits[metric]))
    return paired_difference(before.hits[metric], after.hits[metric])


def compare(initial: HeldOut, best: HeldOut) -> dict[str, Any]:
    """Per metric the paired difference ``best - initial``, as the log holds it."""
    return {metric: asdict(difference(initial, best, metric)) for metric in METRICS}


def written(
    tokenizer: PreTrainedTokenizerBase, example: Example, outcome: Outcome
) -> dict[str, str | None]:
    """What a model was asked and wrote, as text."""
    return {
        "question": example.question,
        "reasoning": tokenizer.decode(list(outcome.reasoning), skip_special_tokens=True),
        "answer": outcome.answer,
        "reference": example.answer,
    }


def held_out(text: str, examples: Sequence[Example], outcomes: Sequence[Outcome]) -> HeldOut:
    """Read the answers in ``outcomes``, one an example."""
    hits: dict[str, list[bool]] = {metric: [] for metric in METRICS}
    for example, outcome in zip(examples, outcomes, strict=True):
        assert outcome.answer is not None, "decode with answer_tokens to evaluate"
        hits["strict"].append(strict_match(outcome.answer, example.answer))
        hits["flexible"].append(flexible_match(outcome.answer, example.answer))
        hits["teacher_forced"].append(not outcome.mistake)
    return HeldOut(text, hits, sum(outcome.loss for outcome in outcomes) / len(outcomes))
