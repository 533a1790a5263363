"""Commands called in this process, which saves a process the seconds that torch takes to load."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from absl.testing import flagsaver

from prompt_optimization.commands import flags, optimize


@dataclass(frozen=True)
class Said:
    """What a command left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    def check(self) -> None:
        """Refuse what no command may leave."""
        assert self.code in (0, 2, 130, 143), self
        assert "Traceback" not in self.out + self.err, self
        if self.code == 2:
            assert self.err.startswith("error: ") and self.err.count("\n") == 1, self
            assert self.err.endswith("\n") and len(self.err) < 2000, self
        elif self.code == 0:
            assert "error" not in self.err, self


@contextmanager
def streams() -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    """The standard streams as a terminal in UTF-8 has them."""
    before = sys.stdout, sys.stderr
    raw = io.BytesIO(), io.BytesIO()
    texts = [
        io.TextIOWrapper(bytes_, "utf-8", errors, write_through=True)
        for bytes_, errors in zip(raw, ("strict", "backslashreplace"), strict=True)
    ]
    sys.stdout, sys.stderr = texts
    try:
        yield raw
    finally:
        sys.stdout, sys.stderr = before
        for text in texts:
            text.detach()


def said(*arguments: str, main: Callable[..., int] = optimize.main) -> Said:
    """What the command does with ``arguments``, as in a process of its own."""
    argv = sys.argv
    with streams() as (out, err), flagsaver.flagsaver():
        try:
            code = main(list(arguments), "greater optimize")
        except SystemExit as ended:  # absl's way to end
            code = ended.code or 0
        finally:
            sys.argv = argv
            # A config is loaded as a module of this name, over what one before has left in it.
            sys.modules.pop(f"{flags.CONFIG.name}_config", None)
    found = Said(code, out.getvalue().decode(), err.getvalue().decode())
    found.check()
    return found
