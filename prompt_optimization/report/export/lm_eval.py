"""A run's prompt as a task of lm-evaluation-harness: a YAML file, and its rows beside it."""

from __future__ import annotations

import re
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.report.export.rows import (
    as_json_lines,
    measured_rows,
    plain_name,
    quoted,
)
from prompt_optimization.report.found import Found
from prompt_optimization.runs.config import all_keys
from prompt_optimization.runs.naming import METRIC_OPTIONS
from prompt_optimization.runs.store.log import run_id
from prompt_optimization.tasks.examples import Example

TASK = "prompt_optimization.report.export.lm_eval_task.ExportedTask"
ROWS = "rows.jsonl"

# The special token with which a chat template ends the user's turn, and models end theirs.
_END_OF_TURN = re.compile(r"\s*(<[^<>\s]+>)")


def files(run: Found) -> tuple[dict[str, str], list[str]]:
    """The files of the task by name, and what the task does not carry, a sentence each.

    Raises:
        InputError: the run cannot be a task of lm-eval, or its rows are gone.
    """
    chat, params = run.log["environment"]["chat_template"], run.log["params"]
    if chat["name"] == "plain":
        raise InputError(
            f"the model of the run in '{run.path}' has no chat template, and lm-eval hands a task "
            "its model only together with one; measure with greater evaluate, or export a text",
            key="to",
        )
    prompt, examples = run.chosen, measured_rows(run)
    name = f"greater_{plain_name(run)}"
    split = "test" if run.log["evaluation"]["test"] else "dev"
    metadata = {
        "version": 1.0,
        "rows": ROWS,
        "turns": run.messages(prompt),
        "extractor": _opening(params),
        "reasoning_tokens": params["max_new_tokens"],
        "answer_tokens": params["answer_tokens"],
        "until": _END_OF_TURN.findall(chat["after"])[:1],
        "metric": params.get("metric", "strict"),
        "metric_options": {
            all_keys()[key].attribute: params[key] for key in METRIC_OPTIONS if key in params
        },
        "run": run_id(run.log),
        "split": split,
        "model": run.log["environment"]["model"],
        "dtype": run.log["environment"]["dtype"],
    }
    task = [
        "# An exported prompt. In the folder above, with greater-prompt-optimization installed:",
        f"#   lm_eval run --model hf --model_args pretrained=...,dtype={metadata['dtype']} \\",
        f"#       --tasks {name} --include_path . --apply_chat_template",
        f"task: {name}",
        f"class: !function {TASK}",
        "output_type: generate_until",
        "num_fewshot: 0",
        f"generation_kwargs: {quoted({'until': metadata['until'], 'do_sample': False})}",
        "metadata:",
        *(f"  {key}: {quoted(value)}" for key, value in metadata.items()),
    ]
    written = {f"{name}.yaml": "\n".join(task) + "\n", ROWS: as_json_lines(examples)}
    return written, _not_carried(run, examples)


def _opening(params: dict[str, Any]) -> str:
    """What stands between reasoning and answer; empty where the reasoning is the answer.

    White space at its end is left out: nearly every tokenizer gives it to the answer's first token.
    """
    extractor = str(params["extractor_text"])
    if not extractor.strip():
        return ""
    separator = "" if extractor[:1].isspace() else params.get("extractor_separator", " ")
    return (str(separator) + extractor).rstrip()


def _not_carried(run: Found, examples: tuple[Example, ...]) -> list[str]:
    params, environment = run.log["params"], run.log["environment"]
    chat = environment["chat_template"]
    found = []
    if chat["name"] != "tokenizer":
        found.append(
            f"lm-eval writes the tokenizer's own chat template, and the run had '{chat['name']}'"
        )
    if arguments := params.get("chat_template_kwargs"):
        found.append(
            f"give the chat template its arguments: --model_args ...,chat_template_args="
            f"{quoted(arguments)}"
        )
    elif chat.get("dated"):
        found.append("the chat template writes today's date, so the text is another one tomorrow")
    if params.get("reasoning.temperature"):
        found.append("the run drew its reasoning, and the task takes the likeliest tokens")
    if "<think>" in chat["after"] or "[THINK]" in chat["after"]:
        found.append("thinking that the limit cuts is not closed before the extractor")
    if adapter := next(filter(None, params.get("model.adapters") or ()), None):
        found.append(f"the model has the adapter: --model_args ...,peft={adapter}")
    longest = max(len(reference) for example in examples for reference in example.references)
    if params["extractor_text"].strip() and longest > params["answer_tokens"]:
        found.append(
            f"answers are cut after {params['answer_tokens']} tokens, and here after as many as "
            "the longest reference takes where that is more"
        )
    return found
