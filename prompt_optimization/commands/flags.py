"""What the commands with a ``--config`` share: absl flags in, exit codes out."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from prompt_optimization import configs
from prompt_optimization.configs.template import get_config as template_config
from prompt_optimization.errors import InputError, nearest
from prompt_optimization.signals import Interrupted, interruptible

CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)


def execute(
    main: Callable[[Sequence[str]], None],
    arguments: Sequence[str],
    program: str,
    about: str,
    continued: str = "",
) -> int:
    """Run ``main`` and return the exit code: 2 for what the user can mend, 130 after Ctrl-C, 143
    after SIGTERM.

    Args:
        program: what the user typed before ``arguments``.
        about: what ``--help`` tells.
        continued: the flag with which the command goes on where it was interrupted, if it needs
            one.
    """
    if {"-h", "--help"} & set(arguments):
        print(_help(main.__module__, program, about))
        return 0
    try:
        # absl and the config flag read overrides from here.
        sys.argv = [program, *_with_packaged_config(arguments)]
        with interruptible():
            app.run(main, flags_parser=parse)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted as interruption:
        again = _again(program, arguments, continued)
        print(f"interrupted; go on with: {again}", file=sys.stderr)
        return interruption.code
    return 0


def parse(arguments: Sequence[str]) -> list[str]:
    """absl's flag parser, whose complaints are told in one sentence.

    Raises:
        InputError: a flag or key is unknown, or a value has another type than its default.
    """
    known = sorted(template_config())
    for argument in arguments[1:]:
        key = re.match(r"--?config\.(\w+)", argument)
        if key and key.group(1) not in known:
            raise InputError(
                f"config key '{key.group(1)}' is unknown; did you mean "
                f"--config.{nearest(key.group(1), known)}?"
            )
        bare = re.match(r"--?(?!config\b)(\w+)(=|$)", argument)
        if bare and bare.group(1) in known and bare.group(1) not in flags.FLAGS:
            raise InputError(
                f"flag --{bare.group(1)} is unknown; did you mean --config.{bare.group(1)}?"
            )
    try:
        rest: list[str] = flags.FLAGS(list(arguments))
    except flags.Error as error:
        raise InputError(_type_error(str(error))) from None
    except (AttributeError, KeyError) as error:
        # A key inside a known one, such as --config.chat_template_kwargs.KEY.
        key_name = str(error).strip("'\"")
        raise InputError(
            f"config key '{key_name}' is unknown; keys inside another one must stand in the "
            "config file before they can be overridden"
        ) from None
    if len(rest) > 1:
        raise InputError(f"'{rest[1]}' is not a flag; options are --config.KEY=VALUE")
    if CONFIG.value is None:
        raise InputError("no config; give one, for instance --config=embedded")
    if not isinstance(CONFIG.value, ConfigDict):
        path = config_flags.get_config_filename(flags.FLAGS["config"])
        raise InputError(
            f"config file '{path}' cannot be read; give an existing one, for instance "
            "--config=embedded"
        )
    return rest


def packaged_configs() -> dict[str, Path]:
    """The configs that come with the package, by name."""
    files = sorted(Path(configs.__path__[0]).glob("[!_]*.py"))
    return {file.stem: file for file in files}


def _with_packaged_config(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with the packaged file's path where ``--config`` gives a bare name.

    Raises:
        InputError: there is no such config.
    """
    known = packaged_configs()
    found = list(arguments)
    for place, argument in enumerate(found):
        # Both --config=NAME and --config NAME.
        flag = re.match(r"--?config=", argument)
        start = flag.group() if flag else ""
        if not flag and (place == 0 or found[place - 1] not in ("--config", "-config")):
            continue
        name = argument.removeprefix(start)
        if not re.fullmatch(r"[\w-]+", name):
            continue
        if name not in known:
            raise InputError(
                f"config '{name}' does not come with the package ({', '.join(known)}); give one "
                "of these names or a file's path with --config="
            )
        found[place] = f"{start}{known[name]}"
    return found


def _help(module: str, program: str, about: str) -> str:
    known = packaged_configs()
    own_flags = flags.FLAGS.module_help(module).partition("\n")[2]  # without the module's name
    return "\n\n".join(
        [
            f"usage: {program} --config=CONFIG [--config.KEY=VALUE ...] [FLAG ...]",
            about.strip(),
            f"CONFIG is a file or one of {', '.join(known)}.\n"
            f"Every KEY is explained in {known['template']}.",
            own_flags,
        ]
    ).rstrip()


def _type_error(text: str) -> str:
    """``text`` with the key, its value and the type that was expected, where it is about one."""
    match = re.match(r"flag --config\.(\w+)=(.*?): ", text, re.DOTALL)
    if match is None:
        return text
    key, value = match.groups()
    default = template_config().get_ref(key).get()
    kind = template_config().get_type(key).__name__
    return f"--config.{key}='{value}' is not of type {kind}; its default is {default!r}"


def _again(program: str, arguments: Sequence[str], continued: str) -> str:
    """The command that goes on where the one with ``arguments`` was interrupted."""
    kept = list(arguments)
    if continued:
        name = continued.partition("=")[0].lstrip("-")
        # Both --flag=VALUE and --flag VALUE.
        flag = re.compile(rf"--?{re.escape(name)}(=.*)?", re.DOTALL)
        parts = [flag.fullmatch(one) for one in kept]
        apart = [part is not None and part.group(1) is None for part in parts]
        kept = [
            one
            for one, part, behind in zip(kept, parts, [False, *apart], strict=False)
            if part is None and not behind
        ]
        kept.append(continued)
    return f"{program} {shlex.join(kept)}"
