"""What the commands with a ``--config`` share: absl flags in, exit codes out. Free of torch."""

from __future__ import annotations

import keyword
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags.tuple_parser import TupleParser

from prompt_optimization import configs
from prompt_optimization.commands.help_text import help_text, packaged_configs
from prompt_optimization.commands.short_flags import SHORT, take
from prompt_optimization.errors import InputError, did_you_mean, nearest
from prompt_optimization.runs.config import (
    advice,
    all_keys,
    key_named,
    key_names,
    values_of,
)
from prompt_optimization.runs.config_files import is_config_file, left_out
from prompt_optimization.runs.own_task import Choice, complete
from prompt_optimization.signals import Interrupted, interruptible


class _ListParser(flags.ArgumentParser[tuple[object, ...]]):
    """``TupleParser``, whose own kind of flag would add up the values of a key given twice. For a
    parser of another class ml_collections makes a flag whose last value counts, as elsewhere."""

    def parse(self, argument: object) -> tuple[object, ...]:
        try:
            found: tuple[object, ...] = TupleParser().parse(argument)
        except ValueError:
            # A text of several words is a single value, as one of a single word is.
            if not isinstance(argument, str) or argument.lstrip()[:1] in ("(", "[", "'", '"'):
                raise
            found = (argument,)
        return found


config_flags.register_flag_parser_for_type(tuple, _ListParser())
# New attributes are keys inside settings that are dicts; ``_check_flag`` refuses others.
CONFIG = config_flags.DEFINE_config_file("config", lock_config=False, accept_new_attributes=True)

# The last two are absl's.
HELP = {"-h", "-help", "--help", "--helpshort", "--helpfull"}

# Reads what is no Python file, whose path follows the colon.
FILE = Path(configs.__path__[0]) / "_file.py"


@dataclass
class CommandLine:
    """What was typed: absl's flags are global, and so is this.

    Attributes:
        names: of the short flags that the command has.
        short: the values of those that were typed.
        long: the names of the settings that ``--config.KEY`` sets.
    """

    names: tuple[str, ...] = ()
    short: dict[str, str] = field(default_factory=dict)
    long: frozenset[str] = frozenset()

    @property
    def typed(self) -> set[str]:
        """The names of all settings that were typed."""
        return {*self.long, *(SHORT[name].key for name in self.short)}


_typed = CommandLine()


def execute(
    main: Callable[[Sequence[str]], int | None],
    arguments: Sequence[str],
    program: str,
    about: str,
    continued: str = "",
    short: Sequence[str] = (),
) -> int:
    """Run ``main`` and return the exit code: 2 for what the user can fix, 130 after Ctrl-C, 143
    after SIGTERM.

    Args:
        program: what the user typed before ``arguments``.
        about: what ``--help`` says first.
        continued: the flag that continues the command where it was interrupted, if it needs one.
        short: names of ``SHORT`` that the command has.
    """
    if HELP & set(arguments):
        print(help_text(main.__module__, program, about, short))
        return 0
    _typed.names, _typed.short, _typed.long = tuple(short), {}, frozenset()
    try:
        _typed.short, others = take(arguments, short)
        _typed.long = frozenset(_keys_set(others))
        # absl and the config flag read overrides from here.
        sys.argv = [program, *_with_config_files(_with_config(others))]
        with interruptible():
            app.run(main, flags_parser=parse)
    except InputError as error:
        print(f"error: {error.worded(flag_of)}", file=sys.stderr)
        return 2
    except Interrupted as interruption:
        again = _again(program, arguments, continued)
        print(f"interrupted; continue with: {again}", file=sys.stderr)
        return interruption.code
    return 0


def flag_of(key: str) -> str:
    """The flag that sets ``key``: the short one, unless the other one was typed."""
    for name in _typed.names:
        if SHORT[name].key == key and key not in _typed.long:
            return f"--{name}"
    return f"--config.{key}" if key_named(key) else f"--{key}"


def settings(command: str = "") -> tuple[dict[str, Any], list[str]]:
    """Every setting by its name, and what the user should know of how they came about.

    Args:
        command: whose results they are; empty for a run.

    Raises:
        InputError: they cannot be used.
    """
    config, notes = values_of(CONFIG.value), []
    _, is_file, path = _config_path(sys.argv[1:]).partition(f"{FILE}:")
    if is_file and (sentence := left_out(path)):
        notes.append(sentence)
    values = dict(config)
    for name, value in _typed.short.items():
        each = all_keys()[SHORT[name].key]
        values[each.name] = (value,) if each.kind is tuple else value
        if config[each.name] not in (each.unset, values[each.name]):
            notes.append(f"--{name} counts, and not {config[each.name]!r} of the config")
    if "data" in _typed.short:
        other = config["train_data"] not in ("", values["train_data"])
        values, choices = complete(values, other, _typed.typed, command)
        notes += [_worded(choice) for choice in choices]
    return values, notes


def _worded(choice: Choice) -> str:
    flags_ = ", ".join(map(flag_of, choice.keys))
    return f"{choice.sentence} ({flags_})" if flags_ else choice.sentence


def typed() -> set[str]:
    """The names of the settings that the command line sets."""
    return _typed.typed


def parse(arguments: Sequence[str]) -> list[str]:
    """absl's flag parser, whose complaints become one sentence.

    Raises:
        InputError: a flag or key is unknown, a value has another type than its default, or the
            config cannot be read.
    """
    for argument in arguments[1:]:
        _check_flag(argument)
    path = _config_path(arguments[1:])
    try:
        rest: list[str] = flags.FLAGS(list(arguments))
        config = CONFIG.value
    except flags.Error as error:
        if str(error).startswith(f"flag --config={path}: "):
            # The file's own error, wrapped by ml_collections and by absl.
            own = error.__context__ and error.__context__.__context__
            if isinstance(own, InputError):
                raise own from None
            raise _unreadable(path, own) from None
        raise InputError(_type_error(str(error))) from None
    except (AttributeError, KeyError, OSError, SyntaxError, ImportError, TypeError) as error:
        raise _unreadable(path, error) from None
    except (MemoryError, RecursionError):
        raise InputError(
            "a value is nested too deeply; give a text, a number, or a list or dict of these"
        ) from None
    if len(rest) > 1:
        raise InputError(f"'{rest[1]}' is not a flag; options are --config.KEY=VALUE")
    if not isinstance(config, ConfigDict):
        raise _unreadable(path, None)
    return rest


def check_config(name: str, keys: Sequence[str]) -> None:
    """Refuse a config that is none, and flags ``--config.KEY=VALUE`` whose keys do not exist.

    Raises:
        InputError: one of them has to be refused.
    """
    _with_config_files([f"--config={name}"])
    for argument in keys:
        _check_flag(argument)


def _config_path(arguments: Sequence[str]) -> str:
    """The file that ``--config=FILE`` or ``--config FILE`` names.

    Raises:
        InputError: none is named.
    """
    found = ""
    for argument, after in zip(arguments, [*arguments[1:], ""], strict=False):
        if flag := re.fullmatch(r"--?config(=(.*))?", argument, re.DOTALL):
            found = flag.group(2) if flag.group(1) else after
    if not found:
        raise _no_config()
    return found


def _check_flag(argument: str) -> None:
    """Refuse keys that do not exist.

    Raises:
        InputError: the argument sets one.
    """
    key = re.match(r"--?(?:no)?config\.([^=]*)", argument)
    if key and not (key_named(key.group(1)) or _inside_dict(key.group(1))):
        within = "." in key.group(1)
        known = [name for name in key_names() if "." in name or not within]
        hint = advice(key.group(1), known, "--config.{}")
        raise InputError(f"config key '{key.group(1)}' is unknown; {hint}")
    bare = re.match(r"--?(?!config\b)([\w.]+)(=|$)", argument)
    if bare and bare.group(1) in key_names() and bare.group(1) not in flags.FLAGS:
        raise InputError(
            f"flag --{bare.group(1)} is unknown; did you mean --config.{bare.group(1)}?"
        )


def _inside_dict(name: str) -> bool:
    """Whether ``name`` is a key inside a setting that is a dict."""
    setting, _, inner = name.rpartition(".")
    parent = key_named(setting)
    usable = inner.isidentifier() and not keyword.iskeyword(inner)
    return parent is not None and parent.kind is dict and usable


def _unreadable(path: str, error: BaseException | None) -> InputError:
    reason = " ".join(f" ({type(error).__name__}: {error})".split("\n")) if error else ""
    return InputError(
        f"config file '{path}' cannot be read{reason}; give an existing one, a Python file with a "
        "get_config that begins with the template's, for instance --config=demo"
    )


def _with_config_files(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with the packaged file's path where ``--config`` gives a bare name.

    Raises:
        InputError: there is no such config, or the file is none.
    """
    known = packaged_configs()
    found = list(arguments)
    for i, argument in enumerate(found):
        # Both --config=NAME and --config NAME.
        flag = re.match(r"--?config=", argument)
        start = flag.group() if flag else ""
        if not flag and (i == 0 or found[i - 1] not in ("--config", "-config")):
            continue
        name = argument.removeprefix(start)
        if not name:
            raise _no_config()
        if not re.fullmatch(r"[\w-]+", name) or (name not in known and Path(name).is_dir()):
            if is_config_file(name):
                found[i] = f"{start}{FILE}:{name}"
            else:
                _check_file(name)
            continue
        if name not in known:
            raise InputError(
                f"config '{name}' does not come with the package; {did_you_mean(name, known)} A "
                "file's path works, too"
                if nearest(name, known)
                else f"config '{name}' does not come with the package; give one of "
                f"{', '.join(known)}, or a file's path"
            )
        found[i] = f"{start}{known[name]}"
    return found


def _with_config(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with a config where they name none and yet say what the task is.

    Raises:
        InputError: they do not.
    """
    if any(re.match(r"--?config(=|$)", argument) for argument in arguments):
        return list(arguments)
    for argument in arguments:
        flag = re.match(r"--?(?!config\b)(\w+)", argument)
        if flag and flag[1] not in flags.FLAGS and not key_named(flag[1]):
            meant = nearest(flag[1], [*_typed.names, "help"])
            hint = f"did you mean --{meant}?" if meant else "--help lists the flags"
            raise InputError(f"flag --{flag[1]} is unknown; {hint}")
    logs = any(re.match(r"--?log(=|$)", argument) for argument in arguments)
    if not logs and "train_data" not in _typed.typed:
        raise _no_config()
    return ["--config=template", *arguments]


def _keys_set(arguments: Sequence[str]) -> Iterator[str]:
    """The names of the settings that ``--config.KEY`` sets."""
    for argument in arguments:
        flag = re.match(r"--?(?:no)?config\.([\w.]+)", argument)
        if flag and (each := key_named(flag[1]) or key_named(flag[1].rpartition(".")[0])):
            yield each.name


def _no_config() -> InputError:
    task = ", or a table of questions and answers by --data" if "data" in _typed.names else ""
    return InputError(f"no config; give one, for instance --config=demo{task}")


def _check_file(name: str) -> None:
    """Refuse what is no config file, before absl asks it for values.

    Raises:
        InputError: there is no such Python file.
    """
    path = Path(name.partition(":")[0])  # absl hands what follows the colon to get_config
    if not path.is_file() or path.suffix != ".py":
        why = "is not Python, YAML or a log" if path.is_file() else "does not exist"
        raise InputError(
            f"config file '{path}' cannot be read: it {why}; give an existing one, for instance "
            "--config=demo"
        )


def _type_error(text: str) -> str:
    """``text`` with the key, its value and the type that was expected, where it is about one."""
    match = re.match(r"flag --config\.([\w.]+)=(.*?): ", text, re.DOTALL)
    each = key_named(match.group(1)) if match else None
    if match is None or each is None:
        return text.partition("\n")[0]
    name, value = match.groups()
    return (
        f"--config.{name}='{value}' is not of type {each.kind.__name__}; its default is "
        f"{each.default!r}"
    )


def _again(program: str, arguments: Sequence[str], continued: str) -> str:
    """The command that continues where the one with ``arguments`` was interrupted."""
    kept = list(arguments)
    if continued:
        name = continued.partition("=")[0].lstrip("-")
        # Both --flag=VALUE and --flag VALUE.
        flag = re.compile(rf"--?{re.escape(name)}(=.*)?", re.DOTALL)
        parts = [flag.fullmatch(one) for one in kept]
        apart = [part is not None and part.group(1) is None for part in parts]
        kept = [
            one
            for one, part, after in zip(kept, parts, [False, *apart], strict=False)
            if part is None and not after
        ]
        kept.append(continued)
    return f"{program} {shlex.join(kept)}"
