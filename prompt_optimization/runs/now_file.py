"""What a run does within a step, for who watches it from another process."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

from prompt_optimization.runs.observers import End, Observer
from prompt_optimization.runs.store.now import Now, remove_now, write_now

# Seconds between two writes of the progress within a phase at least.
INTERVAL = 1.0


class NowFile(Observer):
    """Keeps ``<log>.now`` while the run lasts. A process that is killed leaves it: it tells where
    the run was."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._now = Now("", 0, 0, "")
        self._written = float("-inf")

    def activity(self, phase: str, done: int, of: int) -> None:
        began = phase != self._now.phase
        since = datetime.now().isoformat(timespec="seconds") if began else self._now.since
        self._now = Now(phase, done, of, since)
        # A phase may show no progress until it ends, so that its beginning has to be there.
        moment = time.monotonic()
        if began or moment - self._written >= INTERVAL:
            self._written = moment
            write_now(self.log, self._now)

    def end(self, event: End) -> None:
        remove_now(self.log)
