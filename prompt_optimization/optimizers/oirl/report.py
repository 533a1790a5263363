"""The report of all stages as text: a table for the screen, and rows with the published columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prompt_optimization.scoring.statistics import in_points

# The release's columns, each with the figure that stands in it; nothing is known of the others.
PUBLISHED = {
    "Training Best": "best_on_test",
    "IRL 0": "irl0",
    "All Mixed": "mixed",
    "IRL 10": "irl10",
    "IRL 100": "",
}
UNKNOWN = ("LLM Confidence w/ Test Prompts", "LLM Confidence Train Prompts", "LLM combined")
OURS = {
    "Best Single": "best_single",
    "Nearest Neighbours": "neighbours",
    "Lookup": "lookup",
    "Oracle": "oracle",
}
REWARD = {"Base Rate": "base_rate", "Accuracy": "accuracy", "AUC": "auc", "Log-Loss": "log_loss"}
NAMES = {
    "best_single": "best prompt by training",
    "irl0": "IRL 0",
    "irl10": "IRL 10",
    "heldout": "held-out prompts only",
    "mixed": "all mixed",
    "neighbours": "nearest questions",
    "lookup": "lookup of training answers",
    "best_on_test": "best prompt by test",
    "oracle": "oracle",
}


def to_csv(sets: Sequence[Mapping[str, Any]]) -> str:
    """A row for each number of training prompts: means and deviations over its sets of prompts.

    The released file has the columns up to ``LLM combined`` under the same names.
    """
    columns = ["X"]
    for name in PUBLISHED:
        columns += [f"{name} Mean", f"{name} Std"]
    columns += UNKNOWN
    for name in (*OURS, *REWARD):
        columns += [f"{name} Mean", f"{name} Std"]
    columns += ["IRL 0 Gain", "IRL 0 Gain Low", "IRL 0 Gain High", "Questions"]
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    for size in sorted({len(each["prompts"]) for each in sets}):
        own = [each for each in sets if len(each["prompts"]) == size]
        row: dict[str, Any] = {"X": size}
        for name, figure in {**PUBLISHED, **OURS}.items():
            values = [each["choices"].get(figure, {}).get("value") for each in own]
            row |= _mean_and_deviation(name, values)
        for name, figure in REWARD.items():
            row |= _mean_and_deviation(name, [each["seen"].get(figure) for each in own])
        if len(own) == 1 and "irl0" in own[0]["choices"]:
            chosen = own[0]["choices"]["irl0"]
            gain = chosen["gain"]
            row |= {"IRL 0 Gain": gain["value"], "IRL 0 Gain Low": gain["low"],
                    "IRL 0 Gain High": gain["high"], "Questions": chosen["n"]}  # fmt: skip
        writer.writerow(row)
    return file.getvalue()


def lines(report: Mapping[str, Any]) -> list[str]:
    """What the screen shows of a report."""
    split, whole = report["split"], report["sets"][-1]
    found = [
        f"{split['fit']} questions to fit, {split['validation']} to stop and calibrate, "
        f"{split['test']} to measure",
        f"of {split['table_rows']} rows, {split['table_repeats']} repeat a question; "
        f"{split['repeated']} of {split['test']} test questions are also learnt from",
    ]
    if split["own_test"]:
        found.append(
            f"the table's own split: {split['own_repeated']} of {split['own_test']} test rows ask "
            "what a training row asks"
        )
    for name, title in (("seen", "training prompts"), ("heldout", "held-out prompts")):
        if figures := whole[name]:
            auc = "unknown" if figures["auc"] is None else f"{figures['auc']:.3f}"
            found.append(
                f"{whole['kind']} on {title}: accuracy {figures['accuracy']:.3f} (always the same: "
                f"{figures['always']:.3f}), AUC {auc}, log-loss {figures['log_loss']:.3f}"
            )
    for name, each in whole["choices"].items():
        gain = each["gain"]
        over = "" if name == "best_single" else f"   {in_points(gain)}"
        found.append(
            f"{NAMES[name]:28}{100 * each['value']:5.1f} % "
            f"[{100 * each['low']:.1f}, {100 * each['high']:.1f}] of {each['n']}{over}"
        )
    return found + [f"warning: {text}" for text in report["warnings"]]


def _mean_and_deviation(name: str, values: Sequence[float | None]) -> dict[str, float]:
    known = [value for value in values if value is not None]
    if not known:
        return {}
    return {f"{name} Mean": float(np.mean(known)), f"{name} Std": float(np.std(known))}
