"""Which methods there are and what their settings are: known without loading torch."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from prompt_optimization.errors import InputError, did_you_mean
from prompt_optimization.keys import Settings

# The method that is meant where none is named; for long it was the only one.
DEFAULT = "greater"


def method_names() -> list[str]:
    """The folders of this package that hold a method."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/search.py"))


def module_of(name: str, part: str) -> ModuleType:
    """The module ``part`` of the method called ``name``.

    Raises:
        InputError: there is no method of that name.
    """
    known = method_names()
    if name not in known:
        raise InputError(f"method '{name}' is unknown; {did_you_mean(name, known)}", key="method")
    return import_module(f"{__package__}.{name}.{part}")


def settings_class(name: str) -> type[Settings]:
    """The group of settings of the method called ``name``.

    Raises:
        InputError: there is none.
    """
    found: type[Settings] = module_of(name, "settings").SETTINGS
    return found


def about(name: str) -> str:
    """What the method does, in a line."""
    text = import_module(f"{__package__}.{name}").__doc__ or ""
    return text.strip().partition("\n")[0]


def figures_of(name: str) -> ModuleType | None:
    """The module ``figures`` of the method called ``name``, for what its logs hold beside what all
    logs do, as a plot. None where there is none, also for a method that is not known here.

    It has the texts ``HEADING`` and ``AXES``, a function ``points(logs)`` that returns pairs of
    numbers from the contents of one log or of several, and a function ``note(points)`` that says in
    a line what they tell; only the report imports it.
    """
    module = f"{__package__}.{name}.figures"
    known = name in method_names() and find_spec(module) is not None
    return import_module(module) if known else None
