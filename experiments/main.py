"""Optimise a prompt: ``python main.py --config=./configs/embedded.py [--config.KEY=VALUE ...]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from command_line import CONFIG, execute

from configs.template import get_config as template_config
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.run import run


def main(_: Sequence[str]) -> None:
    display = Display(CONFIG.value.verbose)
    try:
        run(CONFIG.value, template_config(), display)
    finally:
        display.close()


if __name__ == "__main__":
    sys.exit(execute(main, continued="--config.resume=auto"))
