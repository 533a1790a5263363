"""The settings of ``greater``; those of the gradient have no effect."""

from __future__ import annotations

from prompt_optimization.optimizers.greater.settings import GreaterSettings

SETTINGS = GreaterSettings
