"""How torch's threads wait for each other on a CPU that has other work."""

from __future__ import annotations

import os
import sys

# What steers it: OpenMP's own variable, GNU's, and Intel's.
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def prefer_passive_waiting() -> None:
    """Let threads that wait for work sleep instead of spin, unless the user has chosen.

    Every operation of torch on a CPU ends with its threads waiting for the slowest. They spin,
    which is quick while nothing else runs and takes the core from whoever else needs it, the
    slowest thread included. OpenMP reads the environment once, when torch is loaded: call this
    before torch is imported; afterwards it does nothing. Processes that are started later inherit
    the choice.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in SETTINGS):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
