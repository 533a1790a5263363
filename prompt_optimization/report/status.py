"""What has become of a run: a log that says ``running`` may have lost its process."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from prompt_optimization.runs.store.lock import is_locked
from prompt_optimization.runs.store.now import Now, now_path, read_now

RUNNING, STOPPED = "running", "stopped"

# Seconds without a sign of life after which a run on another machine counts as stopped: not every
# shared disk carries locks from one machine to the other.
SILENCE = 60.0


@dataclass(frozen=True)
class Status:
    """What a run does.

    Attributes:
        name: ``running``, ``finished``, ``failed`` or ``interrupted`` as the log has it; or
            ``stopped``: the log says ``running`` and no process works on it.
        since: a date and time of this machine: when the run began or was resumed where it is
            running, else its last sign of life.
        now: what it does within its step, or did when it stopped.
    """

    name: str
    since: str
    now: Now | None = None

    def __str__(self) -> str:
        return f"{self.name} since {self.since.replace('T', ' ')}"


def status_of(path: Path, log: Mapping[str, Any]) -> Status:
    """The status of the run whose log lies at ``path`` and holds ``log``.

    Raises:
        OSError: the log is gone.
    """
    last = path.stat().st_mtime
    if log["status"] != RUNNING:
        return Status(log["status"], _time(last))
    with contextlib.suppress(OSError):  # There is no such file before the first phase.
        last = max(last, now_path(path).stat().st_mtime)
    session, now = log["sessions"][-1], read_now(path)
    # The library locks the folder of a call's runs.
    if is_locked(path) or is_locked(path.with_name("optimize")):
        return Status(RUNNING, str(session["started"]), now)
    elsewhere = session.get("host") != socket.gethostname()
    if elsewhere and datetime.now().timestamp() - last < SILENCE:
        return Status(RUNNING, str(session["started"]), now)
    return Status(STOPPED, _time(last), now)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(timespec="seconds")
