"""A config file that cannot be used is one sentence, whatever is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.commands import flags
from prompt_optimization.runs.config import values_of
from tests.said import said

BASE = """
from prompt_optimization.configs.template import get_config as template_config

def get_config():
    config = template_config()
    {}
    return config
"""


def refused(path: Path, *given: str) -> str:
    """What is said of the file; an error of one line with exit code 2."""
    found = said(f"--config={path}", *given)
    assert (found.code, found.out) == (2, "")
    return found.err


@pytest.mark.parametrize("given", [(), ("--config.n_steps=2",)])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def get_config(:", "(SyntaxError: invalid syntax"),
        ("import no_such_module", "(ModuleNotFoundError: No module named 'no_such_module')"),
        ("def get_config():\n    return {}['a']", "(KeyError: 'a')"),
        ("def get_config():\n    raise ValueError('two\\nlines')", "(ValueError: two lines)"),
        ("def get_config():\n    return 3", "; give an existing one"),
        ("x = 1", "has no attribute 'get_config')"),
        (BASE.format("config.topk = 'many'"), "(TypeError: Could not override field 'topk'"),
    ],
)
def test_a_file_that_is_no_config(
    tmp_path: Path, text: str, reason: str, given: tuple[str, ...]
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    words = refused(path, *given)
    assert words.startswith(f"error: config file '{path}' cannot be read")
    assert words.endswith("for instance --config=demo\n")
    # Where values are overridden, what is no config is asked for them first.
    assert reason in words or (given and "'int'" in words)


@pytest.mark.parametrize(
    ("line", "given", "words"),
    [
        ("config.topkk = 3", (), "the config has the unknown key 'topkk'; did you mean 'topk'?"),
        ("del config['topk']", (), "the config has no 'topk'; let its get_config begin with"),
        (
            "config.greater = dict(config.greater, topk=12); config.topk = 13",
            (),
            "12 as 'greater.topk' and 13 as 'topk', which are one setting; give one value "
            "(--config.topk)",
        ),
    ],
)
def test_a_config_with_other_keys(
    tmp_path: Path, line: str, given: tuple[str, ...], words: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(BASE.format(line))
    assert words in refused(path, *given)


def shown(key: str, *given: str) -> str:
    """What the setting ``key`` is after these arguments."""

    def show(arguments: list[str], program: str) -> int:
        return flags.execute(lambda _: print(values_of(flags.CONFIG.value)[key]), arguments, "", "")

    found = said(*given, main=show)
    assert found.code == 0, found.err
    return found.out.rstrip("\n")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["chat_template_kwargs.date=tomorrow"], {"date": "tomorrow"}),
        (["model.chat_template_kwargs.date=never"], {"date": "never"}),
        (["chat_template_kwargs={'a': 1}"], {"a": 1}),
        (["model.chat_template_kwargs={'a': 1}"], {"a": 1}),
        # A key that the dict does not hold yet: a literal, or else a text.
        (["chat_template_kwargs.day=26 Jul 2024"], {"date": "today", "day": "26 Jul 2024"}),
        (["model.chat_template_kwargs.think=False"], {"date": "today", "think": False}),
        (["chat_template_kwargs={'a': 1}", "chat_template_kwargs.b=2"], {"a": 1, "b": 2}),
    ],
)
def test_a_dict_is_set_as_a_whole_or_by_its_keys(
    tmp_path: Path, given: list[str], expected: dict[str, Any]
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(BASE.format("config.chat_template_kwargs.date = 'today'"))
    changes = [f"--config.{change}" for change in given]
    assert shown("chat_template_kwargs", f"--config={path}", *changes) == str(expected)


def test_a_text_of_several_words_is_a_list_of_one() -> None:
    assert shown("keep", "--config=embedded", "--config.keep=step by step") == "('step by step',)"
    several = "--config.keep=('step by step', 'JSON')"
    assert shown("keep", "--config=embedded", several) == "('step by step', 'JSON')"


def test_of_a_list_that_is_given_twice_the_last_one_counts() -> None:
    for last, expected in (
        ("--config.devices=cpu", ("cpu",)),
        ("--config.devices=('a','b')", ("a", "b")),
    ):
        twice = ["--config.compute.devices=first", "--config.devices=cpu", last]
        assert shown("devices", "--config=embedded", *twice) == str(expected)
