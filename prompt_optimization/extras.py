"""Packages that only some commands need."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from prompt_optimization.errors import InputError


def require_package(need: str, extra: str, *packages: str, key: str | Sequence[str] = ()) -> None:
    """Check that ``packages``, which come with the extra of that name, can be imported.

    Args:
        need: what needs them.
        key: the settings that ask for it.

    Raises:
        InputError: one is missing.
    """
    for package in packages:
        if find_spec(package) is None:
            raise InputError(
                f"{need} needs the package {package}; install it with "
                f"pip install 'greater-prompt-optimization[{extra}]'",
                key=key,
            )
