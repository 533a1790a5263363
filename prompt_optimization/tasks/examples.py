"""Reading task files and cutting them into disjoint splits.

A task file is a table of questions and answers. The published GReaTer files are CSV tables that
carry the ending ``.json``; both that form and plain csv, tsv, jsonl and BIG-Bench Hard's own
``{"examples": [{"input": ..., "target": ...}]}`` are read, so a user never has to convert.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

from prompt_optimization.errors import InputError
from prompt_optimization.places import data_folder
from prompt_optimization.tasks.generate import TASKS

QUESTION_COLUMNS = ("goal", "question", "input")
ANSWER_COLUMNS = ("final_target", "answer", "target")

SPLITS = ("train", "dev", "test")

_BRACKETED_LETTER = re.compile(r"\(([A-Z])\)")


@dataclass(frozen=True)
class Example:
    """One question with its reference answer.

    ``row`` counts the table's rows from 0, without the header, for messages and logs.
    """

    question: str
    answer: str
    row: int


@dataclass(frozen=True)
class Table:
    """A task file as read: its rows, and the sha256 of the bytes they came from."""

    path: Path
    sha256: str
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Splits:
    """Disjoint rows: ``train`` drives the search, ``dev`` chooses among its prompts, ``test``
    is looked at once, at the end."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]

    def named(self) -> dict[str, tuple[Example, ...]]:
        """Those that have rows, by name."""
        return {name: rows for name in SPLITS if (rows := getattr(self, name))}


def read_table(path: str | Path) -> Table:
    """Read every row of a task file.

    Raises:
        InputError: as ``read_rows``; or the file lacks a question or an answer column, or holds an
            empty cell in one of them.
    """
    path = Path(path).expanduser()
    rows, sha256 = read_rows(path)
    return Table(
        path=path,
        sha256=sha256,
        examples=tuple(_example(path, number, row) for number, row in enumerate(rows)),
    )


def read_rows(path: Path) -> tuple[list[dict[str, object]], str]:
    """The rows of a file in any of the forms, cell by column, and the sha256 of its bytes.

    Raises:
        InputError: the file is missing, unreadable, empty or malformed.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"data file '{path}' does not exist; give an existing file with "
            f"--config.train_data / --config.test_data{_generated(path)}"
        ) from None
    except OSError as error:
        raise InputError(f"data file '{path}' cannot be read: {error.strerror}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"data file '{path}' is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    rows = _rows(path, text)
    if not rows:
        raise InputError(f"data file '{path}' holds no rows; give a file with at least one")
    return rows, hashlib.sha256(raw).hexdigest()


def split_rows(
    train: Table,
    test: Table | None,
    *,
    offset: int,
    n_train: int,
    n_dev: int,
    n_test: int,
) -> Splits:
    """Cut train, dev and test out of one or two tables without sharing a question.

    Train takes ``n_train`` rows from ``offset`` on. Dev, and test when there is no second table,
    take the rows after those. A held-out question that also stands among the training rows is
    passed over. Dev is the one split that may come out smaller than asked, down to one row:
    it only chooses between prompts, and some published tasks have 146 rows in all.

    Raises:
        InputError: a split is larger than the rows there are for it.
    """
    wanted = offset + n_train
    if wanted > len(train.examples):
        raise InputError(
            f"'{train.path}' has {len(train.examples)} rows, but {n_train} training rows from row "
            f"{offset} were asked for; lower --config.n_train_data or --config.data_offset"
        )
    train_rows = train.examples[offset:wanted]
    rest = _without(train.examples[wanted:], train_rows)
    if test is None or test.sha256 == train.sha256:
        source, pool = train, rest
        n_dev = min(n_dev, max(1, len(pool) - n_test)) if n_dev else 0
        # A question that comes again behind dev is lost to test.
        while n_dev > 1 and len(_without(pool[n_dev:], pool[:n_dev])) < n_test:
            n_dev -= 1
        dev, test_pool = pool[:n_dev], pool[n_dev:]
    else:
        source, test_pool = test, test.examples
        dev = rest[:n_dev]
    test_pool = _without(test_pool, (*train_rows, *dev))
    if n_dev and not dev:
        raise InputError(
            f"'{train.path}' has no rows left for the dev split after {n_train} training rows "
            f"from row {offset}; lower --config.n_train_data or set --config.n_dev_data=0"
        )
    if len(test_pool) < n_test:
        raise InputError(
            f"'{source.path}' has {len(test_pool)} rows left for testing that the search does not "
            f"see, but {n_test} were asked for; lower --config.n_test_data"
        )
    return Splits(train=train_rows, dev=dev, test=test_pool[:n_test])


def _without(examples: tuple[Example, ...], others: tuple[Example, ...]) -> tuple[Example, ...]:
    """``examples`` whose question none of ``others`` asks."""
    seen = {example.question for example in others}
    return tuple(example for example in examples if example.question not in seen)


def _generated(path: Path) -> str:
    """How to make the missing file, where it is one that we can generate."""
    if path.resolve().parent != (data_folder() / "BBH").resolve() or path.stem not in TASKS:
        return ""
    return ", or write the generated ones with 'greater generate-data'"


def _rows(path: Path, text: str) -> list[dict[str, object]]:
    if path.suffix == ".jsonl":
        return _json_lines(path, text)
    if path.suffix == ".json" and text.lstrip()[:1] in ("{", "["):
        return _json_document(path, text)
    return _separated_values(path, text, "\t" if path.suffix == ".tsv" else ",")


def _json_lines(path: Path, text: str) -> list[dict[str, object]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"line {number} of '{path}' is not JSON ({error.msg}); write one object per line"
            ) from None
        if not isinstance(row, dict):
            raise InputError(f"line {number} of '{path}' is not a JSON object; write one per line")
        rows.append(row)
    return rows


def _json_document(path: Path, text: str) -> list[dict[str, object]]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"'{path}' starts like JSON but is not (line {error.lineno}: {error.msg}); mend the "
            "file or save it as CSV"
        ) from None
    rows = document.get("examples") if isinstance(document, dict) else document
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"'{path}' holds no list of examples; expected {{'examples': [...]}}")
    return rows


def _separated_values(path: Path, text: str, delimiter: str) -> list[dict[str, object]]:
    # strict=True makes a quote that is never closed an error instead of a giant last cell.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [line for line in reader if line]
    except csv.Error as error:
        raise InputError(
            f"'{path}' is malformed near line {reader.line_num} ({error}); check its quotes"
        ) from None
    if not lines:
        return []
    header, *body = lines
    for number, line in enumerate(body):
        if len(line) != len(header):
            raise InputError(
                f"row {number} of '{path}' has {len(line)} cells under a header of {len(header)}; "
                "quote cells that contain the separator"
            )
    return [dict(zip(header, line, strict=True)) for line in body]


def _example(path: Path, number: int, row: dict[str, object]) -> Example:
    question = _cell(path, number, row, QUESTION_COLUMNS, "question")
    answer = _cell(path, number, row, ANSWER_COLUMNS, "answer")
    # The published code writes "(A)" as "A": the extractor asks for the bare letter.
    letter = _BRACKETED_LETTER.fullmatch(answer)
    return Example(
        question=question,
        answer=letter.group(1) if letter else answer,
        row=number,
    )


def _cell(
    path: Path, number: int, row: dict[str, object], names: tuple[str, ...], what: str
) -> str:
    name = next((name for name in names if name in row), None)
    if name is None:
        raise InputError(
            f"'{path}' has no {what} column: row {number} has {sorted(map(str, row))}, expected "
            f"one of {list(names)}"
        )
    value = row[name]
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    if not text:
        raise InputError(f"column '{name}' is empty in row {number} of '{path}'; fill it in")
    return text
