"""Being told of a search while it goes on."""

from __future__ import annotations

from GReaTer.outputs import GreaterOutputs, Round


class GreaterCallback:
    """Derive from it and override what you need.

    When ``on_step`` or ``on_accept`` returns True, the whole call ends behind that round, searches
    that have not begun are left out, and what was found until then is returned as usual.
    """

    def on_step(self, step: Round) -> bool | None:
        """After every round."""
        return None

    def on_accept(self, step: Round) -> bool | None:
        """After a round that changed the prompt."""
        return None

    def on_end(self, outputs: GreaterOutputs) -> None:
        """When everything is done, held-out evaluation too."""
