"""Tables out of what others have logged: the release's labels, and files of one pair a row."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prompt_optimization.errors import InputError, require
from prompt_optimization.models.layout import Layout
from prompt_optimization.optimizers.oirl.outcomes import DAMAGED, Counts, Floats, Outcomes
from prompt_optimization.optimizers.oirl.prompts import HELD_OUT, POOL, TRAINING
from prompt_optimization.tasks.cells import is_blank, shown, text_of
from prompt_optimization.tasks.examples import Source, read_rows, read_table

PARTS = ("tr", "te", "ho")
COLUMNS = ("question", "prompt", "right")
FLAGS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


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


def of_pairs(path: Path) -> Outcomes:
    """A table out of a file of rows: CSV, JSON lines or JSON, one pair or one answer a row.

    Columns: ``question``, ``prompt``, ``right`` (a truth value, or from 0 to 1). They may have
    ``draws`` (how many answers ``right`` is the mean of; 1), ``answer`` (the reference), ``split``
    (train or test), and ``heldout`` (a truth value: nothing is to be learnt from the prompt).
    Rows of one pair add up.

    Raises:
        InputError: the file cannot be read, or a cell cannot be used.
    """
    try:
        rows, _ = read_rows(path)
    except InputError as error:
        raise InputError(error.problem, key="pairs") from None
    for name in COLUMNS:
        if name not in rows[0]:
            raise InputError(
                f"'{path}' has no column '{name}'; its rows need {', '.join(COLUMNS)}",
                key="pairs",
            )
    questions: dict[str, int] = {}
    prompts: dict[str, int] = {}
    answers: dict[int, str] = defaultdict(str)
    tests: set[int] = set()
    heldout: set[int] = set()
    cells: dict[tuple[int, int], tuple[float, int]] = {}
    source = Source(f"'{path}'")
    for number, row in enumerate(rows):
        where = source.row(number)
        question, prompt = (_text(row, name, where) for name in ("question", "prompt"))
        q = questions.setdefault(question, len(questions))
        p = prompts.setdefault(Layout.normalise(prompt), len(prompts))
        share = _share(row, "right", where)
        count = _count(row, "draws", where)
        right, draws = cells.get((q, p), (0.0, 0))
        cells[q, p] = right + share * count, draws + count
        if not is_blank(row.get("answer")):
            answers[q] = _text(row, "answer", where)
        if not is_blank(row.get("split")):
            split = _text(row, "split", where).lower()
            if split not in ("train", "test"):
                raise InputError(
                    f"'split' of {where} is '{split}'; write train or test", key="pairs"
                )
            if split == "test":
                tests.add(q)
        if not is_blank(row.get("heldout")) and _share(row, "heldout", where) == 1:
            heldout.add(p)
    shape = (len(questions), len(prompts))
    right_of: Floats = np.zeros(shape)
    draws_of: Counts = np.zeros(shape, np.int64)
    for place, (right, draws) in cells.items():
        right_of[place], draws_of[place] = right, draws
    names = {Layout.normalise(text): name for name, text in POOL.items()}
    return Outcomes(
        tuple(questions),
        tuple(answers[q] for q in range(len(questions))),
        tuple(prompts),
        tuple(names.get(text, text.strip()) for text in prompts),
        heldout=np.array([p in heldout for p in range(len(prompts))]),
        test=np.array([q in tests for q in range(len(questions))]),
        right=right_of,
        draws=draws_of,
        source={"kind": "pairs", "file": path.name},
    )


def _bits(packed: np.ndarray[Any, Any], rows: int) -> Floats:
    """[rows, prompts] of bits that are packed prompt by prompt."""
    found: Floats = np.unpackbits(packed, axis=1)[:, :rows].T.astype(np.float64)
    return found


def _text(row: Mapping[str, object], name: str, where: str) -> str:
    try:
        return text_of(row.get(name), f"'{name}' of {where}")
    except InputError as error:
        raise InputError(error.problem, key="pairs") from None


def _share(row: Mapping[str, object], name: str, where: str) -> float:
    text = _text(row, name, where).strip().lower()
    try:
        share = FLAGS[text] if text in FLAGS else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InputError(
            f"'{name}' of {where} is {shown(row[name])}; write true or false, or a number from 0 "
            "to 1",
            key="pairs",
        )
    return share


def _count(row: Mapping[str, object], name: str, where: str) -> int:
    if is_blank(row.get(name)):
        return 1
    text = _text(row, name, where).strip()
    if not text.isdecimal() or not 0 < int(text) < 10**6:
        raise InputError(
            f"'{name}' of {where} is {shown(row[name])}; write a whole number", key="pairs"
        )
    return int(text)
