"""What a model wrote, row by row: a JSONL file that only ever grows by whole blocks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError, require
from prompt_optimization.files import unwritable
from prompt_optimization.paths import user_path
from prompt_optimization.signals import shielded

# Which output it is, and what it holds: strict, flexible and teacher_forced are booleans, the loss
# is in nats.
KEY = ("task", "split", "row", "extractor", "connector", "prompt")
VALUES = (
    "question", "reasoning", "answer", "reference", "strict", "flexible", "teacher_forced", "loss",
)  # fmt: skip
FIELDS = {*KEY, *VALUES}
BEGINNING = b'{"task": "'

OutputKey = tuple[Any, ...]


def outputs_path(prefix: str) -> Path:
    """Where the outputs of the evaluation with this ``result_prefix`` are."""
    return user_path(f"{prefix}.outputs.jsonl")


class Outputs:
    """The file and what it holds, by key."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a last line that a killed writer left unfinished is cut off.

        Raises:
            InputError: the file cannot be read or is something else.
        """
        self.path = path
        self.records: dict[OutputKey, dict[str, Any]] = {}
        try:
            raw = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise InputError(f"'{path}' cannot be read ({error.strerror})") from None
        *whole, rest = raw.split(b"\n")
        for number, line in enumerate(whole, 1):
            self._take(line, f"line {number}")
        if rest:
            self._cut_off(len(raw) - len(rest), rest)

    def lacks(self, keys: Iterable[OutputKey]) -> bool:
        """Whether there is no output for one of ``keys``."""
        return any(key not in self.records for key in keys)

    def add(self, records: Sequence[dict[str, Any]]) -> None:
        """Put ``records`` on the disk.

        Raises:
            InputError: they cannot be written. What was written of them is cut off when the file
                is opened again.
        """
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        with shielded():
            try:
                with self.path.open("ab") as file:
                    file.write(lines.encode())
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise unwritable(self.path, error, "result_prefix") from None
            self.records.update((output_key(record), record) for record in records)

    def _take(self, line: bytes, name: str) -> None:
        try:
            record = json.loads(line)
            require(isinstance(record, dict) and set(record) >= FIELDS)
            self.records[output_key(record)] = record
        except (ValueError, TypeError, RecursionError):
            raise self._no_output(name) from None

    def _cut_off(self, start: int, rest: bytes) -> None:
        """Remove the line that a killed writer has begun; anything else is not ours to touch."""
        if not rest.startswith(BEGINNING[: len(rest)]):
            raise self._no_output("the end")
        try:
            os.truncate(self.path, start)
        except OSError as error:
            raise unwritable(self.path, error, "result_prefix") from None

    def _no_output(self, name: str) -> InputError:
        return InputError(
            f"{name} of '{self.path}' is no output of an evaluation; move the file away or choose "
            "another place",
            key="result_prefix",
        )


def output_key(record: dict[str, Any]) -> OutputKey:
    """Which output ``record`` is."""
    return tuple(record[name] for name in KEY)
