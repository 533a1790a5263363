"""The incumbents of a search that sees other rows in every step, and which of them are finalists.

Their objectives are on different rows, so those do not rank them: an incumbent with a low one may
have had easy rows. One that stood for many steps was compared with others on as many sets of rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

from prompt_optimization.optimizers.base import Entry


@dataclass
class Incumbent:
    """
    Attributes:
        found: the step that found it.
        stood: the steps that began with it.
        whole: it was scored on all rows.
    """

    text: str
    found: int
    stood: int = 0
    whole: bool = False


class Incumbents:
    """All of them, the initial prompt included, in the order in which they came."""

    def __init__(self, initial: str = "") -> None:
        self._all = {initial: Incumbent(initial, -1, whole=True)}

    def see(self, entry: Entry) -> None:
        """A step begins with ``entry``."""
        self._all.setdefault(entry.text, Incumbent(entry.text, entry.step)).stood += 1

    def finalists(self, count: int, last: Entry) -> list[Incumbent]:
        """The ``count`` that stood longest, later ones first among equals. ``last`` is the first
        one, because it has had no chance to stand."""
        order = sorted(self._all.values(), key=lambda each: (-each.stood, -each.found))
        newest = self._all.get(last.text, Incumbent(last.text, last.step))
        return [newest, *(each for each in order if each.text != last.text)][:count]

    def scored(self, incumbent: Incumbent) -> None:
        """It was scored on all rows."""
        self._all.setdefault(incumbent.text, incumbent).whole = True

    def state_dict(self) -> list[Any]:
        return [list(astuple(each)) for each in self._all.values()]

    def load_state_dict(self, state: Iterable[Any]) -> None:
        self._all = {each[0]: Incumbent(*each) for each in state}
