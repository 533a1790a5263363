"""Compare methods at one budget: ``python compare.py --config=./configs/demo.py --methods=...``."""

from __future__ import annotations

import shlex
import sys

from prompt_optimization.commands.compare import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], shlex.join(["python", sys.argv[0]])))
