"""SIGINT and SIGTERM end a run between two writes, not within one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)

_shields = 0
_waiting: int | None = None


class Interrupted(BaseException):
    """A signal asked the run to end.

    Attributes:
        code: the exit code that shells expect: 128 + the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, SIGINT and SIGTERM raise ``Interrupted`` in the main thread."""
    before = {number: signal.signal(number, _stop) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def shielded() -> Iterator[None]:
    """Within, ``Interrupted`` waits until the end."""
    global _shields, _waiting
    _shields += 1
    try:
        yield
    finally:
        _shields -= 1
        if not _shields and _waiting is not None:
            number, _waiting = _waiting, None
            raise Interrupted(number)


def _stop(number: int, frame: FrameType | None) -> None:
    global _waiting
    if _shields:
        _waiting = number
    else:
        raise Interrupted(number)
