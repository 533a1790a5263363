"""Where an optimisation stands, in a folder: what ``optimize(resume=...)`` goes on with.

``optimize.json`` says what is optimised; ``<n>.checkpoint`` holds the search of group n behind its
last round, and ``<n>.history.json`` the rounds until then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from GReaTer.outputs import Round
from prompt_optimization.errors import InputError
from prompt_optimization.files import remove_leftovers_in, write_whole
from prompt_optimization.optimizers.greater.search import GreaterSearch
from prompt_optimization.optimizers.greater.snapshot import restore, snapshot
from prompt_optimization.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from prompt_optimization.runs.lock import RunLock
from prompt_optimization.signals import shielded

FORMAT = 1

# The files of a folder.
NAMES = r"optimize\.json|\d+\.history\.json|\d+\.checkpoint"


@contextmanager
def resume_folder(path: str | Path, identity: dict[str, Any]) -> Iterator[ResumeFolder]:
    """The folder of an optimisation, locked while it is worked on.

    Args:
        identity: what must be the same to go on, by name.

    Raises:
        InputError: the folder belongs to another optimisation, or another process works there.
    """
    folder = ResumeFolder(Path(path).expanduser())
    with RunLock(folder.path / "optimize"):
        folder.claim(identity)
        yield folder


class ResumeFolder:
    """The folder of one optimisation."""

    def __init__(self, path: Path) -> None:
        self.path = path

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

    def claim(self, identity: dict[str, Any]) -> None:
        """Make sure that the folder belongs to the optimisation of this identity.

        Raises:
            InputError: it belongs to another one, or is damaged.
        """
        path = self.path / "optimize.json"
        if not path.exists():
            if any(self.path.glob("*.checkpoint")):
                raise InputError(
                    f"'{self.path}' holds checkpoints, but 'optimize.json', which says of what, is "
                    "gone; give resume an empty folder"
                )
            written = {"format": FORMAT, "identity": identity}
            write_whole(path, json.dumps(written, indent=1).encode())
            return
        remove_leftovers_in(self.path, NAMES)
        content = _read(path)
        if content.get("format") != FORMAT:
            raise InputError(
                f"'{path}' has format {content.get('format')} and this version reads {FORMAT}; "
                "resume with the version that wrote it"
            )
        before = content.get("identity")
        if not isinstance(before, dict):
            raise _damaged(path)
        now = json.loads(json.dumps(identity))
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
