"""What sets two runs or two prompts apart."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from prompt_optimization.commands.arguments import Arguments, refused
from prompt_optimization.commands.screen import put
from prompt_optimization.errors import InputError
from prompt_optimization.report.contrast import Paired, paired, settings_that_differ
from prompt_optimization.report.found import Found, read_prompt_or_run
from prompt_optimization.report.word_diff import GONE, NEW, SAME, word_diff
from prompt_optimization.scoring.statistics import in_points
from prompt_optimization.tasks.metrics.metric import called

STYLES = {SAME: "", GONE: "red strike", NEW: "bold green"}

# What stands around a word where there are no colours, as git writes it.
MARKS = {SAME: ("", ""), GONE: ("[-", "-]"), NEW: ("{+", "+}")}


def main(arguments: Sequence[str], program: str) -> int:
    parser = Arguments(
        program,
        description="What sets two runs apart: settings, prompts word by word, and the paired "
        "difference on the test rows that they share. A prompt's text may stand in a run's place.",
    )
    for name, place in (("first", "before"), ("second", "after")):
        parser.add_argument(name, help=f"a log, a run's name or a prompt's text: {place}")
    given = parser.parse_args(arguments)
    try:
        first, second = read_prompt_or_run(given.first), read_prompt_or_run(given.second)
        show(first, second)
    except InputError as error:
        return refused(error)
    return 0


def show(first: Found | str, second: Found | str) -> None:
    """Print what sets ``first`` and ``second`` apart.

    Raises:
        InputError: a run has found no prompt yet.
    """
    before, after = (each if isinstance(each, str) else each.chosen for each in (first, second))
    words = marked(before, after, colours=sys.stdout.isatty())
    if isinstance(first, str) or isinstance(second, str):
        put(words)
        return
    different = settings_that_differ(first.log, second.log)
    table = Table(box=None, pad_edge=False)
    for name in ("setting", "first", "second"):
        table.add_column(name, overflow="fold")
    for key, values in different.items():
        table.add_row(*map(Text, (key, *values)))
    settings = table if different else "The settings are the same."
    put(settings, "", words, "", Text(said(paired(first.log, second.log))))


def marked(before: str, after: str, colours: bool) -> Text:
    """Both prompts as one text in which what is gone and what is new is marked."""
    text = Text()
    for kind, words in word_diff(before, after):
        if colours:
            text.append(words, STYLES[kind])
            continue
        opening, closing = MARKS[kind]
        text.append(f"{opening}{words}{closing}")
    return text


def said(found: Paired | str) -> str:
    """The paired difference as a sentence."""
    if isinstance(found, str):
        return f"No paired difference: {found}."
    return (
        f"Second minus first: {in_points(asdict(found.difference))}, p = {found.p:.3g}, on "
        f"{found.difference.n} shared test rows: {100 * found.first:.1f} % and "
        f"{100 * found.second:.1f} % {called(found.metric)}."
    )
