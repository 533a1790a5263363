"""What is being done right now, for those who watch, and how long each part of it took."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Seconds between two notifications of progress: a decoding step takes less.
INTERVAL = 0.1

# (phase, done, of): ``of`` is 0 where the amount of work is not known.
Notify = Callable[[str, int, int], None]


class Activity:
    """The phases of the work in progress. Phases follow each other and do not nest.

    Attributes:
        notify: called when a phase begins and as its work progresses.
    """

    def __init__(self) -> None:
        self.notify: Notify = lambda phase, done, of: None
        self._phase = ""
        self._told = 0.0
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Within, the work belongs to the phase called ``name``."""
        self._phase = name
        self.notify(name, 0, 0)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start

    def progress(self, done: int, of: int) -> None:
        """``done`` pieces of the current phase's work, ``of`` how many, are finished."""
        now = time.monotonic()
        if done == of or now - self._told >= INTERVAL:
            self._told = now
            self.notify(self._phase, done, of)

    def take_seconds(self) -> dict[str, float]:
        """Seconds by phase since the last call."""
        found = dict(self._seconds)
        self._seconds.clear()
        return found
