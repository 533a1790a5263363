"""Files of texts, and files that are whole at every moment."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from prompt_optimization.errors import InputError
from prompt_optimization.signals import shielded

WINDOWS = os.name == "nt"
REPLACE_TRIES = 20
REPLACE_WAIT = 0.1  # seconds


def read_text(path: Path, key: str) -> str:
    """The text of a UTF-8 file.

    Args:
        key: the setting that names the file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"file '{path}' cannot be read ({error.strerror})", key=key) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"file '{path}' is not UTF-8 text (byte {error.start}); save it as UTF-8", key=key
        ) from None


def write_whole(path: Path, data: bytes, key: str | Sequence[str] = ()) -> None:
    """Write ``data`` aside, make sure that it is on the disk, and put it in ``path``'s place.

    Signals that would stop the run wait until this is done.

    Args:
        key: the settings that name another place.

    Raises:
        InputError: it cannot be written; what stood in its place stays as it was.
    """
    temporary = None
    with shielded():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A rename asks for the folder's permission only; a file's own must count as well.
            if path.exists() and not path.stat().st_mode & 0o222:
                raise PermissionError(13, "it is read-only")
            with tempfile.NamedTemporaryFile(
                dir=path.parent, prefix=f".{path.name}-", delete=False
            ) as file:
                temporary = file.name
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            _replace(temporary, path)
            sync(path.parent)  # makes the rename last through a power cut
        except OSError as error:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            raise unwritable(path, error, key) from None


def unwritable(path: Path, error: OSError, key: str | Sequence[str]) -> InputError:
    """What to say when ``path`` cannot be written."""
    return InputError(
        f"'{path}' cannot be written ({error.strerror}); free space or choose another place",
        key=key,
    )


def remove_leftovers(path: Path) -> None:
    """Delete what killed writers of ``path``, and of what lies beside it, have left aside."""
    remove_leftovers_in(path.parent, rf"{re.escape(path.name)}(\.checkpoint)?")


def remove_leftovers_in(folder: Path, names: str) -> None:
    """The same for all files in ``folder`` whose names match the regular expression ``names``."""
    ours = re.compile(rf"\.({names})-[a-z0-9_]{{8}}")
    for leftover in folder.iterdir():
        if ours.fullmatch(leftover.name) and leftover.is_file():
            leftover.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have a file or folder on the disk before anything that relies on it is done."""
    folder = path.is_dir()
    if folder and WINDOWS:  # it opens no folders
        return
    # Windows syncs only what is open for writing.
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(source: str, target: Path) -> None:
    """Put ``source`` in ``target``'s place.

    Windows refuses while another process reads ``target``, which takes a moment.
    """
    for tries_left in reversed(range(REPLACE_TRIES if WINDOWS else 1)):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if not tries_left:
                raise
            time.sleep(REPLACE_WAIT)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
