"""The console script ``greater``: ``greater COMMAND [FLAG ...]``."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.metadata import version

from prompt_optimization.errors import did_you_mean

# By heading and name, in the order in which they are shown; each is a module of this package.
SECTIONS = {
    "Search:": {
        "optimize": "optimise a prompt for a task",
        "check": "a dry run: rows, layout, memory and time, before anything is searched",
        "compare": "several methods at one budget, each with several seeds",
        "sweep": "a config on many tasks, queued over the GPUs",
        "oirl": "the method oirl from a table of outcomes, without a model",
    },
    "Follow and compare results:": {
        "view": "watch runs on a page in the browser",
        "list": "the runs below a folder",
        "show": "the prompt that a run has found",
        "diff": "what sets two runs or two prompts apart",
        "evaluate": "score any prompt on any split by any model",
        "report": "tables, or one page, from a folder of results",
        "track": "runs to a tracker, from their logs",
    },
    "Use what was found:": {
        "export": "a prompt in the format of another tool",
        "recommend": "a prompt for each question, by a run of the method oirl, without a model",
    },
    "Data:": {
        "import-table": "a table of outcomes out of what others have logged",
        "generate-data": "write the generated task files",
        "fetch-data": "fetch the task files that their authors publish",
    },
}
COMMANDS = {name: does for section in SECTIONS.values() for name, does in section.items()}


def main() -> int:
    """Hand the flags to the command that is named first."""
    name, *arguments = sys.argv[1:] or [""]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if not name:
        print(usage(), file=sys.stderr)
        return 2
    if name == "--version":
        print(f"greater {version('greater-prompt-optimization')}")
        return 0
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS)
        print(f"error: command '{name}' is unknown; {hint}", file=sys.stderr)
        return 2
    # Only now, because evaluate has flags that optimize has not.
    command = import_module(f"prompt_optimization.commands.{name.replace('-', '_')}")
    try:
        code: int = command.main(arguments, f"greater {name}")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    return code


def usage() -> str:
    """Every command with what it does."""
    width = max(map(len, COMMANDS))
    lines = []
    for heading, names in SECTIONS.items():
        lines += [heading, *(f"  {name:{width}}  {COMMANDS[name]}" for name in names), ""]
    return "\n".join(
        [
            "usage: greater COMMAND [FLAG ...]",
            "",
            *lines,
            "greater COMMAND --help says more; greater --version says which version this is.",
        ]
    )
