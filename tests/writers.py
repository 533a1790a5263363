"""Writers that follow a script."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from prompt_optimization.models.writers import Answered, Reply, Request, Writer
from prompt_optimization.runs import run as run_module
from prompt_optimization.runs.config import Plan

WORDS = "Use careful thought, count each one, think step by step, then add them up and answer"

# (request, which of its replies) -> the reply's text.
Script = Callable[[Request, int], str]


def some_words(request: Request, number: int) -> str:
    """A prompt of words that depend on all of the request."""
    rng = random.Random(f"{request.seed} {number} {request.system} {request.user}")
    return f"<prompt>{' '.join(rng.sample(WORDS.split(), 5))}</prompt>"


class ScriptedWriter:
    """Answers by ``script``.

    Attributes:
        waves: what was asked so far.
    """

    name = "scripted"

    def __init__(self, script: Script = some_words) -> None:
        self.script = script
        self.waves: list[list[Request]] = []

    def write(self, requests: Sequence[Request], answered: Answered) -> None:
        self.waves.append(list(requests))
        for index, request in enumerate(requests):
            texts = [self.script(request, number) for number in range(request.draws)]
            asked = len(request.user.split())
            answered(index, [Reply(text, asked, len(text.split()), False) for text in texts])


def script_writers(patch: pytest.MonkeyPatch, script: Script = some_words) -> ScriptedWriter:
    """The writer that runs of the harness ask from now on, if they ask one."""
    writer = ScriptedWriter(script)

    @contextmanager
    def open_writers(settings: Plan, *rest: Any) -> Iterator[dict[str, Writer]]:
        method = settings.method
        roles = {"writer": method.writes, "judge": method.judges}
        yield {role: writer for role, asked in roles.items() if asked}

    patch.setattr(run_module, "open_writers", open_writers)
    return writer
