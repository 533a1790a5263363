"""Small logs and evaluations as files hold them, written by hand."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

DATA = {"train": {"file": "task.json", "sha256": "8e02c7aa", "rows": 48, "official": False}}

TEMPLATE = {"name": "tokenizer", "sha256": "f1514bdb12e0", "before": "<user>", "after": "<model>"}


def scored(prompt: str, objective: float, step: int = -1) -> dict[str, Any]:
    return {
        "prompt": prompt, "ids": [1, 2], "found_at_step": step, "samples": 4,
        "objective": objective, "loss": 1.0, "mistakes": objective, "nll": 3.0,
    }  # fmt: skip


def held_out(prompt: str, hits: str) -> dict[str, Any]:
    estimate = {"value": hits.count("1") / len(hits), "low": 0.0, "high": 1.0, "n": len(hits)}
    metrics = ("strict", "flexible", "teacher_forced")
    return {
        "prompt": prompt, "loss": 2.0, **dict.fromkeys(metrics, estimate),
        "hits": dict.fromkeys(metrics, hits),
    }  # fmt: skip


def candidate(text: str, gradient: float, objective: float, capped: bool) -> dict[str, Any]:
    return {
        "token": 7, "text": text, "gradient": gradient, **scored(f" think{text}", objective, 0),
        "capped": capped, "losses": [] if capped else [1.0] * 4, "wrong": [] if capped else [1] * 4,
    }  # fmt: skip


# A log of when there was one method: it names none, and what was tried is the shortlist.
OLD: dict[str, Any] = {
    "format": 2,
    "status": "finished",
    "ended": "2 steps",
    "sessions": [
        {"started": "2026-11-20T10:00:00", "host": "here", "pid": 1, "first_step": 0, "run": "old"}
    ],
    "params": {
        "train_data": "task.json", "control_init": " think", "extractor_text": "The answer is",
        "connector": ". Use", "extractor_separator": " ", "max_new_tokens": 6, "answer_tokens": 16,
        "chat_template_kwargs": {}, "dtype": "auto", "model_paths": ["tiny"], "n_steps": 2,
        "reasoning_gradient": True, "shortlist": "gradient", "behaviour": "sound", "topk": 10,
    },
    "environment": {
        "model": "/models/tiny", "weights": "29ccd64cea42", "dtype": "float32", "seed": 0,
        "stop_ids": [1, 2], "chat_template": TEMPLATE, "data": DATA,
        "rows": {"train": [0, 1, 2, 3], "test": [6, 7, 8, 9]},
    },
    "controls": [" think well", " think well"],
    "losses": [0.5, 0.5],
    "runtimes": [3.0, 2.0],
    "tests": [],
    "initial": scored(" think", 0.75),
    "steps": [
        {
            "step": 0, "position": 1, "appended": True, "samples": 4, "topk": 10,
            "proposals": [{"token": 7, "text": " well", "gradient": -0.5}],
            "capped": {"candidates": 1, "rows": 2},
            "shortlist": [candidate(" well", -0.5, 0.5, False), candidate(" not", 0.1, 0.8, True)],
            "chosen": 0, "accepted": True, "incumbent": scored(" think well", 0.5, 0),
            "events": [], "seconds": {"propose": 1.0, "select": 2.0}, "busy": [2.5],
            "tokens": {"decoded": 24},
        },
        {
            "step": 1, "position": 2, "appended": True, "samples": 4, "topk": 12, "proposals": [],
            "capped": {"candidates": 0, "rows": 0}, "shortlist": [], "chosen": None,
            "accepted": False, "incumbent": scored(" think well", 0.5, 0),
            "events": ["started over"], "seconds": {"propose": 2.0}, "busy": [1.5], "tokens": {},
        },
    ],
    "best": [scored(" think well", 0.5, 0), scored(" think", 0.75)],
    "evaluation": {
        "dev": None,
        "chosen": " think well",
        "test": {
            "initial": held_out(" think", "0100"), "best": held_out(" think well", "0111"),
            "difference": {"strict": {"value": 0.5, "low": -0.1, "high": 0.9, "n": 4}},
        },
    },
}  # fmt: skip

OLD_EVALUATION: dict[str, Any] = {
    "format": 1,
    "kind": "evaluation",
    "status": "finished",
    "params": {
        "max_new_tokens": 6, "answer_tokens": 16, "extractor_separator": " ", "max_rows": 0,
    },
    "environment": {
        "model": "/models/tiny", "weights": "29ccd64cea42", "dtype": "float32", "seed": 0,
        "stop_ids": [1, 2], "chat_template": TEMPLATE, "data": {"task train": DATA["train"]},
    },
    "results": [
        {
            "task": "task", "split": "test", "rows": [6, 7, 8, 9], "extractor": "The answer is",
            "connector": ". Use", **held_out(" think well", "0111"),
            "origin": {
                "kind": "log", "log": "old.json", "run": "old", "model": "/models/tiny",
                "weights": "29ccd64cea42", "settings": {"topk": "10", "n_steps": "2"},
                "search": "", "start": "initial prompt 'think'", "prompt": "chosen",
            },
        },
        {
            "task": "task", "split": "test", "rows": [6, 7, 8, 9], "extractor": "The answer is",
            "connector": "", **held_out(" Let's think step by step.", "0001"),
            "origin": {"kind": "baseline", "name": "zero_shot_cot", "start": ""},
        },
    ],
}  # fmt: skip


def log(run: str, method: str = "", **changes: Any) -> dict[str, Any]:
    """``OLD`` as another run: of a method that is no part of this project where one is named, whose
    steps hold the common keys and nothing else.

    Args:
        changes: of params or, where it has the key, of the environment.
    """
    made = copy.deepcopy(OLD)
    made["sessions"][0]["run"] = run
    made["params"]["seed"] = run  # of runs with the same settings only the newest counts
    for key, value in changes.items():
        told = made["environment"] if key in made["environment"] else made["params"]
        told[key] = value
    if method:
        made["method"] = method
        common = ("step", "accepted", "incumbent", "events", "seconds", "busy", "tokens")
        keys = ("prompt", "objective", "capped")
        made["steps"] = [
            {key: step[key] for key in common}
            | {
                "tried": [
                    {"label": each["text"], **{key: each[key] for key in keys}}
                    for each in step["shortlist"]
                ]
            }
            for step in made["steps"]
        ]
    return made


def evaluation(**changes: Any) -> dict[str, Any]:
    """``OLD_EVALUATION`` with other params or, where it has the key, another environment."""
    made = copy.deepcopy(OLD_EVALUATION)
    for key, value in changes.items():
        told = made["environment"] if key in made["environment"] else made["params"]
        told[key] = value
    return made


def folder_of(path: Path, *records: dict[str, Any]) -> Path:
    """A folder that holds ``records``, in their order."""
    path.mkdir(exist_ok=True)
    for number, record in enumerate(records):
        kind = ".evaluation" if "results" in record else ""
        (path / f"{number}{kind}.json").write_text(json.dumps(record))
    return path
