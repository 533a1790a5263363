"""Runs for a tracker: from a log, or from a run while it lasts.

A tracker is sent what the log holds, and not before the log holds it. It knows a run by the log's
id. When a run is resumed, everything is sent again, because steps may have been cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prompt_optimization.runs.naming import task_name
from prompt_optimization.runs.observers import Begin, End, Observer, StepDone
from prompt_optimization.runs.store.log import method_of, metric_of, read_log, run_id
from prompt_optimization.runs.trackers import TRACKERS, Head, Tracker


class Track(Observer):
    """Sends a run to a tracker while it lasts, or all of it from its log."""

    def __init__(self, name: str) -> None:
        """
        Args:
            name: of ``TRACKERS``. Its package is imported when the run begins, so that one that
                is broken ends nothing.
        """
        self._name = name
        self._tracker: Tracker | None = None
        self._prompts: list[dict[str, Any]] = []

    def begin(self, event: Begin) -> None:
        assert event.log is not None, "a run without a log is tracked by nobody"
        self.send(event.log, read_log(event.log))

    def step(self, event: StepDone) -> None:
        self._step(event.record)

    def end(self, event: End) -> None:
        self.close(event.data)

    def send(self, path: Path, log: Mapping[str, Any]) -> None:
        """Send a log as far as its steps go, in place of what the tracker has of the run.

        Raises:
            Exception: whatever the tracker raises.
        """
        self._tracker = self._tracker or TRACKERS[self._name][0]()
        self._tracker.open(head_of(path, log))
        self._prompts = []
        for record in log["steps"]:
            self._step(record)

    def close(self, log: Mapping[str, Any]) -> None:
        """Send what was measured in the end, and finish.

        Raises:
            Exception: whatever the tracker raises.
        """
        if self._tracker is None:
            return  # The run has ended before it began.
        if figures := held_out_figures(log):
            self._tracker.log(figures, max(0, len(log["steps"]) - 1))
        self._tracker.close(self._prompts)

    def _step(self, record: Mapping[str, Any]) -> None:
        assert self._tracker is not None
        self._tracker.log(step_figures(record), int(record["step"]))
        self._prompts.extend(tried_prompts(record))


def head_of(path: Path, log: Mapping[str, Any]) -> Head:
    """What a tracker is told of a run first."""
    environment, params = log["environment"], log["params"]
    facts = {
        "method": method_of(log),
        "task": task_name(params["train_data"]),
        "model": environment["model"],
        "weights": environment["weights"],
        "host": log["sessions"][-1].get("host"),
        "log": str(path),
    }
    settings = {key: value for key, value in params.items() if value not in ("", (), [], {}, None)}
    return Head(path.stem, run_id(log), path.parent, settings | facts)


def step_figures(record: Mapping[str, Any]) -> dict[str, float]:
    """What a step has in numbers: the incumbent, the best objective, and what it cost."""
    incumbent = record["incumbent"]
    found = {
        "objective": incumbent.get("objective"),
        "best_objective": record.get("best_objective"),
        "mistakes": incumbent.get("mistakes"),
        "prompt_nll": incumbent.get("nll"),
        "accepted": float(record["accepted"]),
        "evaluations": record.get("evaluations"),
        "seconds": sum(record["seconds"].values()),
    }
    found |= {f"seconds/{phase}": value for phase, value in record["seconds"].items()}
    found |= {f"tokens/{kind}": value for kind, value in record["tokens"].items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def held_out_figures(log: Mapping[str, Any]) -> dict[str, float]:
    """What the elected prompt is worth on test rows, in percent; nothing before it is measured."""
    test = (log["evaluation"] or {}).get("test")
    if not test:
        return {}
    metric, found = metric_of(test["best"]), {}
    for name, key in (("initial", "initial"), ("found", "best"), ("gain", "difference")):
        for part in ("value", "low", "high"):
            suffix = "" if part == "value" else f"_{part}"
            found[f"test/{name}{suffix}"] = 100 * float(test[key][metric][part])
    return found


def tried_prompts(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The prompts of a step, a row each."""
    taken = record["incumbent"]["prompt"] if record["accepted"] else None
    return [
        {
            "step": record["step"],
            "label": each["label"],
            "objective": each["objective"],
            "capped": each["capped"],
            "accepted": each["prompt"] == taken,
            "prompt": each["prompt"].strip(),
        }
        for each in record.get("tried", ())  # logs from before there were several methods have none
    ]
