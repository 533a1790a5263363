"""One process at a time works on a run."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from datetime import datetime
from pathlib import Path
from types import TracebackType

from prompt_optimization.errors import InputError
from prompt_optimization.runs.store.log import PLACE


class RunLock:
    """Holds ``<log>.lock`` while a run is worked on.

    The operating system releases the lock when its owner ends, however it ends, so a file that a
    killed process has left is no obstacle.
    """

    def __init__(self, log: Path) -> None:
        """
        Raises:
            InputError: another process holds the lock, or the file cannot be made.
        """
        self.path = log.with_name(f"{log.name}.lock")
        try:
            self._take(log)
            self._sign()
        except OSError as error:
            raise InputError(
                f"'{self.path}' cannot be locked ({error.strerror}); choose another place",
                key=PLACE,
            ) from None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.path.unlink(missing_ok=True)
        self._file.close()

    def _take(self, log: Path) -> None:
        while True:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+", encoding="utf-8")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = self._owner()
                self._file.close()
                raise InputError(
                    f"another process works on '{log}' ({owner}); wait for it, or choose another "
                    "place",
                    key="result_prefix",
                ) from None
            if self._is_current():
                return
            self._file.close()  # its owner removed it between open and lock

    def _sign(self) -> None:
        self._file.truncate(0)
        json.dump(
            {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "since": datetime.now().isoformat(timespec="seconds"),
            },
            self._file,
        )
        self._file.flush()

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def _owner(self) -> str:
        self._file.seek(0)
        try:
            owner = json.load(self._file)
            return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
        except (ValueError, KeyError, TypeError):
            return "its owner is unknown"
