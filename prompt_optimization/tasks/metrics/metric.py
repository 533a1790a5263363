"""A metric: from what a model wrote and the references to a value between 0 and 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.cells import shown
from prompt_optimization.tasks.table import Example

# (written text, references) -> value; any of the references is as right as the others.
Function = Callable[[str, Sequence[str]], float]

# How far a sum of parts that should be 1 may be from it.
SLACK = 1e-6

# Examples on whose texts a function of the user's is tried.
TRIED = 3


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: what logs and reports call it.
        function: what it computes; its value is 1 for a right text and 0 for a wrong one.
        reads_beginning: it reads the answer at the beginning of a text, and so needs an extractor
            that makes the model begin with it.
        demand: what a reference has to be and is not, in words; None where it can be used.
        finds: whether there is anything in a text that the metric looks at.
        own: the function is the user's, of which a name says little.
    """

    name: str
    function: Function
    reads_beginning: bool = False
    demand: Callable[[str], str | None] = lambda reference: None
    finds: Callable[[str], bool] = lambda text: True
    own: bool = False

    def value(self, text: str, example: Example) -> float:
        """What ``text`` is worth as an answer to ``example``.

        Raises:
            InputError: the function failed, or gave something else than a number from 0 to 1.
        """
        where = f"row {example.row} for the text {shown(text)}"
        try:
            found = self.function(text, example.references)
        except Exception as error:
            raise InputError(
                f"the metric '{self.name}' raised {type(error).__name__} ({error}) on {where}; let "
                "it give a value to every text",
                key="metric",
            ) from error
        try:
            number = float("nan") if isinstance(found, str) else float(found)
        except (TypeError, ValueError):
            number = float("nan")
        if not -SLACK <= number <= 1 + SLACK:
            raise InputError(
                f"the metric '{self.name}' gave {shown(found)} on {where}; let it return a number "
                "from 0 to 1",
                key="metric",
            )
        return min(1.0, max(0.0, number))

    def fingerprint(self, examples: Sequence[Example]) -> list[float]:
        """What it gives to some texts, to five digits: two functions of one name give others.

        Raises:
            InputError: see ``value``.
        """
        return [
            float(f"{self.value(text, example):.5g}")
            for example in [each for each in examples if each.labelled][:TRIED]
            for text in (example.answer, example.question, "")
        ]

    def check(self, examples: Iterable[Example]) -> None:
        """Refuse examples that nothing could be right for.

        Raises:
            InputError: an example has no reference that the metric reads.
        """
        for example in examples:
            if not example.labelled:
                continue
            problems = [self.demand(reference) for reference in example.references]
            if all(problems):
                raise InputError(
                    f"the answer {shown(example.answer)} of row {example.row} {problems[0]}, as "
                    f"the metric '{self.name}' needs; change it, or choose another metric",
                    key="metric",
                )

    def nothing_found(self, examples: Sequence[Example], texts: Sequence[str]) -> str | None:
        """A sentence where none of ``texts`` holds anything that the metric looks at; else None."""
        if any(map(self.finds, texts)):
            return None
        return (
            f"the metric '{self.name}' finds nothing in any of the {len(texts)} answers, such as "
            f"{shown(texts[0])} on row {examples[0].row}, so all of them are wrong; correct what "
            "it looks for, or let the prompt ask for it"
        )


def best(one: Callable[[str, str], float]) -> Function:
    """``one`` of a text and a reference, as a function of all references: the best of them."""
    return lambda text, references: max(one(text, reference) for reference in references)


def mean(one: Callable[[str, str], float]) -> Function:
    """As ``best``, but the mean over all references."""
    return lambda text, references: fmean(one(text, reference) for reference in references)


# What a value over several references may be.
OVER_REFERENCES = {"best": best, "mean": mean}


def called(metric: str) -> str:
    """What a metric makes of an answer, after a share: it is right, unless another one than the
    usual counts."""
    return "right" if metric == "strict" else f"by {metric.replace('_', ' ')}"
