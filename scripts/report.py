"""The paper's tables from a folder of logs: ``python scripts/report.py experiments/results``.

``--format html`` writes one page with the tables and a picture of every run.
"""

from __future__ import annotations

import shlex
import sys

from prompt_optimization.commands.report import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], shlex.join(["python", sys.argv[0]])))
