"""What a model wrote, row by row: a JSONL file that only ever grows by whole blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from prompt_optimization.errors import require
from prompt_optimization.paths import user_path
from prompt_optimization.runs.store.json_lines import JsonLines
from prompt_optimization.tasks.templates import END

# Which output it is, and what it holds: strict, flexible and teacher_forced are booleans, the loss
# is in nats. Without an extractor the last two are null. All references, where there are several,
# stand beside the first.
KEY = ("task", "split", "row", "extractor", "template", "connector", "prompt")
VALUES = (
    "question", "reasoning", "answer", "reference", "strict", "flexible", "teacher_forced", "loss",
)  # fmt: skip
FIELDS = {*KEY, *VALUES}
BEGINNING = b'{"task": "'

OutputKey = tuple[Any, ...]


def run_outputs_path(log: Path) -> Path:
    """Where the outputs on the test rows of the run with this log are."""
    return log.with_name(f"{log.name}.outputs.jsonl")


def outputs_path(prefix: str) -> Path:
    """Where the outputs of the evaluation with this ``result_prefix`` are."""
    return user_path(f"{prefix}.outputs.jsonl")


class Outputs:
    """The file and what it holds, by key."""

    def __init__(self, path: Path) -> None:
        """Read what is there.

        Raises:
            InputError: the file cannot be read or is something else.
        """
        self.path = path
        self.records: dict[OutputKey, dict[str, Any]] = {}
        self._lines = JsonLines(path, BEGINNING, "output of an evaluation", "result_prefix")
        self._lines.read(self._take)

    def lacks(self, keys: Iterable[OutputKey]) -> bool:
        """Whether there is no output for one of ``keys``."""
        return any(key not in self.records for key in keys)

    def add(self, records: Sequence[dict[str, Any]]) -> None:
        """Put ``records`` on the disk.

        Raises:
            InputError: they cannot be written. What was written of them is cut off when the file
                is opened again.
        """
        self._lines.append(records)
        self.records.update((output_key(record), record) for record in records)

    def _take(self, record: dict[str, Any]) -> None:
        record.setdefault("template", END)  # came later
        require(set(record) >= FIELDS)
        self.records[output_key(record)] = record


def output_key(record: dict[str, Any]) -> OutputKey:
    """Which output ``record`` is."""
    return tuple(record[name] for name in KEY)
