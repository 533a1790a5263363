"""``python -m prompt_optimization COMMAND`` is ``greater COMMAND``."""

from __future__ import annotations

import sys

from prompt_optimization.commands.greater import main

if __name__ == "__main__":
    sys.exit(main())
