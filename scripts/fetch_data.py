"""Fetch the authors' data: ``python scripts/fetch_data.py bbh gsm8k folio``."""

from __future__ import annotations

import shlex
import sys

from prompt_optimization.commands.fetch_data import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], shlex.join(["python", sys.argv[0]])))
