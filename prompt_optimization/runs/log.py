"""The run's JSON log, valid at every moment.

It holds ``params``, ``environment``, ``status``, the llm-attacks lists ``controls``, ``losses``,
``runtimes`` and ``tests`` that existing consumers read, then ``steps``, ``best`` and
``evaluation``. Every change writes the whole file aside and renames it into place.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError

FORMAT = 1


class RunLog:
    """A log file and its content."""

    def __init__(self, path: Path, params: dict[str, Any], environment: dict[str, Any]) -> None:
        """Create the file.

        Raises:
            InputError: the folder cannot be made or written.
        """
        self.path = path
        self.data: dict[str, Any] = {
            "format": FORMAT,
            "status": "running",
            "params": params,
            "environment": environment,
            "controls": [],
            "losses": [],
            "runtimes": [],
            "tests": [],
            "initial": None,
            "steps": [],
            "best": [],
            "evaluation": None,
        }
        self.write()

    def step(self, record: dict[str, Any], best: list[dict[str, Any]]) -> None:
        """Add one finished step."""
        self.data["steps"].append(record)
        self.data["controls"].append(record["incumbent"]["prompt"])
        self.data["losses"].append(record["incumbent"]["objective"])
        self.data["runtimes"].append(sum(record["seconds"].values()))
        self.data["best"] = best
        self.write()

    def finish(self, status: str, **fields: Any) -> None:
        """Set the final status and whatever else is known now."""
        self.data.update(fields, status=status)
        self.write()

    def write(self) -> None:
        """Write the whole log aside, then put it in place.

        Raises:
            InputError: the folder cannot be written; the log on disk stays as it was.
        """
        text = json.dumps(self.data, ensure_ascii=False, allow_nan=False, indent=1, default=str)
        temporary = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=self.path.parent, prefix=".log-", delete=False
            ) as file:
                temporary = file.name
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, self.path)
        except OSError as error:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            raise InputError(
                f"the log '{self.path}' cannot be written ({error.strerror}); free space or "
                "choose another place with --config.result_prefix or --config.logfile"
            ) from None


def log_path(prefix: str) -> Path:
    """A log file for ``prefix`` that does not exist yet: ``prefix_<date>-<time>.json``."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = Path(f"{prefix}_{stamp}.json").expanduser()
    number = 1
    while path.exists():
        path = Path(f"{prefix}_{stamp}-{number}.json").expanduser()
        number += 1
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
