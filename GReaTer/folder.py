"""Where an optimisation stands, in a folder: what ``optimize(resume=...)`` goes on with.

``optimize.json`` says what is optimised; ``<n>.checkpoint`` holds the search of group n behind its
last round, and ``<n>.history.json`` the rounds until then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from GReaTer.outputs import Round
from prompt_optimization.errors import InputError
from prompt_optimization.files import write_whole
from prompt_optimization.optimizers.greater.search import GreaterSearch
from prompt_optimization.optimizers.greater.snapshot import restore, snapshot
from prompt_optimization.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from prompt_optimization.runs.lock import RunLock
from prompt_optimization.signals import shielded

FORMAT = 1

# What killed writers have left aside.
LEFTOVER = re.compile(r"\.(optimize\.json|\d+\.history\.json|\d+\.checkpoint)-[a-z0-9_]{8}")


class ResumeFolder:
    """The folder of one optimisation, locked while it is worked on."""

    def __init__(self, path: str | Path, identity: dict[str, Any]) -> None:
        """
        Args:
            identity: what must be the same to go on, by name.

        Raises:
            InputError: the folder belongs to another optimisation, or another process works there.
        """
        self.path = Path(path).expanduser()
        self.identity = identity
        self._locks = ExitStack()
        self._locks.enter_context(RunLock(self.path / "optimize"))
        try:
            self._claim()
        except BaseException:
            self._locks.close()
            raise

    def __enter__(self) -> ResumeFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._locks.close()

    def restore(self, group: int, search: GreaterSearch) -> list[Round]:
        """Bring ``search`` to where it stood, if it ever did, and return its rounds.

        Raises:
            InputError: a file is damaged.
        """
        checkpoint = self._checkpoint(group)
        if not checkpoint.exists():
            return []
        restore(search, load_checkpoint(checkpoint).search)
        assert search.state is not None
        history = _read(self._history(group))
        # The history is written first: a kill in between leaves it a round ahead.
        try:
            rounds = [
                Round(**{**step, "tried": tuple(step["tried"])}) for step in history["rounds"]
            ]
        except (LookupError, TypeError):
            raise _damaged(self._history(group)) from None
        return rounds[: search.state.step]

    def save(self, group: int, search: GreaterSearch, history: Sequence[Round]) -> None:
        """Keep where ``search`` stands.

        Raises:
            InputError: it cannot be written; what was kept before stays.
        """
        rounds = {"rounds": [asdict(step) for step in history]}
        with shielded():
            write_whole(self._history(group), json.dumps(rounds).encode())
            save_checkpoint(self._checkpoint(group), Checkpoint("library", snapshot(search)))

    def _claim(self) -> None:
        path = self.path / "optimize.json"
        if not path.exists():
            if any(self.path.glob("*.checkpoint")):
                raise InputError(
                    f"'{self.path}' holds checkpoints, but 'optimize.json', which says of what, is "
                    "gone; give resume an empty folder"
                )
            written = {"format": FORMAT, "identity": self.identity}
            write_whole(path, json.dumps(written, indent=1).encode())
            return
        for each in self.path.iterdir():
            if LEFTOVER.fullmatch(each.name):
                each.unlink(missing_ok=True)
        content = _read(path)
        if content.get("format") != FORMAT:
            raise InputError(
                f"'{path}' has format {content.get('format')} and this version reads {FORMAT}; "
                "resume with the version that wrote it"
            )
        before = content.get("identity")
        if not isinstance(before, dict):
            raise _damaged(path)
        now = json.loads(json.dumps(self.identity))
        different = [
            f"{name} was {before.get(name)!r} and is {value!r}"
            for name, value in now.items()
            if before.get(name) != value
        ]
        if different:
            raise InputError(
                f"'{self.path}' holds another optimisation: {'; '.join(different)}; set it back, "
                "or give resume an empty folder"
            )

    def _checkpoint(self, group: int) -> Path:
        return self.path / f"{group}.checkpoint"

    def _history(self, group: int) -> Path:
        return self.path / f"{group}.history.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(content, dict)
        return content
    except (OSError, ValueError, AssertionError):
        raise _damaged(path) from None


def _damaged(path: Path) -> InputError:
    return InputError(
        f"'{path}' is missing or damaged, so nothing can go on from there; give resume an empty "
        "folder"
    )
