"""What a run is called beside others: its task, and what was different in its search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prompt_optimization.runs.config import all_keys
from prompt_optimization.tasks.hub import stem_of
from prompt_optimization.tasks.registry import task_of

# The paper's initial prompts: the usual one and that of its ablation (sections 4.1 and 5).
DEFAULT_PROMPT = (
    " proper logical reasoning and think step by step. Finally give the actual correct answer."
)
MISLEADING_PROMPT = " no thinking just feeling."

METRIC_OPTIONS = ("task.pattern", "task.tolerance", "task.field", "task.over_references")


def task_name(train_data: str | Path) -> str:
    """The task of the paper that a file's name stands for, or else its name."""
    task = task_of(train_data)
    return task.name if task else stem_of(train_data)


def search_settings(params: dict[str, Any]) -> dict[str, str]:
    """The settings of a search that make a variant of it and that its name does not tell."""
    keys = all_keys()
    return {
        name: str(value) for name, value in params.items() if name not in keys or keys[name].variant
    }


def search_variant(params: dict[str, Any]) -> str:
    """How a search differed from the method as it is; empty when it did not."""
    words = [
        word
        for name, each in all_keys().items()
        for value, word in each.named.items()
        if name in params and params[name] == value
    ]
    return ", ".join(words)


def start_variant(control_init: str) -> str:
    """Which initial prompt a search began with; empty for the usual one."""
    # Only now: this loads transformers, which whoever lists runs does without.
    from prompt_optimization.models.layout import Layout

    initial = Layout.normalise(control_init)
    if initial == DEFAULT_PROMPT:
        return ""
    if initial == MISLEADING_PROMPT:
        return "misleading initial prompt"
    return f"initial prompt '{initial.strip()}'"


def metric_label(params: dict[str, Any]) -> str:
    """The metric that counts, with what it was made with."""
    keys = all_keys()
    name = str(params.get("metric", keys["metric"].default))
    made_with = [
        f"{keys[option].attribute}={params[option]!r}"
        for option in METRIC_OPTIONS
        if params.get(option, keys[option].default) != keys[option].default
    ]
    return f"{name} ({', '.join(made_with)})" if made_with else name
