"""Texts as vectors, each encoded once: what was encoded is kept by the hash of its text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prompt_optimization.models.embedder import Embedder
from prompt_optimization.optimizers.artifacts import Artifacts, made_from
from prompt_optimization.optimizers.oirl.arrays import arrays_of, npz

NAME = "embeddings.npz"
# Texts after which what was encoded is kept.
BLOCK = 500

Vectors = NDArray[np.float32]


def encoder_key(embedder: Embedder) -> str:
    """The hash of what vectors depend on: an encoder gives a known text its own vector."""
    return made_from(embedder.embed(["How many are left?"]).tobytes())


def vectors_of(texts: Sequence[str], embedder: Embedder, artifacts: Artifacts) -> Vectors:
    """[texts, width]: the vectors of ``texts``; ``artifacts`` keeps them for the next time.

    Raises:
        InputError: they cannot be kept.
    """
    key = encoder_key(embedder)
    known: dict[bytes, Vectors] = {}
    data = artifacts.get(NAME, key)
    if data is not None:
        arrays = arrays_of(data)
        known = {each.tobytes(): row for each, row in zip(*arrays.values(), strict=True)}
    names = [hashlib.sha256(text.encode()).digest() for text in texts]
    wanted = dict(zip(names, texts, strict=True))
    missing = [name for name in wanted if name not in known]
    for start in range(0, len(missing), BLOCK):
        block = missing[start : start + BLOCK]
        rows = embedder.embed([wanted[name] for name in block])
        known |= dict(zip(block, rows, strict=True))
        hashes = np.frombuffer(b"".join(known), np.uint8).reshape(len(known), -1)
        artifacts.put(NAME, key, npz({"hashes": hashes, "vectors": np.stack([*known.values()])}))
    return np.stack([known[name] for name in names])
