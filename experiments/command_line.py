"""What the commands in this folder share: absl flags in, exit codes out."""

from __future__ import annotations

import difflib
import re
import shlex
import sys
from collections.abc import Callable, Sequence

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from configs.template import get_config as template_config
from prompt_optimization.errors import InputError
from prompt_optimization.signals import Interrupted, interruptible

CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)


def execute(main: Callable[[Sequence[str]], None], continued: str = "") -> int:
    """Run ``main`` and return the exit code: 2 for what the user can mend, 130 after Ctrl-C, 143
    after SIGTERM.

    Args:
        continued: the flag with which the command goes on where it was interrupted, if it needs
            one.
    """
    try:
        with interruptible():
            app.run(main, flags_parser=parse)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted as interruption:
        print(f"interrupted; go on with: {_again(sys.argv, continued)}", file=sys.stderr)
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
            nearest = difflib.get_close_matches(key.group(1), known, 1, 0)[0]
            raise InputError(
                f"config key '{key.group(1)}' is unknown; did you mean --config.{nearest}?"
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
        raise InputError("no config; give one, for instance --config=./configs/embedded.py")
    if not isinstance(CONFIG.value, ConfigDict):
        path = config_flags.get_config_filename(flags.FLAGS["config"])
        raise InputError(
            f"config file '{path}' cannot be read; give an existing one, for instance "
            "--config=./configs/embedded.py"
        )
    return rest


def _type_error(text: str) -> str:
    """``text`` with the key, its value and the type that was expected, where it is about one."""
    match = re.match(r"flag --config\.(\w+)=(.*?): ", text, re.DOTALL)
    if match is None:
        return text
    key, value = match.groups()
    default = template_config().get_ref(key).get()
    kind = template_config().get_type(key).__name__
    return f"--config.{key}='{value}' is not of type {kind}; its default is {default!r}"


def _again(arguments: Sequence[str], continued: str) -> str:
    """The command that goes on where ``arguments`` was interrupted."""
    if not continued:
        return shlex.join(["python", *arguments])
    name = continued.partition("=")[0].lstrip("-")
    kept = [one for one in arguments if not re.match(rf"--?{re.escape(name)}\b", one)]
    return shlex.join(["python", *kept, continued])
