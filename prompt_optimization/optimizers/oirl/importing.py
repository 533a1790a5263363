"""Tables out of what others have logged: files of one pair of question and prompt a row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from prompt_optimization.errors import InputError
from prompt_optimization.models.layout import Layout
from prompt_optimization.optimizers.oirl.arrays import Counts, Floats
from prompt_optimization.optimizers.oirl.outcomes import Outcomes
from prompt_optimization.optimizers.oirl.prompts import POOL
from prompt_optimization.tasks.cells import is_blank, shown, text_of
from prompt_optimization.tasks.examples import Source, read_rows

COLUMNS = ("question", "prompt", "right")
FLAGS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


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
