"""What ``--help`` of a command with a ``--config`` prints. Free of torch."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from prompt_optimization import configs
from prompt_optimization.commands.short_flags import SHORT
from prompt_optimization.optimizers.registry import about, method_names
from prompt_optimization.runs.config import all_keys, groups

# Characters of a default that are shown.
SHOWN = 40


def packaged_configs() -> dict[str, Path]:
    """The configs that come with the package, by name."""
    files = sorted(Path(configs.__path__[0]).glob("[!_]*.py"))
    return {file.stem: file for file in files}


def help_text(module: str, program: str, text: str, short: Sequence[str] = ()) -> str:
    """What ``--help`` prints: usage, flags, and every key in its group with its default."""
    usage = f"usage: {program} --config=CONFIG [--config.KEY=VALUE ...] [FLAG ...]"
    of_task = ""
    if short:
        usage = f"usage: {program} --data=FILE [FLAG ...] [--config=CONFIG] [--config.KEY=VALUE]"
        own = (
            f"  --{name}={SHORT[name].value}\n{_wrapped(SHORT[name].meaning, '      ')}"
            for name in short
        )
        of_task = "\n".join(["A task of one's own:", *own])
    own_flags = "\n".join(_flag_help(each) for each in flags.FLAGS.get_flags_for_module(module))
    methods = "\n".join(f"  {name}\n{_wrapped(about(name), '      ')}" for name in method_names())
    parts = [
        usage,
        text.strip(),
        of_task,
        _wrapped(
            "CONFIG is a file in Python or YAML, the log of a run, which is repeated, or one of "
            f"{', '.join(packaged_configs())}.",
            "",
        ),
        own_flags and f"Flags:\n{own_flags}",
        f"Methods (--config.method=NAME):\n{methods}",
        _wrapped(
            "Keys, with their defaults. A key is also known within its group, as in "
            "--config.greater.topk.",
            "",
        ),
        *(_group_help(group.group) for group in groups()),
    ]
    return "\n\n".join(part for part in parts if part)


def _flag_help(flag: flags.Flag[Any]) -> str:
    """A flag of the command's own."""
    name = f"  --[no]{flag.name}" if flag.boolean else f"  --{flag.name}"
    meaning, several, _ = flag.help.partition(";\n    repeat this option")  # absl's own words
    if several:
        meaning += " It may be given several times."
    return f"{name} ({_shown(flag.default)})\n{_wrapped(meaning, '      ')}"


def _group_help(group: str) -> str:
    lines = [f"{group}:"]
    for each in all_keys().values():
        if each.group == group:
            default = "set by behaviour" if each.by_behaviour else _shown(each.default)
            lines += [f"  --config.{each.name} ({default})", _wrapped(each.meaning, "      ")]
    return "\n".join(lines)


def _wrapped(text: str, indent: str) -> str:
    width = min(100, shutil.get_terminal_size().columns)
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _shown(default: object) -> str:
    text = repr(default)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
