"""What methods share that load a model of their own, such as a policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prompt_optimization.errors import InputError


@contextmanager
def worded_for(group: str) -> Iterator[None]:
    """Refusals within name the keys of ``group`` by which the method's own model is chosen.

    Raises:
        InputError: what is refused, with ``policy_model`` or ``device`` of ``group`` as its key.
    """
    try:
        yield
    except InputError as error:
        part = "device" if {"devices", "dtype"} & {*error.keys} else "policy_model"
        raise InputError(error.problem, key=f"{group}.{part}") from None
