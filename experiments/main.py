"""Optimise a prompt: ``python main.py --config=./configs/embedded.py [--config.KEY=VALUE ...]``."""

from __future__ import annotations

import shlex
import sys

from prompt_optimization.commands.optimize import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], shlex.join(["python", sys.argv[0]])))
