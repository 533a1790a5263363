"""What a model wrote, row by row: a JSONL file that only ever grows by whole blocks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.files import RESULTS_ELSEWHERE
from prompt_optimization.signals import shielded

# Which output it is, and what it holds: strict, flexible and teacher_forced are booleans, the loss
# is in nats.
KEY = ("task", "split", "row", "extractor", "connector", "prompt")
VALUES = (
    "question", "reasoning", "answer", "reference", "strict", "flexible", "teacher_forced", "loss",
)  # fmt: skip
FIELDS = {*KEY, *VALUES}
BEGINNING = b'{"task": "'

Key = tuple[Any, ...]


class Outputs:
    """The file and what it holds, by key."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a last line that a killed writer left unfinished is cut off.

        Raises:
            InputError: the file cannot be read or is something else.
        """
        self.path = path
        self.records: dict[Key, dict[str, Any]] = {}
        try:
            raw = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise InputError(f"'{path}' cannot be read ({error.strerror})") from None
        *whole, rest = raw.split(b"\n")
        for number, line in enumerate(whole, 1):
            self._take(line, f"line {number}")
        if rest:
            self._mend(len(raw) - len(rest), rest)

    def _take(self, line: bytes, name: str) -> None:
        try:
            record = json.loads(line)
            assert set(record) >= FIELDS
            self.records[output_key(record)] = record
        except (ValueError, LookupError, TypeError, AssertionError):
            raise InputError(
                f"{name} of '{self.path}' is no output of an evaluation; move the file away or "
                "choose another --config.result_prefix"
            ) from None

    def _mend(self, start: int, rest: bytes) -> None:
        """Cut off what a killed writer has begun; anything else is not ours to touch."""
        beginning = BEGINNING[: len(rest)]
        if not rest.startswith(beginning):
            raise InputError(
                f"the end of '{self.path}' is no output of an evaluation; move the file away or "
                "choose another --config.result_prefix"
            )
        try:
            os.truncate(self.path, start)
        except OSError as error:
            raise InputError(
                f"'{self.path}' cannot be mended ({error.strerror}); {RESULTS_ELSEWHERE}"
            ) from None

    def lacks(self, keys: Iterable[Key]) -> bool:
        return any(key not in self.records for key in keys)

    def add(self, records: Sequence[dict[str, Any]]) -> None:
        """Put ``records`` on the disk.

        Raises:
            InputError: they cannot be written; a part that was is cut off when the file is opened
                again.
        """
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        with shielded():
            try:
                with self.path.open("ab") as file:
                    file.write(lines.encode())
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise InputError(
                    f"'{self.path}' cannot be written ({error.strerror}); {RESULTS_ELSEWHERE}"
                ) from None
            self.records.update((output_key(record), record) for record in records)


def output_key(record: dict[str, Any]) -> Key:
    return tuple(record[name] for name in KEY)
