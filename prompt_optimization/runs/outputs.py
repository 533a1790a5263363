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

# Which output it is. The other fields: question, reasoning, answer (as written), reference,
# strict, flexible, teacher_forced (booleans), loss (nats).
KEY = ("task", "split", "row", "extractor", "connector", "prompt")

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
            whole = raw[: raw.rfind(b"\n") + 1]
            if whole != raw:
                os.truncate(path, len(whole))
        except OSError as error:
            raise InputError(
                f"'{path}' cannot be read and mended ({error.strerror}); {RESULTS_ELSEWHERE}"
            ) from None
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = json.loads(line)
                self.records[output_key(record)] = record
            except (ValueError, LookupError, TypeError):
                raise InputError(
                    f"line {number} of '{path}' is no output of an evaluation; move the file away "
                    "or choose another --config.result_prefix"
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
