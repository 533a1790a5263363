"""What has been spent, counted where it is spent, so that no method counts for itself."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

READ = ("prefilled", "asked", "judge_asked")
DECODED = ("decoded", "written", "judge_written")


def work_of(tokens: Mapping[str, int], decode_weight: float, gradient_weight: float) -> float:
    """``Ledger.tokens`` as if each were read: one that was decoded or differentiated counts as
    many as its weight says."""
    read, decoded = (sum(tokens.get(kind, 0) for kind in kinds) for kinds in (READ, DECODED))
    return read + decode_weight * decoded + gradient_weight * tokens.get("differentiated", 0)


@dataclass
class Ledger:
    """The cost of a search, or of held-out scoring.

    Attributes:
        evaluations: reasonings, one a prompt, example and model.
        reused: outcomes that were known already.
        requests: requests to writer and judge.
        judge_requests: those of them that went to the judge.
        tokens: by kind: ``decoded``, ``prefilled``, ``differentiated`` (see
            ``LanguageModel.counts``), of the writer ``asked`` and ``written``, and of the judge
            ``judge_asked`` and ``judge_written``.
        apart: what was spent besides, on what is no part of the search; nothing above counts it.
    """

    evaluations: int = 0
    reused: int = 0
    requests: int = 0
    judge_requests: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    apart: Ledger | None = None
    _seconds: float = 0.0
    _started: float | None = None

    @property
    def seconds(self) -> float:
        """Time spent, over all sessions of a run."""
        running = 0.0 if self._started is None else time.perf_counter() - self._started
        return self._seconds + running

    @property
    def written(self) -> int:
        """Tokens that writer and judge wrote."""
        return self.tokens["written"] + self.tokens["judge_written"]

    def add_requests(self, role: str, requests: int, asked: int, written: int) -> None:
        """Count what a model was asked as ``writer`` or ``judge``, and the tokens of that."""
        judging = role == "judge"
        self.requests += requests
        self.judge_requests += requests if judging else 0
        self.tokens["judge_asked" if judging else "asked"] += asked
        self.tokens["judge_written" if judging else "written"] += written

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within, time counts."""
        self._started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds, self._started = self.seconds, None

    @contextmanager
    def counting_apart(self) -> Iterator[None]:
        """Within, what is spent counts in ``apart``, once all of it is done."""
        before, tokens = self.record(), self.tokens.copy()
        yield
        apart = self.apart or Ledger()
        apart.evaluations += self.evaluations - before["evaluations"]
        apart.reused += self.reused - before["reused"]
        apart.requests += self.requests - before.get("requests", 0)
        apart.judge_requests += self.judge_requests - before.get("judge_requests", 0)
        apart.tokens += self.tokens - tokens
        apart._seconds += self.seconds - before["seconds"]
        self.restore(before)
        self.apart = apart
        if self._started is not None:
            self._started = time.perf_counter()

    def record(self) -> dict[str, Any]:
        """As logs and checkpoints hold it; a search without a writer has no requests."""
        return {
            "evaluations": self.evaluations,
            "reused": self.reused,
            **({"requests": self.requests} if self.requests else {}),
            **({"judge_requests": self.judge_requests} if self.judge_requests else {}),
            "tokens": dict(self.tokens),
            "seconds": self.seconds,
            **({} if self.apart is None else {"apart": self.apart.record()}),
        }

    def restore(self, record: dict[str, Any]) -> None:
        """Continue from a ``record``. The counter of tokens stays the same object."""
        self.evaluations, self.reused = record["evaluations"], record["reused"]
        self.requests = record.get("requests", 0)
        self.judge_requests = record.get("judge_requests", 0)
        self._seconds = record["seconds"]
        self.apart = None
        if "apart" in record:
            self.apart = Ledger()
            self.apart.restore(record["apart"])
        self.tokens.clear()
        self.tokens.update(record["tokens"])
