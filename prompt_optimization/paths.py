"""Where the project's own files are, from a checkout and from an installed package."""

from __future__ import annotations

from pathlib import Path


def checkout() -> Path | None:
    """The checkout that this code runs from; None when it runs from an installed package."""
    folder = Path(__file__).resolve().parents[1]
    return folder if (folder / "experiments" / "main.py").is_file() else None


def data_folder() -> Path:
    """The folder of task files: the checkout's, or else ``data`` below the current folder."""
    return (checkout() or Path()) / "data"
