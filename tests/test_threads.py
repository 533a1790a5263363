"""The wait policy that is chosen for torch's threads, in a process that has not loaded torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prompt_optimization.threads import SETTINGS

ROOT = Path(__file__).resolve().parents[1]
CALL = """
import json, os, sys
from prompt_optimization.threads import SETTINGS, prefer_passive_waiting
loaded = "torch" in sys.modules
prefer_passive_waiting()
found = {name: os.environ[name] for name in SETTINGS if name in os.environ}
print(json.dumps([loaded, "torch" in sys.modules, found]))
"""


def settings_after(program: str, given: dict[str, str]) -> list[object]:
    """Whether torch was loaded before and after the call, and the settings afterwards."""
    others = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**others, **given, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[object] = json.loads(done.stdout)
    return found


def test_waiting_is_passive_where_nothing_is_chosen() -> None:
    assert settings_after(CALL, {}) == [False, False, {"OMP_WAIT_POLICY": "PASSIVE"}]


@pytest.mark.parametrize(
    "chosen", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "1000"}, {"KMP_BLOCKTIME": "0"}]
)
def test_what_the_user_chose_stays(chosen: dict[str, str]) -> None:
    assert settings_after(CALL, chosen) == [False, False, chosen]


def test_nothing_is_set_once_torch_is_loaded() -> None:
    assert settings_after(f"import torch{CALL}", {}) == [True, True, {}]
