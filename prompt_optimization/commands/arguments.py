"""Arguments of the commands that take no settings; a mistake is one sentence, as everywhere."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from prompt_optimization.errors import InputError


class Arguments(argparse.ArgumentParser):
    """A parser whose errors take a line, and name the help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; '{self.prog} --help' says what there is\n")


def refused(error: InputError) -> int:
    """Say what the user can fix; the exit code."""
    print(f"error: {error.worded('--{}'.format)}", file=sys.stderr)
    return 2
