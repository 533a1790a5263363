"""A prompt with all that is needed to use it and to judge it, as JSON holds it."""

from __future__ import annotations

from typing import Any

from prompt_optimization.report.found import Found
from prompt_optimization.report.verdict import verdict_of
from prompt_optimization.runs.naming import metric_label, task_name
from prompt_optimization.runs.store.log import method_of, run_id


def prompt_record(run: Found, prompt: str) -> dict[str, Any]:
    """``prompt`` of ``run``: the chat in which it stands, the extractor after the reasoning, and
    what is measured of the run."""
    log, verdict = run.log, verdict_of(run.log)
    elected = prompt == (log["evaluation"] or {}).get("chosen")
    params, environment = log["params"], log["environment"]
    return {
        "prompt": prompt.strip(),
        "messages": run.messages(prompt),
        "extractor": params["extractor_text"],
        "extractor_separator": params.get("extractor_separator", " "),
        "max_new_tokens": params["max_new_tokens"],
        "answer_tokens": params["answer_tokens"],
        "metric": metric_label(params),
        "task": task_name(params["train_data"]),
        "model": environment["model"],
        "method": method_of(log),
        "run": run_id(log),
        "log": str(run.path),
        "status": log["status"],
        # Test rows were looked at once, for the prompt that dev has elected.
        "verdict": verdict.sentence if elected else None,
        "gain": verdict.gain_record() if elected else None,
        "rows": verdict.rows if elected else 0,
    }
