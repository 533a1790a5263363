"""What every command keeps, read by somebody who has never called it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from prompt_optimization.commands.greater import COMMANDS

# Help and a typo in one process, which is all that either needs; torch is never loaded,
# and transformers only by evaluate.
CODE = """
import sys
from prompt_optimization.commands.greater import main
name = sys.argv[1]
sys.argv = ["greater", name, "--help"]
try:
    code = main()
except SystemExit as ended:
    code = ended.code
assert code in (0, None), code
assert "torch" not in sys.modules
assert name == "evaluate" or "transformers" not in sys.modules
sys.argv = ["greater", name, "--hlep"]
sys.exit(main())
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_there_at_once_and_a_typo_is_one_sentence(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, name],
        capture_output=True, encoding="ascii", stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "60", "LC_ALL": "C", "PYTHONUTF8": "0",
             "PYTHONCOERCECLOCALE": "0"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith(f"usage: greater {name}")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
