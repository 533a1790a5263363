"""Measurements, each a command: ``python -m benchmarks.step --help``."""

from prompt_optimization.threads import prefer_passive_waiting

prefer_passive_waiting()  # before torch is loaded
