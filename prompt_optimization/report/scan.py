"""The runs below a folder, as they are on the disk at this moment.

A log is read again only when its file has changed. Runs are named by an id that comes from where
they lie, so that who asks for one names no path.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.report.facts import Facts, details, headline, steps
from prompt_optimization.report.status import status_of
from prompt_optimization.report.transcripts import transcripts, written
from prompt_optimization.runs.store.collection import files_below, name_below, read_if_log
from prompt_optimization.runs.store.log import read_log

# Logs whose whole content is kept.
KEPT = 4

# What reading a log raises that is damaged, or that something else than this project wrote.
DAMAGED = (InputError, LookupError, TypeError, ValueError, AttributeError)

# Of a file: when it was last written, its length and its number.
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class _Known:
    """What was read of a file.

    Attributes:
        facts: the run's summary but for its status; None where the file is no log.
        head: the part of the log that its status depends on; None where there is none.
    """

    stamp: Stamp
    facts: Facts | None
    head: dict[str, Any] | None = None


class Scan:
    """The runs below ``folder``; every call looks at the disk anew. Threads may share it."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            InputError: there is no such folder.
        """
        files_below(folder)  # refuses it where it is none
        self.folder = folder
        self._known: dict[Path, _Known] = {}
        self._logs: OrderedDict[Path, tuple[Stamp, dict[str, Any]]] = OrderedDict()
        self._lock = Lock()

    def runs(self) -> list[Facts]:
        """A summary of every run, the newest first. Of a damaged log it has ``id``, ``name`` and
        ``damage``, which says what is wrong."""
        with self._lock:
            found = []
            for path in self._files():
                with contextlib.suppress(FileNotFoundError):  # gone since it was listed
                    facts = self._summary(path)
                    if facts is not None:
                        found.append(self._named(path) | facts)
        return sorted(found, key=lambda each: (each.get("started", ""), each["name"]))[::-1]

    def run(self, name: str, first: int = 0) -> Facts | None:
        """Everything about the run with the id ``name``, of its steps those from ``first`` on; None
        where there is none."""
        with self._lock:
            path = self.path_of(name)
            if path is None:
                return None
            try:
                log = self._log(path)
                facts = headline(log) | _status(path, log) | details(log)
                facts |= {"first": first, "list": steps(log, first), "written": written(path)}
                return self._named(path) | _checked(facts)
            except FileNotFoundError:
                return None
            except (*DAMAGED, OSError) as error:
                return self._named(path) | {"damage": _damage(error)}

    def transcripts(self, name: str, rows: Collection[int] | None = None) -> Facts | None:
        """What the models of the run with the id ``name`` wrote; None where there is no such run.

        Args:
            rows: the test rows that are wanted; all of them when left out.
        """
        path = self.path_of(name)
        if path is None:
            return None
        found = transcripts(path)
        if rows is not None:
            found["rows"] = [each for each in found["rows"] if each["row"] in rows]
        return found

    def path_of(self, name: str) -> Path | None:
        """The log of the run with the id ``name``; None where there is none."""
        return next((path for path in self._files() if _id(self._name(path)) == name), None)

    def _named(self, path: Path) -> Facts:
        name = self._name(path)
        return {"id": _id(name), "name": name}

    def _name(self, path: Path) -> str:
        return name_below(self.folder, path)

    def _files(self) -> Iterator[Path]:
        with contextlib.suppress(InputError):  # gone since the page was opened
            yield from files_below(self.folder)

    def _summary(self, path: Path) -> Facts | None:
        """Of the log at ``path``; None where the file is something else."""
        known = self._known.get(path)
        stamp = _stamp(path)
        if known is None or known.stamp != stamp:
            known = self._known[path] = _read(path, stamp)
        if known.facts is None or known.head is None:
            return known.facts
        # Whether a process works on a run changes without its log.
        return known.facts | _status(path, known.head)

    def _log(self, path: Path) -> dict[str, Any]:
        stamp = _stamp(path)
        known, log = self._logs.pop(path, (None, {}))
        if known != stamp:
            log = read_log(path)
        self._logs[path] = stamp, log
        while len(self._logs) > KEPT:
            self._logs.popitem(last=False)
        return log


def _read(path: Path, stamp: Stamp) -> _Known:
    try:
        log = read_if_log(path)
        if log is None:
            return _Known(stamp, None)
        head = {"status": log["status"], "sessions": log["sessions"][-1:]}
        _status(path, head)
        return _Known(stamp, _checked(headline(log)), head)
    except DAMAGED as error:
        return _Known(stamp, {"damage": _damage(error)})


def _status(path: Path, head: Mapping[str, Any]) -> Facts:
    status = status_of(path, head)
    now = asdict(status.now) if status.now else None
    return {"status": status.name, "since": status.since, "now": now}


def _checked(facts: Facts) -> Facts:
    """``facts``, when JSON can hold them.

    Raises:
        ValueError: it cannot.
    """
    json.dumps(facts, allow_nan=False)
    return facts


def _damage(error: Exception) -> str:
    """What is wrong with a log, in words."""
    if isinstance(error, InputError):
        return str(error)
    return "the file is damaged, or is no log of this version; name another file, or move it away"


def _id(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino
