"""What is said where a policy cannot be trained, before anything is computed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.trained import settings as module
from prompt_optimization.optimizers.trained.settings import check_training


def test_without_a_python_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "sys", SimpleNamespace(version_info=(3, 10, 4)))
    with pytest.raises(InputError, match=r"needs Python 3\.11 or newer, and this is 3\.10"):
        check_training("mapo")


def test_without_trl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "sys", SimpleNamespace(version_info=(3, 12, 0)))
    monkeypatch.setattr("prompt_optimization.extras.find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        check_training("mapo")
    assert caught.value.problem == (
        "the method mapo needs the package trl; install it with "
        "pip install 'greater-prompt-optimization[train]'"
    )


def test_with_another_trl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "require_package", lambda *_, **__: None)
    monkeypatch.setattr(module, "sys", SimpleNamespace(version_info=(3, 12, 0)))
    monkeypatch.setattr(module, "version", lambda _: "2.0.1")
    with pytest.raises(InputError, match=r"trl 1, and trl 2\.0\.1 is installed") as caught:
        check_training("mapo")
    assert caught.value.keys == ("method",)
