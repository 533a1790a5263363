"""A progress bar over the steps of one search or of several."""

from __future__ import annotations

from tqdm.auto import tqdm

from prompt_optimization.runs.observers import Observer, StepDone


class ProgressBar(Observer):
    """One bar for all searches of a call."""

    def __init__(self, steps: int, show: bool) -> None:
        """
        Args:
            steps: of all searches together.
        """
        self._bar = tqdm(total=steps, disable=not show, unit="round")

    def skip(self, steps: int) -> None:
        """Steps that an earlier session has made."""
        self._bar.update(steps)

    def activity(self, phase: str, done: int, of: int) -> None:
        self._bar.set_description(f"{phase} {done}/{of}" if of else phase)

    def step(self, event: StepDone) -> None:
        self._bar.set_postfix(objective=f"{event.best[0]['objective']:.4f}", refresh=False)
        self._bar.update()

    def close(self) -> None:
        self._bar.close()
