"""One process at a time works on a run."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from datetime import datetime
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout, UnixFileLock

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from prompt_optimization.errors import InputError
from prompt_optimization.runs.store.log import PLACE

# A lock may be in the middle of being released, or be looked at.
PATIENCE = 0.1  # seconds


def lock_path(log: Path) -> Path:
    return log.with_name(f"{log.name}.lock")


def is_locked(log: Path) -> bool:
    """Whether a process works on the run of ``log``; nothing is changed."""
    try:
        with lock_path(log).open("rb") as file:
            if fcntl is None:
                file.read(1)  # which is refused while the file is locked
            else:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except PermissionError:
        return fcntl is None
    except OSError:
        return False
    return False


class RunLock:
    """Holds ``<log>.lock`` while a run is worked on; ``<log>.owner`` says who does.

    The operating system releases the lock when its owner ends, however it ends, so files that a
    killed process has left are no obstacle. Nobody can read a locked file on Windows, so the note
    is a file of its own.
    """

    def __init__(self, log: Path) -> None:
        """
        Raises:
            InputError: another process holds the lock, or the files cannot be made.
        """
        self.path = lock_path(log)
        self._note = log.with_name(f"{log.name}.owner")
        self._lock = FileLock(self.path, timeout=PATIENCE)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise InputError(
                f"another process works on '{log}' ({self._owner()}); wait for it, or choose "
                "another place",
                key="result_prefix",
            ) from None
        except OSError as error:
            raise self._unusable(error) from None
        try:
            self._sign()
        except OSError as error:
            self._release()
            raise self._unusable(error) from None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()

    def _release(self) -> None:
        # A note that stays behind, on a disk that has become read-only, says nothing wrong: nobody
        # reads it without a lock.
        with contextlib.suppress(OSError):
            self._note.unlink(missing_ok=True)
        if isinstance(self._lock, UnixFileLock):  # the other kinds remove their file themselves
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
        self._lock.release()

    def _sign(self) -> None:
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now().isoformat(timespec="seconds"),
        }
        self._note.write_text(json.dumps(owner), encoding="utf-8")

    def _owner(self) -> str:
        try:
            owner = json.loads(self._note.read_text(encoding="utf-8"))
            return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "its owner is unknown"

    def _unusable(self, error: OSError) -> InputError:
        return InputError(
            f"'{self.path}' cannot be locked ({error.strerror}); choose another place", key=PLACE
        )
