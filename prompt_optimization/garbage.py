"""When Python looks for garbage while a command starts."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Within, torch and what builds on it are imported without a look for garbage.

    An import makes hundreds of thousands of objects that stay. Python looks through all of them
    several times meanwhile, and again in every full collection of the run. So what is there at the
    end is left out of all collections to come. Where torch is loaded already, nothing changes:
    objects of the caller's may be garbage by then.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
