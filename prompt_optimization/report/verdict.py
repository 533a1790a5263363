"""Is the found prompt better? What a log's test rows say, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prompt_optimization.runs.store.log import metric_of
from prompt_optimization.scoring.statistics import in_points
from prompt_optimization.tasks.metrics.metric import called

YES, NO, UNDECIDED, UNMEASURED = "yes", "no", "undecided", "unmeasured"


@dataclass(frozen=True)
class Verdict:
    """What a run found, as far as it is measured.

    Attributes:
        answer: ``yes``: the 95 % interval of the gain is above zero; ``no``: the initial prompt was
            kept, or the interval is below zero; ``undecided``: it holds zero; ``unmeasured``: no
            test rows were scored.
        sentence: the same with its figures, to be read as it is.
        gain: by how many points the found prompt is better on test rows, with its 95 % interval;
            None where it is not measured.
        initial, found: the values of both prompts, in percent, with their 95 % intervals.
        rows: test rows; 0 where it is not measured.
        metric: that counts.
    """

    answer: str
    sentence: str
    gain: tuple[float, float, float] | None = None
    initial: tuple[float, float, float] | None = None
    found: tuple[float, float, float] | None = None
    rows: int = 0
    metric: str = ""

    def gain_record(self) -> dict[str, float] | None:
        """The gain as JSON holds it."""
        return self.gain and dict(zip(("value", "low", "high"), self.gain, strict=True))


def verdict_of(log: Mapping[str, Any]) -> Verdict:
    """The verdict of a run, finished or not.

    Args:
        log: as ``read_log`` returns it.
    """
    evaluation = log["evaluation"] or {}
    if not evaluation.get("test"):
        return Verdict(UNMEASURED, _why_unmeasured(log))
    test = evaluation["test"]
    metric = metric_of(test["best"])
    gain, before, after = (_percent(test[key][metric]) for key in ("difference", "initial", "best"))
    rows = int(test["best"][metric]["n"])
    _, low, high = gain
    measured = f"{in_points(test['difference'][metric])} on {rows} test rows"
    both = f"{before[0]:.1f} % to {after[0]:.1f} % {called(metric)}"
    if test["initial"]["prompt"] == test["best"]["prompt"]:
        answer, sentence = (
            NO,
            (
                f"No: nothing better than the initial prompt was found. It has {after[0]:.1f} % "
                f"{called(metric)} on {rows} test rows."
            ),
        )
    elif low > 0:
        answer, sentence = YES, f"Yes: the found prompt is better. {measured}, from {both}."
    elif high < 0:
        answer, sentence = NO, f"No: the found prompt is worse. {measured}, from {both}."
    else:
        answer, sentence = (
            UNDECIDED,
            (
                f"Undecided: {measured}, from {both}. The interval holds zero, so that this may be "
                "chance; more test rows would tell."
            ),
        )
    return Verdict(answer, sentence, gain, before, after, rows, metric)


def _why_unmeasured(log: Mapping[str, Any]) -> str:
    if "test" not in log["environment"].get("rows", {}):
        return (
            "Not measured: the run has no test rows, so nothing tells whether what was found is "
            "better on other questions."
        )
    if log["status"] == "finished":
        return "Not measured: no test rows were scored."
    return "Not measured yet: test rows are scored in the end."


def _percent(estimate: Mapping[str, Any]) -> tuple[float, float, float]:
    return 100 * estimate["value"], 100 * estimate["low"], 100 * estimate["high"]
