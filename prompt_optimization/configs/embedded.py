"""The former name of `demo`, for commands that use it."""

from prompt_optimization.configs.demo import get_config

__all__ = ["get_config"]
