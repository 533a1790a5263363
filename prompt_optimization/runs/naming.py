"""What a run is called beside others: its task, and what was done otherwise in its search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prompt_optimization.models.layout import Layout
from prompt_optimization.runs.resume import FREE
from prompt_optimization.tasks.registry import task_of

# The paper's initial prompts: the usual one and that of its ablation (sections 4.1 and 5).
DEFAULT_PROMPT = (
    " proper logical reasoning and think step by step. Finally give the actual correct answer."
)
MISLEADING_PROMPT = " no thinking just feeling."


def task_name(train_data: str | Path) -> str:
    """The task of the paper that a file's name stands for, or else its name."""
    stem = Path(train_data).stem
    task = task_of(stem)
    return task.name if task else stem


# What a search may do otherwise without being another variant: where its rows come from, and what
# the variants are named for.
_NOT_SETTINGS = FREE | {
    "seed", "train_data", "test_data", "data_offset", "n_dev_data", "n_test_data", "model_paths",
    "tokenizer_paths", "model_kwargs", "tokenizer_kwargs", "conversation_templates",
    "chat_template_kwargs", "dtype", "trust_remote_code", "extractor_text", "extractor_style",
    "extractor_separator", "connector", "answer_tokens", "max_new_tokens", "control_init",
    "shortlist", "reasoning_gradient", "behaviour", "deterministic", "test_steps",
}  # fmt: skip


def search_settings(params: dict[str, Any]) -> dict[str, str]:
    """The settings of a search that a variant's name does not tell."""
    return {key: str(value) for key, value in params.items() if key not in _NOT_SETTINGS}


def search_variant(params: dict[str, Any]) -> str:
    """How a search differed from the method as it is; empty when it did not."""
    words = []
    if not params["reasoning_gradient"]:
        words.append("no reasoning gradient")
    if params["shortlist"] != "gradient":
        words.append(
            {"random": "random shortlist", "proposal": "likeliest proposals"}[params["shortlist"]]
        )
    if params["behaviour"] != "sound":
        words.append(f"{params['behaviour']} behaviour")
    return ", ".join(words)


def start_variant(control_init: str) -> str:
    """Which initial prompt a search began with; empty for the usual one."""
    initial = Layout.normalise(control_init)
    if initial == DEFAULT_PROMPT:
        return ""
    if initial == MISLEADING_PROMPT:
        return "misleading initial prompt"
    return f"initial prompt '{initial.strip()}'"
