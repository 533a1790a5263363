"""Do two revisions of this project make the same run? Same settings, same seed, logs compared.

Each case is run by both revisions, one after the other, each from a checkout of its own. Everything
the older log holds must stand in the newer one with the same value, but for times and places. Keys
that only the newer log has are counted. The exit code is 1 when anything differs.

    python -m benchmarks.revisions --before d973fdf            # a tiny random model, a minute
    python -m benchmarks.revisions --before d973fdf --bundled  # and the bundled model, in float32
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.workload import command
from prompt_optimization.errors import InputError
from tests.conftest import QUESTIONS, byte_level_tokenizer, tiny_model

ROOT = Path(__file__).resolve().parents[1]

# Differences that say nothing about what was computed.
IGNORED = {
    "seconds", "busy", "runtimes", "sessions", "git_revision", "result_prefix", "file",
    "model_paths", "packages",
}  # fmt: skip

COMMON = {
    "devices": "cpu",
    "dtype": "float32",
    "train_data": str(ROOT / "data" / "BBH" / "object_counting.json"),
    "n_train_data": 6,
    "n_dev_data": 6,
    "n_test_data": 8,
    "n_steps": 6,
    "top_prompts": 3,
    "max_new_tokens": 8,
    "answer_tokens": 6,
}
CASES: dict[str, dict[str, Any]] = {
    "mistakes": {},
    "loss": {"objective": "loss", "test_steps": 2},
    "published": {"behaviour": "published", "n_steps": 20},
    "annealed": {"anneal": True, "objective": "loss", "n_steps": 12},
    "progressive": {
        "progressive_goals": True,
        "progressive_group": 2,
        "early_stopping_steps": 2,
        "objective": "loss",
        "n_steps": 12,
    },
    "given up early": {"sample_chunk": 2, "objective": "loss", "n_steps": 12, "top_prompts": 1},
    "random shortlist": {"shortlist": "random", "objective": "loss"},
    "no reasoning gradient": {"reasoning_gradient": False, "objective": "loss"},
    "two workers": {"devices": ("cpu", "cpu"), "objective": "loss"},
    "short prompt": {"control_init": " think step by step", "n_steps": 16, "objective": "loss"},
}
BUNDLED: dict[str, dict[str, Any]] = {
    "bundled model": {"n_train_data": 12, "n_steps": 4, "max_new_tokens": 32},
    "bundled model, published": {
        "behaviour": "published", "n_train_data": 12, "n_steps": 4, "max_new_tokens": 32,
    },
}  # fmt: skip


def main() -> int:
    given = _options()
    different = 0
    with tempfile.TemporaryDirectory() as name, checked_out(given.before) as before:
        folder = Path(name)
        tiny = _tiny_model(folder / "tiny")
        here = {
            "model_paths": str(tiny),
            "train_data": str(tiny / "task.jsonl"),
            "extractor_text": "Therefore, the final answer is $",
        }
        cases = {case: here | own for case, own in CASES.items()}
        if given.bundled:
            cases |= BUNDLED
        for case, own in cases.items():
            flags = COMMON | own
            logs = [
                _run(checkout, flags, folder / f"{case} {i}".replace(" ", "_"))
                for i, checkout in enumerate((before, ROOT))
            ]
            found = list(_differences(logs[0], logs[1], ""))
            new = sorted(set(logs[1]) - set(logs[0]))
            different += bool(found)
            print(
                f"{case}: {len(logs[0]['steps'])} steps, "
                f"{'same log' if not found else f'{len(found)} differences'}; new keys: "
                f"{', '.join(new)}"
            )
            for line in found[:10]:
                print(f"    {line}")
    return 1 if different else 0


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description="Compare the runs of two revisions.")
    made.add_argument("--before", required=True, help="the older revision; the newer is this tree")
    made.add_argument("--bundled", action="store_true", help="run the bundled model, too")
    return made.parse_args()


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A checkout of ``revision`` for as long as it is needed.

    Raises:
        InputError: git cannot make one.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "checkout"
        done = _git("worktree", "add", "--detach", str(folder), revision)
        if done.returncode:
            raise InputError(f"revision '{revision}' cannot be checked out: {done.stderr.strip()}")
        try:
            yield folder
        finally:
            _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)


def _tiny_model(folder: Path) -> Path:
    """A random Llama with a small tokenizer, as the tests make them, and a task in its words."""
    tokenizer = byte_level_tokenizer()
    eos = int(tokenizer.eos_token_id)
    tiny_model("llama-3", len(tokenizer), eos, torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rows = [
        {"question": f"Question {i}. {question}", "answer": answer}
        for i in range(6)
        for question, answer in QUESTIONS
    ]
    (folder / "task.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def _run(checkout: Path, flags: dict[str, Any], prefix: Path) -> dict[str, Any]:
    """The log of a run by the code in ``checkout``."""
    arguments = [
        f"--config.{key}={value}"
        for key, values in flags.items()
        for value in (values if isinstance(values, tuple) else (values,))
    ]
    done = subprocess.run(
        [sys.executable, "main.py", "--config=./configs/template.py", *arguments,
         f"--config.result_prefix={prefix}"],
        cwd=checkout / "experiments",
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    if done.returncode:
        raise InputError(f"{checkout} ended with {done.returncode}: {done.stderr.strip()}")
    (path,) = prefix.parent.glob(f"{prefix.name}_*.json")
    log: dict[str, Any] = json.loads(path.read_text())
    return log


def _differences(before: Any, after: Any, path: str) -> Iterator[str]:
    """Where what ``before`` holds is not what ``after`` holds."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before:
            if key in IGNORED:
                continue
            if key not in after:
                yield f"{path}.{key} is gone"
            else:
                yield from _differences(before[key], after[key], f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{path} had {len(before)} entries and has {len(after)}"
        for i, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from _differences(one, other, f"{path}[{i}]")
    elif before != after:
        yield f"{path} was {before!r} and is {after!r}"


if __name__ == "__main__":
    command(main)
