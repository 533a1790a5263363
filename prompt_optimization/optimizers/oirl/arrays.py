"""Arrays as bytes and back, and what kinds there are."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What reading an npz that is none, or a damaged one, may raise.
DAMAGED = (
    EOFError, LookupError, OSError, TypeError, ValueError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


def npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    """``arrays`` as one file; the same arrays give the same bytes."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def arrays_of(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays that ``npz`` wrote."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
