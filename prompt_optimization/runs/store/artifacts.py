"""What the method of a run keeps: a folder beside the log, every file whole at every moment.

``index.json`` says of each file what it was made from and what it holds. It is written second, so
a file that a killed process has left without its entry counts as missing, and is made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from prompt_optimization.errors import InputError, require
from prompt_optimization.files import read_text, write_whole
from prompt_optimization.optimizers.artifacts import NAME, Artifacts
from prompt_optimization.runs.store.log import PLACE

INDEX = "index.json"


def artifacts_path(log: Path) -> Path:
    """The folder that belongs to a log."""
    return log.with_name(f"{log.name}.artifacts")


def remove_artifacts(log: Path) -> None:
    """Delete what an earlier run of that name has kept."""
    shutil.rmtree(artifacts_path(log), ignore_errors=True)


class ArtifactFolder(Artifacts):
    """Artifacts in a folder, which is made when there is something to keep."""

    def __init__(self, folder: Path) -> None:
        """Read what the folder holds.

        Raises:
            InputError: its index cannot be read.
        """
        super().__init__()
        self.folder = folder
        self._index: dict[str, list[str]] = {}
        path = folder / INDEX
        if not path.exists():
            return
        text = read_text(path, "result_prefix")
        try:
            self._index = json.loads(text)
            require(isinstance(self._index, dict))
            for name, entry in self._index.items():
                require(NAME.fullmatch(name) is not None and len(entry) == 2)
        except (ValueError, TypeError):
            raise InputError(
                f"'{path}' is not the index of what a run has kept; move the folder away",
                key=PLACE,
            ) from None

    def get(self, name: str, key: str | None = None) -> bytes | None:
        kept, digest = self._index.get(name, ("", ""))
        if name not in self._index or key not in (None, kept):
            return None
        path = self.folder / name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"'{path}' cannot be read ({error.strerror})") from None
        return data if _sha256(data) == digest else None

    def put(self, name: str, key: str, data: bytes) -> None:
        assert NAME.fullmatch(name) and name != INDEX, name
        write_whole(self.folder / name, data, PLACE)
        self._index[name] = [key, _sha256(data)]
        write_whole(self.folder / INDEX, json.dumps(self._index, indent=1).encode(), PLACE)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
