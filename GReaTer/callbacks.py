"""Watching a search while it goes on."""

from __future__ import annotations

from GReaTer.outputs import GreaterOutputs, Round
from prompt_optimization.runs.observers import Observer, StepDone


class GreaterCallback:
    """Derive from it and override what you need.

    When ``on_step`` or ``on_accept`` returns True, the whole call ends after that round, searches
    that have not begun are left out, and what was found until then is returned as usual. A
    callback whose ``on_step`` or ``on_accept`` fails is left out from then on, with a warning.
    """

    def on_step(self, step: Round) -> bool | None:
        """After every round."""
        return None

    def on_accept(self, step: Round) -> bool | None:
        """After a round that changed the prompt."""
        return None

    def on_end(self, outputs: GreaterOutputs) -> None:
        """When everything is done, held-out scoring too."""


class Notifier(Observer):
    """Hands the rounds of one search to a callback."""

    def __init__(self, callback: GreaterCallback, group: int) -> None:
        self.callback = callback
        self.group = group

    def step(self, event: StepDone) -> bool | None:
        step = Round.of_record(self.group, event.record)
        wish = bool(self.callback.on_step(step))
        return wish | bool(step.accepted and self.callback.on_accept(step))
