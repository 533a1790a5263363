"""What a method makes and keeps besides its state: tables, trained models, reports.

A method knows no file. It gives bytes a name, and says by a key what they were made from.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

# Names are paths of plain parts, so that a store can make files of them.
NAME = re.compile(r"[a-z0-9_-][a-z0-9_.-]*(/[a-z0-9_-][a-z0-9_.-]*)*")


class Artifacts:
    """Named bytes, in memory. The store of a run has a subclass that keeps files beside the log."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, bytes]] = {}

    def get(self, name: str, key: str | None = None) -> bytes | None:
        """What is kept under ``name``; None where there is nothing, or where it was made from
        something else than ``key`` says.

        Args:
            key: as ``put`` was given it; whatever it was when left out.

        Raises:
            InputError: it cannot be read.
        """
        kept, data = self._kept.get(name, ("", b""))
        return data if name in self._kept and key in (None, kept) else None

    def put(self, name: str, key: str, data: bytes) -> None:
        """Keep ``data`` under ``name``, in place of what was kept there.

        Args:
            key: the hash of all that ``data`` depends on (``made_from``).

        Raises:
            InputError: it cannot be written.
        """
        assert NAME.fullmatch(name), name
        self._kept[name] = key, data


def made_from(*parts: Any) -> str:
    """The hash of ``parts``, which are bytes or what JSON can hold."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        digest.update(hashlib.sha256(raw).digest())
    return digest.hexdigest()
