"""Settings in YAML, whose errors name the line.

Only plain data are read: no tags, which could name code, and no aliases, by which a small file
could stand for a very large one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from prompt_optimization.errors import InputError
from prompt_optimization.keys import KINDS, Key
from prompt_optimization.runs.config import advice, all_keys, key_named, key_names

_NULL = "tag:yaml.org,2002:null"
_PLAIN = "tag:yaml.org,2002:"


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a file, by name: flat, with dots, or in their groups.

    Raises:
        InputError: it cannot be read, a key is unknown or set twice, or a value cannot be used.
    """
    return _read(path, _root(path))


def read_contenders(path: Path) -> dict[str, dict[str, Any]]:
    """The settings of each contender of a comparison, by the name that the file gives it.

    Raises:
        InputError: it cannot be read, names a contender twice, or holds what ``read_yaml`` refuses.
    """
    found: dict[str, dict[str, Any]] = {}
    for key, value in _root(path).value:
        name = key.value if isinstance(key, yaml.ScalarNode) else ""
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
            raise _refusal(path, key, "a contender's name is made of letters, digits, _, - and .")
        if name in found:
            raise _refusal(path, key, f"the contender '{name}' is named twice; rename one")
        if not isinstance(value, yaml.MappingNode):
            raise _refusal(
                path, key, f"'{name}' is a contender; write its settings below it, such as method"
            )
        found[name] = _read(path, value)
    return found


def _read(path: Path, root: yaml.MappingNode) -> dict[str, Any]:
    """The settings below a node, by name."""
    found: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for name, each, node in _settings(path, root, ""):
        line = node.start_mark.line + 1
        if each.name in found:
            raise _refusal(
                path,
                node,
                f"'{name}' is set in line {lines[each.name]}, too; leave one of them out",
            )
        try:
            found[each.name] = each.check(_value(node, each.kind, each.item))
        except InputError as error:
            raise _refusal(path, node, f"{name}: {error.problem}") from None
        lines[each.name] = line
    return found


def _root(path: Path) -> yaml.MappingNode:
    place = f"config file '{path}'"
    try:
        text = path.read_text(encoding="utf-8-sig")
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AliasToken):
                raise _refusal(path, token, f"*{token.value}: aliases are not read; write it out")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise InputError(
            f"{place} cannot be read ({error.strerror}); give an existing one"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{place} is not UTF-8 text (byte {error.start}); save it so") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1} of {place}" if mark else place
        raise InputError(f"{where} is not YAML ({error.problem}); correct it") from None
    except yaml.YAMLError as error:
        raise InputError(f"{place} is not YAML ({str(error).splitlines()[0]})") from None
    except RecursionError:
        raise InputError(f"{place} is nested too deeply; write keys and values") from None
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{place} holds no keys; write them as KEY: VALUE, one a line")
    return root


def _settings(
    path: Path, node: yaml.MappingNode, group: str
) -> Iterator[tuple[str, Key, yaml.Node]]:
    """Every setting in ``node``, with the name that is written there and the node of its value."""
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _refusal(path, key, "a key is no text; write KEY: VALUE")
        name = f"{group}.{key.value}" if group else key.value
        each = key_named(name)
        if each is not None:
            yield name, each, value
        elif not group and (found := [each for each in all_keys().values() if each.group == name]):
            if not isinstance(value, yaml.MappingNode):
                such = f"such as {found[0].attribute}"
                raise _refusal(path, key, f"'{name}' is a group; write its keys below it, {such}")
            yield from _settings(path, value, name)
        else:
            hint = advice(name, key_names())
            raise _refusal(path, key, f"the key '{name}' is unknown; {hint}")


def _value(node: yaml.Node, kind: type, item: type | None) -> Any:
    """What ``node`` says, read as the setting's kind: ``no`` is a text where a text is due.

    Raises:
        InputError: it says something else.
    """
    if node.tag == _NULL:
        raise InputError("there is no value; give one, or leave the key out")
    if kind is tuple:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        return tuple(_value(part, item or str, None) for part in parts)
    if kind is not dict and isinstance(node, yaml.ScalarNode):
        if kind is str:
            return node.value
        if kind is float and node.tag.startswith(_PLAIN):
            try:
                return float(node.value)
            except ValueError:
                raise InputError(f"'{node.value}' is not {KINDS[kind]}; give one") from None
    return _plain(node)


def _plain(node: yaml.Node) -> Any:
    if not node.tag.startswith(_PLAIN):
        raise InputError(f"the tag '{node.tag}' is not read; leave it out")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(part) for part in node.value]
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _plain(value) for key, value in node.value}
    if node.tag.endswith((":timestamp", ":binary")):
        return node.value
    try:
        return yaml.constructor.SafeConstructor().construct_document(node)
    except (yaml.YAMLError, ValueError):
        raise InputError(f"'{node.value}' cannot be read; give a plain value") from None


def _refusal(path: Path, at: yaml.Node | yaml.Token, problem: str) -> InputError:
    return InputError(f"line {at.start_mark.line + 1} of config file '{path}': {problem}")
