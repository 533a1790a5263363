"""Where the project's own files are, from a checkout and from an installed package."""

from __future__ import annotations

import os
from pathlib import Path


def checkout() -> Path | None:
    """The checkout that this code runs from; None when it runs from an installed package."""
    folder = Path(__file__).resolve().parents[1]
    return folder if (folder / "experiments" / "main.py").is_file() else None


def user_path(text: str) -> Path:
    """A path as a user writes it: ``~`` and ``~name`` at its beginning are homes, where there is
    such a user."""
    return Path(os.path.expanduser(text))


def data_folder() -> Path:
    """The folder of task files: the checkout's, or else ``data`` below the current folder."""
    return (checkout() or Path()) / "data"
