"""A run's prompt as the saved state of a ``dspy.Predict("question -> answer")``."""

from __future__ import annotations

import json
from typing import Any

from prompt_optimization.report.found import Found

# What stands between question and prompt in the paper's template and means nothing without them.
_JOINT = " .,;:\n"


def state(run: Found) -> tuple[str, list[str]]:
    """What ``dspy.Predict.load`` reads, and what it does not carry, a sentence each.

    Raises:
        InputError: the run has no prompt that is a text.
    """
    saved: dict[str, Any] = {
        "traces": [],
        "train": [],
        "demos": [],
        "signature": {
            "instructions": instruction(run, run.chosen),
            "fields": [
                {"prefix": "Question:", "description": "${question}"},
                {"prefix": "Answer:", "description": "${answer}"},
            ],
        },
        "lm": None,
        "metadata": {"dependency_versions": {}},
    }
    notes = ["dspy writes instructions into the system turn, in a chat of its own"]
    if run.log["params"]["extractor_text"].strip():
        notes.append("dspy asks once, so the extractor is not written after the reasoning")
    notes.append("figures that are measured there are not those of the log")
    return json.dumps(saved, ensure_ascii=False, indent=1) + "\n", notes


def instruction(run: Found, prompt: str) -> str:
    """``prompt`` with the words that stand around it in its turn, without the question."""
    (turn,) = (turn for turn in run.turns(_MARK) if _MARK in turn.content)
    words = turn.content.replace("{question}", "").strip(_JOINT)
    return words.replace(_MARK, prompt.strip())


_MARK = "\ue000"
