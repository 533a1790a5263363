"""What a run does within a step, in a small file beside its log that lasts as long as the run.

It is no part of the log, and who reads logs passes it over.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Now:
    """What is being done.

    Attributes:
        phase: its name.
        done, of: pieces of its work; ``of`` is 0 where the amount is not known.
        since: when the phase began, as an ISO date and time.
    """

    phase: str
    done: int
    of: int
    since: str


def now_path(log: Path) -> Path:
    return log.with_name(f"{log.name}.now")


def write_now(log: Path, now: Now) -> None:
    """Replace the file beside ``log``. It need not last through a power cut.

    Raises:
        OSError: it cannot be written.
    """
    aside = log.with_name(f".{log.name}.now")
    aside.write_text(json.dumps(asdict(now)), encoding="utf-8")
    # Windows refuses while somebody reads it; the next one follows soon.
    with contextlib.suppress(PermissionError):
        os.replace(aside, now_path(log))


def remove_now(log: Path) -> None:
    """The run beside ``log`` does nothing any more."""
    for path in (now_path(log), log.with_name(f".{log.name}.now")):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def read_now(log: Path) -> Now | None:
    """What the run of ``log`` does, or did when its process ended; None where nothing tells."""
    try:
        found = json.loads(now_path(log).read_text(encoding="utf-8"))
        phase, done, of, since = (found[key] for key in ("phase", "done", "of", "since"))
        return Now(str(phase), int(done), int(of), str(since))
    except (OSError, ValueError, LookupError, TypeError):
        return None
