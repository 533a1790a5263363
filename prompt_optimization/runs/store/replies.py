"""What a run's writer was asked and answered: a JSONL file beside the log, or memory.

The file is kept with the log. It is the transcript of a search, and what lets a killed run continue
without asking anything twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompt_optimization.errors import InputError
from prompt_optimization.runs.store.json_lines import JsonLines

if TYPE_CHECKING:  # Who reads transcripts needs no model, whose import takes seconds.
    from prompt_optimization.models.writers import Reply, Request
    from prompt_optimization.scoring.writing import Place

BEGINNING = b'{"place": ['


def replies_path(log: Path) -> Path:
    return log.with_name(f"{log.name}.replies.jsonl")


class ReplyLog:
    """The replies of a run, by place.

    Attributes:
        forced: a request that is not the one of its place is asked anew instead of refused.
    """

    def __init__(self, log: Path | None, forced: bool = False) -> None:
        """
        Args:
            log: of the run; None holds the replies in memory.

        Raises:
            InputError: the file beside the log cannot be read, or is something else.
        """
        self.forced = forced
        self._known: dict[Place, tuple[str, list[Reply]]] = {}
        self._lines: JsonLines | None = None
        if log is not None:
            path = replies_path(log)
            self._lines = JsonLines(path, BEGINNING, "reply to a request", "result_prefix")
            self._lines.read(self._take)

    def find(self, place: Place, writer: str, request: Request) -> list[Reply] | None:
        """As ``Replies.find``."""
        if place not in self._known:
            return None
        hashed, replies = self._known[place]
        if hashed == _hash(writer, request):
            return replies
        if self.forced:
            return None
        assert self._lines is not None, "a search in memory never comes to a place twice"
        step, wave, number = place
        raise InputError(
            f"request {number} of wave {wave} of step {step} is another one than in "
            f"'{self._lines.path}'; continue by force, which asks it anew, or start a new run",
            key="resume",
        )

    def keep(
        self, place: Place, writer: str, request: Request, replies: Sequence[Reply], seconds: float
    ) -> None:
        """As ``Replies.keep``."""
        record = {
            "place": list(place),
            "sha256": _hash(writer, request),
            "writer": writer,
            "request": _fields(request),
            "replies": [_fields(reply) for reply in replies],
            "seconds": seconds,
        }
        if self._lines is not None:
            self._lines.append([record])
        self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        from prompt_optimization.models.writers import Reply

        step, wave, number = record["place"]
        replies = [Reply(**reply) for reply in record["replies"]]
        # A later line of the same place was asked by force.
        self._known[step, wave, number] = record["sha256"], replies


def _fields(each: Request | Reply) -> dict[str, Any]:
    """As a line holds it; what is rare stands only where it is."""
    rare = ("choices", "probabilities")
    return {name: value for name, value in asdict(each).items() if value or name not in rare}


def _hash(writer: str, request: Request) -> str:
    text = json.dumps([writer, _fields(request)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
