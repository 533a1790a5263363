"""Models that stay open from one run to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from prompt_optimization.models.model import Model
from prompt_optimization.models.open import Say, open_models
from prompt_optimization.models.settings import ComputeSettings, ModelSettings


class KeptModels:
    """Opens models as ``open_models`` does, and keeps them for whoever wants the same ones next.

    They are closed at the end, and when their user ends with an error, which may have left them in
    any state.
    """

    def __init__(self) -> None:
        self._opened = ExitStack()
        self._settings: object = None
        self._models: list[Model] = []

    def __enter__(self) -> KeptModels:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @contextmanager
    def open(
        self, models: Sequence[ModelSettings], compute: ComputeSettings, note: Say, warn: Say
    ) -> Iterator[list[Model]]:
        """As ``open_models``."""
        wanted = (tuple(models), compute)
        if wanted != self._settings:
            self._close()
            self._models = self._opened.enter_context(open_models(models, compute, note, warn))
            self._settings = wanted
        try:
            yield self._models
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        self._settings, self._models = None, []
        self._opened.close()
