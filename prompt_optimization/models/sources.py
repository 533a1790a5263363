"""From what a user calls a model to where its parts lie: base model, adapter, tokenizer."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.models.bundled import ensure_bundled
from prompt_optimization.models.settings import BUNDLED_NAME, ModelSettings
from prompt_optimization.paths import user_path

ADAPTER_CONFIG = "adapter_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"

# Arguments of from_pretrained that say how the hub is reached.
HUB_ARGUMENTS = ("cache_dir", "local_files_only", "token")

# For an adapter whose base cannot be had.
BASE_FIX = "give the base as the model, and the adapter beside it"
BASE_KEYS = ("model_paths", "model.adapters")


@dataclass(frozen=True)
class Source:
    """A repository, folder or GGUF file that holds a model, an adapter or a tokenizer.

    Attributes:
        name: what messages call it.
        path: what ``from_pretrained`` takes in the first place.
        arguments: further arguments of ``from_pretrained``.
        adapter: whose configuration names it, where the user does not.
    """

    name: str
    path: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    adapter: str = ""

    def refusal(self, problem: str, key: str | tuple[str, ...]) -> InputError:
        """``problem`` with this source, in a sentence that says how the user came by it."""
        if not self.adapter:
            return InputError(problem, key=key)
        return InputError(
            f"adapter '{self.adapter}' names the base model '{self.name}', and "
            f"{problem.partition(';')[0]}; {BASE_FIX}",
            key=BASE_KEYS,
        )


@dataclass(frozen=True)
class Sources:
    """The parts of one model.

    Attributes:
        adapter: what is merged into ``base``, if anything is.
    """

    base: Source
    tokenizer: Source
    adapter: Source | None = None


def locate(settings: ModelSettings) -> Sources:
    """Where the parts of the model that ``settings`` name lie.

    The tokenizer is the adapter's where it has one, because a chat template may have been trained
    along.

    Raises:
        InputError: something named does not exist here, or is of another kind.
    """
    hub = hub_arguments(settings.model_arguments or {})
    named = _source(settings.name, settings.revision, settings.subfolder)
    base, adapter = named, None
    if config := _file(named, ADAPTER_CONFIG, hub):
        if settings.adapter:
            raise InputError(
                f"model '{named.name}' is an adapter, and '{settings.adapter}' is a second one; "
                "give their base model in its place",
                key="model_paths",
            )
        base, adapter = _base_of(named, Path(config)), named
    elif settings.adapter:
        adapter = _source(settings.adapter, key="model.adapters")
        if not _file(adapter, ADAPTER_CONFIG, hub):
            raise InputError(
                f"'{adapter.name}' holds no adapter (no {ADAPTER_CONFIG}); give what peft's "
                "save_pretrained wrote",
                key="model.adapters",
            )
    return Sources(base, _tokenizer(settings, base, adapter, hub), adapter)


def hub_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of from_pretrained's ``arguments`` that say how the hub is reached."""
    return {name: value for name, value in arguments.items() if name in HUB_ARGUMENTS}


def _base_of(adapter: Source, config: Path) -> Source:
    """The model that an adapter's configuration names.

    Raises:
        InputError: it names none that exists.
    """
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
        base, revision = values.get("base_model_name_or_path"), values.get("revision")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{ADAPTER_CONFIG} of '{adapter.name}' cannot be read ({error}); save the adapter again"
        ) from None
    if not isinstance(base, str) or not base:
        raise InputError(f"adapter '{adapter.name}' names no base model; {BASE_FIX}", key=BASE_KEYS)
    try:
        found = _source(base, revision if isinstance(revision, str) else "")
    except InputError as error:
        raise Source(base, base, adapter=adapter.name).refusal(error.problem, error.keys) from None
    return replace(found, adapter=adapter.name)


def _tokenizer(
    settings: ModelSettings, base: Source, adapter: Source | None, hub: Mapping[str, Any]
) -> Source:
    if settings.tokenizer:
        return _source(settings.tokenizer, key="tokenizer_paths")
    if adapter and _file(adapter, TOKENIZER_CONFIG, hub):
        return adapter
    if "subfolder" in base.arguments and not _file(base, TOKENIZER_CONFIG, hub):
        # Several models in one repository often share the tokenizer at its top.
        rest = {name: value for name, value in base.arguments.items() if name != "subfolder"}
        return replace(base, arguments=rest)
    return base


def _file(source: Source, name: str, hub: Mapping[str, Any]) -> str | None:
    """The path of a file of ``source``, fetched where need be; None where there is none."""
    if "gguf_file" in source.arguments:
        return None
    try:
        found: str | None = cached_file(
            source.path,
            name,
            **source.arguments,
            **hub,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except OSError:
        return None  # from_pretrained will say why
    return found


def _source(name: str, revision: str = "", subfolder: str = "", key: str = "model_paths") -> Source:
    """What ``name`` stands for.

    Raises:
        InputError: there is no such folder or file, it holds no such model, or a revision or
            subfolder is given for what has none.
    """
    path = user_path(name)
    shown = f"{name}/{subfolder}" if subfolder else name
    within = {"subfolder": subfolder} if subfolder else {}
    gguf = os.path.isfile(path) and path.suffix == ".gguf"
    if name == BUNDLED_NAME or os.path.isdir(path) or gguf:
        if revision:
            raise InputError(
                f"revision '{revision}' is given for '{name}', which lies on this machine; only "
                "hub names have revisions",
                key="model.revisions",
            )
        if subfolder and not os.path.isdir(path):
            raise InputError(
                f"subfolder '{subfolder}' is given for '{name}', which has none; only folders "
                "and hub names do",
                key="model.subfolders",
            )
    if name == BUNDLED_NAME:
        return Source(name, str(ensure_bundled()))
    if os.path.isdir(path):
        _check_folder(path / subfolder, shown, "model.subfolders" if subfolder else key)
        return Source(shown, str(path), within)
    if gguf:
        require_package(f"model '{name}'", "gguf", "gguf", "accelerate")
        return Source(path.name, str(path.parent), {"gguf_file": path.name})
    if difflib.get_close_matches(name, [BUNDLED_NAME], cutoff=0.9):
        raise InputError(
            f"model '{name}' is unknown; did you mean '{BUNDLED_NAME}', the embedded one?"
        )
    looks_local = name.startswith((".", "/", "~")) or path.suffix == ".gguf"
    if looks_local or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise InputError(
            f"model path '{name}' does not exist; give a hub name, a local folder, a GGUF file "
            f"or '{BUNDLED_NAME}'",
            key=key,
        )
    return Source(shown, name, within | ({"revision": revision} if revision else {}))


def _check_folder(folder: Path, shown: str, key: str) -> None:
    model, adapter = (folder / "config.json").exists(), (folder / ADAPTER_CONFIG).exists()
    if model and adapter:
        # transformers would load both and leave them apart.
        raise InputError(
            f"folder '{shown}' holds a model and an adapter; move {ADAPTER_CONFIG} and its "
            "weights to a folder of their own, and give it beside the model",
            key=("model_paths", "model.adapters"),
        )
    if not model and not adapter:
        raise InputError(
            f"folder '{shown}' holds no model (no config.json); give a folder that "
            "save_pretrained wrote",
            key=key,
        )
