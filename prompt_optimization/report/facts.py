"""What the page shows of a run, as JSON can hold it. Texts stay texts: the page shows them as such.

A log may be of any method, of a run that has just begun, and of an older version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from prompt_optimization.optimizers.registry import figures_of
from prompt_optimization.optimizers.stoppers import BUDGETS, StopSettings
from prompt_optimization.report.names import method_name
from prompt_optimization.report.published import model_name
from prompt_optimization.report.verdict import verdict_of
from prompt_optimization.report.word_diff import SAME, Piece, word_diff
from prompt_optimization.runs.naming import search_variant, task_name
from prompt_optimization.runs.store.log import found_prompt, method_of, metric_of, turns_in
from prompt_optimization.tasks.metrics.metric import called

Facts = dict[str, Any]

# Characters of what a step tried, and of what stays around a change, that the page gets.
LONGEST_LABEL = 300
AROUND = 60


def headline(log: Mapping[str, Any]) -> Facts:
    """What the list of runs says of one, but for its status."""
    params, environment = log["params"], log["environment"]
    initial, best = log["initial"], log["best"]
    return {
        "method": method_name(method_of(log)),
        "variant": search_variant(params),
        "task": task_name(str(params.get("train_data", ""))) or "rows in memory",
        "model": model_name(str(environment.get("model", ""))),
        "seed": environment.get("seed"),
        "started": str(log["sessions"][0]["started"]),
        "error": log.get("error"),
        "ended": log["ended"],
        "steps": len(log["steps"]),
        "max_steps": params.get("n_steps"),
        "objective": [each["objective"] for each in (initial, best[0])] if best else None,
        "prompt": _short(found_prompt(log).strip(), LONGEST_LABEL) if best else None,
        "verdict": asdict(verdict_of(log)),
    }


def details(log: Mapping[str, Any]) -> Facts:
    """What the page says of one run, but for its steps."""
    return {
        "prompts": _prompts(log),
        "rows": {name: len(rows) for name, rows in log["environment"].get("rows", {}).items()},
        "initial": _scored(log["initial"]) if log["initial"] else None,
        "budget": _budget(log),
        "seconds": _seconds(log["steps"]),
        "held_out": _held_out(log),
        "flips": _flips(log),
        "figure": figure(method_of(log), [log]),
        "template": [asdict(turn) for turn in turns_in(log)],
        "sessions": log["sessions"],
        "environment": log["environment"],
        "params": log["params"],
    }


def steps(log: Mapping[str, Any], first: int = 0) -> list[Facts]:
    """The steps from number ``first`` on."""
    found = []
    before, best = log["initial"], log["initial"]
    for number, step in enumerate(log["steps"]):
        now = step["incumbent"]
        # Of incumbents on as many rows, the one with the lowest objective.
        best = min(best, now, key=lambda each: (-each["samples"], each["objective"]))
        if number >= first:
            found.append(
                {
                    "step": step["step"] + 1,
                    "accepted": step["accepted"],
                    **_scored(now),
                    "best": _scored(best),
                    "change": _excerpt(word_diff(before["prompt"], now["prompt"])),
                    "tried": [_tried(each, now["prompt"], step) for each in tried_of(step)],
                    "where": step.get("position"),
                    "events": step["events"],
                    "dropped": step.get("dropped") or {},
                    "seconds": sum(step["seconds"].values()),
                }
            )
        before = now
    return found


def tried_of(step: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a step tried; logs of when there was one method have it among its own keys."""
    return [
        {"label": each.get("label", each.get("text", "")), **each}
        for each in step.get("tried") or step.get("shortlist", ())
    ]


def figure(method: str, logs: Sequence[Mapping[str, Any]]) -> Facts | None:
    """What ``method`` plots of ``logs`` beside what all methods have; None where that is
    nothing."""
    own = figures_of(method)
    points = own.points(logs) if own else []
    if own is None or not points:
        return None
    x, y = own.AXES
    return {"heading": own.HEADING, "x": x, "y": y, "points": points, "note": own.note(points)}


def _prompts(log: Mapping[str, Any]) -> Facts | None:
    """The initial prompt, the found one with what is different in it, and the last change."""
    initial, best, steps = log["initial"], log["best"], log["steps"]
    if not initial or not best:
        return None
    evaluation, found = log["evaluation"] or {}, found_prompt(log)
    incumbents = [initial, *(step["incumbent"] for step in steps)]
    last = next((n for n in range(len(steps), 0, -1) if steps[n - 1]["accepted"]), 0)
    return {
        "initial": initial["prompt"].strip(),
        "found": found.strip(),
        "elected": bool(evaluation.get("dev")),
        "measured": bool(evaluation),
        "diff": word_diff(initial["prompt"], found),
        "last": {
            "step": last,
            "diff": word_diff(incumbents[last - 1]["prompt"], incumbents[last]["prompt"]),
        }
        if last
        else None,
    }


def _scored(record: Mapping[str, Any]) -> Facts:
    return {key: record[key] for key in ("objective", "mistakes", "samples")}


def _tried(each: Mapping[str, Any], incumbent: str, step: Mapping[str, Any]) -> Facts:
    return {
        "label": _short(each["label"], LONGEST_LABEL),
        "objective": each["objective"],
        "capped": each["capped"],
        "taken": bool(step["accepted"]) and each.get("prompt") == incumbent,
    }


def _excerpt(pieces: Iterable[Piece]) -> list[Piece]:
    """``pieces`` with what stayed shortened to what stands next to a change."""
    return [
        piece if piece.kind != SAME else Piece(SAME, _short(piece.text, 2 * AROUND))
        for piece in pieces
    ]


def _short(text: str, length: int) -> str:
    half = length // 2
    return text if len(text) <= length else f"{text[:half]} … {text[-half:]}"


def _budget(log: Mapping[str, Any]) -> list[Facts]:
    """What the search has spent of what, with a limit where there is one."""
    params = log["params"]
    search = (log.get("ledger") or {}).get("search", {})  # old logs have none
    tokens = search.get("tokens", {})
    spent = {
        "seconds": search.get("seconds", 0),
        "decoded": tokens.get("decoded", 0),
        "evaluations": search.get("evaluations", 0),
        "requests": search.get("requests", 0),
        "written": tokens.get("written", 0),
    }
    if params.get("max_work"):
        spent["work"] = round(StopSettings.of(dict(params)).work(tokens))
    found = [{"name": "steps", "spent": len(log["steps"]), "limit": params.get("n_steps") or 0}]
    found += [
        {"name": words, "spent": spent.get(counted, 0), "limit": params.get(key) or 0}
        for key, (counted, words) in BUDGETS.items()
    ]
    return [each for each in found if each["spent"] or each["limit"]]


def _seconds(steps: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds by phase, over all steps."""
    found: dict[str, float] = {}
    for step in steps:
        for phase, seconds in step["seconds"].items():
            found[phase] = found.get(phase, 0.0) + seconds
    return found


def _held_out(log: Mapping[str, Any]) -> list[Facts]:
    """Every prompt with what it is worth on rows that the search has not seen, in order."""
    evaluation = log["evaluation"] or {}
    dev, test = evaluation.get("dev"), evaluation.get("test")
    named: list[tuple[str, Mapping[str, Any]]] = [
        (f"dev, after step {record['step'] + 1}", record) for record in log["tests"]
    ]
    if dev:
        every = {each["prompt"]: each for each in (dev["initial"], *dev["best"])}
        named += [("dev", each) for each in every.values()]
    if test:
        named += [("test, initial prompt", test["initial"]), ("test, found prompt", test["best"])]
        named += [(f"test, {name}", each) for name, each in test.get("contenders", {}).items()]
    found = []
    for where, record in named:
        metric = metric_of(record)
        found.append(
            {"where": where, "prompt": record["prompt"].strip(), "by": called(metric)}
            | record[metric]
        )
    return found


def _flips(log: Mapping[str, Any]) -> Facts | None:
    """The test rows that only one of both prompts got right, by their numbers in the task."""
    test = (log["evaluation"] or {}).get("test")
    if not test or test["initial"]["prompt"] == test["best"]["prompt"]:
        return None
    metric = metric_of(test["best"])
    pairs = [
        (row, float(before), float(after))
        for row, before, after in zip(
            log["environment"]["rows"]["test"],
            test["initial"]["hits"][metric],
            test["best"]["hits"][metric],
            strict=True,
        )
    ]
    return {
        "won": [row for row, before, after in pairs if after > before],
        "lost": [row for row, before, after in pairs if after < before],
        "same": sum(before == after for _, before, after in pairs),
    }
