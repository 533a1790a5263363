"""What a fork server imports once for all workers that it will start."""

from __future__ import annotations

from prompt_optimization.garbage import uncollected

with uncollected():
    import prompt_optimization.models.worker  # noqa: F401
