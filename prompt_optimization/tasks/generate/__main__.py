"""``python -m prompt_optimization.tasks.generate [--check] [--out FOLDER] [TASK ...]``"""

from __future__ import annotations

import sys

from prompt_optimization.commands.generate_data import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "python -m prompt_optimization.tasks.generate"))
