"""A file of one JSON object a line that only ever grows by whole lines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError, Malformed
from prompt_optimization.files import unwritable
from prompt_optimization.signals import shielded


class JsonLines:
    """The file; whoever opens it says what its lines are."""

    def __init__(self, path: Path, beginning: bytes, what: str, key: str) -> None:
        """
        Args:
            beginning: what every line begins with.
            what: a line, in a message.
            key: the setting that names the place.
        """
        self.path = path
        self._beginning = beginning
        self._what = what
        self._key = key

    def read(self, take: Callable[[dict[str, Any]], None]) -> None:
        """Hand every line to ``take``, which raises ``LookupError``, ``TypeError`` or
        ``ValueError`` for one that it cannot use. A last line that a killed writer left unfinished
        is cut off.

        Raises:
            InputError: the file cannot be read or is something else.
        """
        try:
            raw = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise InputError(f"'{self.path}' cannot be read ({error.strerror})") from None
        *whole, rest = raw.split(b"\n")
        for number, line in enumerate(whole, 1):
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise Malformed
                take(record)
            except (LookupError, ValueError, TypeError, RecursionError) as error:
                if isinstance(error, InputError):
                    raise
                raise self._foreign(f"line {number}") from None
        if rest:
            self._cut_off(len(raw) - len(rest), rest)

    def append(self, records: Iterable[dict[str, Any]]) -> None:
        """Put ``records`` on the disk.

        Raises:
            InputError: they cannot be written. What was written of them is cut off when the file
                is read again.
        """
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        with shielded():
            try:
                with self.path.open("ab") as file:
                    file.write(lines.encode())
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise unwritable(self.path, error, self._key) from None

    def _cut_off(self, start: int, rest: bytes) -> None:
        """Remove the line that a killed writer has begun; anything else is not ours to touch."""
        if not rest.startswith(self._beginning[: len(rest)]):
            raise self._foreign("the end")
        try:
            os.truncate(self.path, start)
        except OSError as error:
            raise unwritable(self.path, error, self._key) from None

    def _foreign(self, name: str) -> InputError:
        return InputError(
            f"{name} of '{self.path}' is no {self._what}; move the file away or choose another "
            "place",
            key=self._key,
        )
