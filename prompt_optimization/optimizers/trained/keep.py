"""What training gave is kept, so that the same is not trained twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from prompt_optimization.optimizers.artifacts import Artifacts
from prompt_optimization.optimizers.trained.policy import Weights, to_bytes


def train_once(
    artifacts: Artifacts,
    name: str,
    key: str,
    train: Callable[[], tuple[Weights, dict[str, Any]]],
    *,
    known: bool = True,
) -> tuple[bytes, dict[str, Any]]:
    """The weights that ``train`` gives, as ``to_bytes`` writes them, and what is said of them.

    Args:
        name: under which both are kept.
        key: the hash of all that they depend on.
        known: take them where they are kept; else train in any case.

    Raises:
        As ``train`` and ``Artifacts``.
    """
    weights = artifacts.get(f"{name}.safetensors", key) if known else None
    about = artifacts.get(f"{name}.json", key) if known else None
    if weights is None or about is None:
        made, said = train()
        weights, about = to_bytes(made), json.dumps(said).encode()
        artifacts.put(f"{name}.safetensors", key, weights)
        artifacts.put(f"{name}.json", key, about)
    details: dict[str, Any] = json.loads(about)
    return weights, details
