"""The tests; they mirror the packages."""

from prompt_optimization.threads import prefer_passive_waiting

prefer_passive_waiting()  # before torch is loaded
