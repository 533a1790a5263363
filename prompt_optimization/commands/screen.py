"""What commands that read logs print: for a terminal as wide as it is, else without colours."""

from __future__ import annotations

import sys

from rich.console import Console, RenderableType

# Characters of a line that is written to a file or another program.
WIDE = 140


def put(*shown: RenderableType) -> None:
    """Print ``shown``, one below the other.

    Raises:
        BrokenPipeError: whoever read it has had enough; rich itself would end the process.
    """
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    with console.capture() as captured:
        for each in shown:
            console.print(each)
    print(captured.get(), end="")
