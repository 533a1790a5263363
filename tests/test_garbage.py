"""When garbage is looked for, in a process that has not loaded torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CALL = """
import gc, json, sys
from prompt_optimization.garbage import uncollected
found = []
try:
    with uncollected():
        found.append(gc.isenabled())
        raise ImportError
except ImportError:
    found += [gc.isenabled(), gc.get_freeze_count() > 0]
print(json.dumps(found))
"""


def found_by(program: str) -> list[bool]:
    """Whether there are collections within and afterwards, and whether objects are left out."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: list[bool] = json.loads(done.stdout)
    return found


def test_nothing_is_collected_while_torch_is_loaded() -> None:
    assert found_by(CALL) == [False, True, True]


def test_once_torch_is_loaded_nothing_changes() -> None:
    assert found_by(f"import sys; sys.modules['torch'] = sys{CALL}") == [True, True, False]


def test_whoever_collects_by_himself_still_does() -> None:
    assert found_by(f"import gc; gc.disable(){CALL}") == [False, False, False]


def test_the_fork_server_collects_nothing_while_it_loads_torch() -> None:
    program = "import prompt_optimization.models.preload, gc; print(gc.get_freeze_count())"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 100_000
