"""Tables out of the labels that were released with Prompt-OIRL, and the questions they are of."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prompt_optimization.errors import InputError, require
from prompt_optimization.models.layout import Layout
from prompt_optimization.optimizers.oirl.arrays import DAMAGED, Floats
from prompt_optimization.optimizers.oirl.outcomes import Outcomes
from prompt_optimization.optimizers.oirl.prompts import HELD_OUT, POOL, TRAINING
from prompt_optimization.tasks.examples import read_table

PARTS = ("tr", "te", "ho")


@dataclass(frozen=True)
class Asked:
    """The questions that labels are of.

    Attributes:
        train: how many of them come first and train.
    """

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    train: int


def read_asked(files: Sequence[Path]) -> Asked:
    """The questions of released labels: one file as the release's questions are kept, with
    ``questions``, ``answers``, ``rows`` and ``train``, or two task files, of training and test.

    Raises:
        InputError: one cannot be read.
    """
    if len(files) == 2:
        first, second = (read_table(path, key="questions").examples for path in files)
        both = (*first, *second)
        return Asked(
            tuple(row.question for row in both), tuple(row.answer for row in both), len(first)
        )
    if len(files) != 1:
        raise InputError(
            f"the labels have no questions of their own, and {len(files)} files are given; give "
            "one with both parts, or two, of training and test",
            key="questions",
        )
    (path,) = files
    try:
        raw = path.read_bytes()
        found = json.loads(gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw)
        texts, answers = list(map(str, found["questions"])), list(map(str, found["answers"]))
        rows, train = found["rows"], int(found["train"])
        require(len(texts) == len(answers) and 0 < train <= len(rows) and min(rows) >= 0)
        return Asked(tuple(texts[row] for row in rows), tuple(answers[row] for row in rows), train)
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be read ({error.strerror or error})", key="questions"
        ) from None
    except DAMAGED:
        raise InputError(
            f"'{path}' does not hold questions, answers, rows and train; give such a file, or two "
            "task files, of training and test",
            key="questions",
        ) from None


def of_released(path: Path, dataset: str, asked: Asked) -> Outcomes:
    """The released labels of one data set, with our wordings for its prompts.

    The file is an npz of bits packed along axis 1: ``<dataset>_tr`` and ``_te`` of the training
    prompts on training and test rows, ``_ho`` of the held-out ones on test rows.

    Args:
        dataset: may be left empty where the file has one.

    Raises:
        InputError: the file is none, has no such data set, or another number of rows.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            known = [name.removesuffix("_tr") for name in file.files if name.endswith("_tr")]
            if not dataset and len(known) == 1:
                (dataset,) = known
            if dataset not in known:
                raise InputError(
                    f"'{path}' has labels of {', '.join(known) or 'nothing'} and not of "
                    f"'{dataset}'; name one of them",
                    key="dataset",
                )
            train, test, heldout = (file[f"{dataset}_{part}"] for part in PARTS)
    except FileNotFoundError:
        raise InputError(f"'{path}' does not exist; give an existing file", key="labels") from None
    except DAMAGED as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"'{path}' holds no released labels", key="labels") from None
    # Test files may be longer than the part of them that was asked.
    tests = min(len(asked.questions) - asked.train, 8 * test.shape[1])
    shapes = ((len(TRAINING), asked.train), (len(TRAINING), tests), (len(HELD_OUT), tests))
    for part, (prompts, rows) in zip((train, test, heldout), shapes, strict=True):
        if part.dtype != np.uint8 or part.shape != (prompts, -(-rows // 8)):
            raise InputError(
                f"the labels of '{dataset}' have the shape {part.shape}, and {prompts} prompts on "
                f"{rows} questions would have {(prompts, -(-rows // 8))}; give the questions that "
                "they are of",
                key="questions",
            )
    rows = asked.train + tests
    right = np.zeros((rows, len(POOL)))
    draws = np.zeros((rows, len(POOL)), np.int64)
    own = slice(0, len(TRAINING))
    right[: asked.train, own] = _bits(train, asked.train)
    right[asked.train :, own] = _bits(test, tests)
    right[asked.train :, len(TRAINING) :] = _bits(heldout, tests)
    draws[:, own] = 1
    draws[asked.train :] = 1
    return Outcomes(
        asked.questions[:rows],
        asked.answers[:rows],
        tuple(map(Layout.normalise, POOL.values())),
        tuple(POOL),
        heldout=np.array([name in HELD_OUT for name in POOL]),
        test=np.arange(rows) >= asked.train,
        right=right,
        draws=draws,
        source={"kind": "released labels", "file": path.name, "dataset": dataset},
    )


def _bits(packed: np.ndarray[Any, Any], rows: int) -> Floats:
    """[rows, prompts] of bits that are packed prompt by prompt."""
    found: Floats = np.unpackbits(packed, axis=1)[:, :rows].T.astype(np.float64)
    return found
