"""One position in one JSON file, written whole after every piece of work."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.signal.signals import TOKEN_CLIP, Readings, exact
from prompt_optimization.errors import InputError
from prompt_optimization.files import read_text, write_whole
from prompt_optimization.optimizers.greater.likelihood_ratio import Array

SIDES = ("same", "other")
# Digits of a log-probability or loss that are kept.
DIGITS = 5


@dataclass
class Record:
    """A position.

    Attributes:
        settings: what was asked for; a file is continued under the same only.
        candidates: the incumbent, then the edits: ``text``, ``words`` and ``log_prob``.
        tokens: by phase, what was read, decoded and differentiated.
        drawn: the incumbent's reasonings, [questions][draws] ids.
        read: after every candidate, [candidates][questions][draws]: ``log_probs`` by token,
            ``loss`` and ``mistake``.
        signals: what is not computed from these, by name: one number a candidate.
        truth: by side, one entry a draw of all candidates and questions: ``loss`` and ``mistake``,
            [candidates][questions].
    """

    settings: dict[str, Any]
    candidates: list[dict[str, Any]] = field(default_factory=list)
    tokens: dict[str, dict[str, int]] = field(default_factory=dict)
    drawn: list[list[list[int]]] = field(default_factory=list)
    read: dict[str, list[Any]] = field(
        default_factory=lambda: {"log_probs": [], "loss": [], "mistake": []}
    )
    signals: dict[str, list[float]] = field(default_factory=dict)
    truth: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {side: [] for side in SIDES}
    )

    @property
    def name(self) -> str:
        """A short name for messages and tables."""
        return f"{self.settings['task']} {self.place}"

    @property
    def place(self) -> str:
        """What is edited."""
        s = self.settings
        return "prompt" if s["edit"] == "prompt" else f"{s['edit']} {s['position']}"

    @property
    def draws(self) -> int:
        """Of fresh reasonings that both sides have."""
        return min(len(self.truth[side]) for side in SIDES)

    def table(self, side: str, value: str) -> Array:
        """The truth as [candidates, questions], the mean over the draws.

        Args:
            value: ``loss`` or ``mistake``.
        """
        draws = [each[value] for each in self.truth[side]]
        return np.asarray(np.mean(np.array(draws, dtype=float), axis=0))

    def readings(self) -> Readings:
        """What was read, as the exact signals need it."""
        loss, mistake = (np.array(self.read[name], dtype=float) for name in ("loss", "mistake"))
        change, clipped = np.zeros_like(loss), np.zeros_like(loss)
        own = self.read["log_probs"][0]
        for c, by_question in enumerate(self.read["log_probs"]):
            for q, by_draw in enumerate(by_question):
                for k, log_probs in enumerate(by_draw):
                    by_token = np.array(log_probs) - np.array(own[q][k])
                    change[c, q, k] = by_token.sum()
                    clipped[c, q, k] = np.clip(by_token, -TOKEN_CLIP, TOKEN_CLIP).sum()
        return Readings(change, clipped, loss, mistake)

    def all_signals(self) -> dict[str, Array]:
        """Every signal by name, [candidates]; lower predicts fewer mistakes."""
        found = {name: np.array(values, dtype=float) for name, values in self.signals.items()}
        if len(self.read["loss"]) == len(self.candidates) > 0:
            found |= exact(self.readings())
        return found

    def save(self, path: Path) -> None:
        """Write it whole.

        Raises:
            InputError: it cannot be written.
        """
        write_whole(path, json.dumps(vars(self)).encode())


def load(path: Path) -> Record:
    """Read a position.

    Raises:
        InputError: it cannot be read, or is no record of this benchmark.
    """
    try:
        values = json.loads(read_text(path, "--out"))
        record = Record(**values)
        for side in SIDES:
            if record.truth[side]:
                record.table(side, "loss")
        return record
    except (ValueError, TypeError, LookupError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"'{path}' is no position of this benchmark; move it elsewhere or name another --out"
        ) from None


def open_record(path: Path, settings: dict[str, Any]) -> Record:
    """The record at ``path``, or a new one.

    Raises:
        InputError: it was measured under other settings.
    """
    if not path.exists():
        return Record(settings)
    record = load(path)
    for name, value in settings.items():
        before = record.settings.get(name)
        if before != value:
            raise InputError(
                f"'{path}' was measured with {name}={before!r} and not {value!r}; repeat the "
                "command that began it, or name another --out"
            )
    return record
