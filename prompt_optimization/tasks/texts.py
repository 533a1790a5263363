"""Files that hold one text a line."""

from __future__ import annotations

from pathlib import Path

from prompt_optimization.errors import InputError


def read_lines(path: Path, key: str) -> list[str]:
    """The lines of a UTF-8 file that are not blank.

    Args:
        key: the setting that names the file.

    Raises:
        InputError: it cannot be read, or holds no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"file '{path}' cannot be read ({error.strerror})", key=key) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"file '{path}' is not UTF-8 text (byte {error.start}); save it as UTF-8", key=key
        ) from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"file '{path}' holds no text; give one with a text a line", key=key)
    return lines
