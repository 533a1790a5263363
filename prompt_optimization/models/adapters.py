"""Adapters of peft, merged into the model they were trained for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from transformers import PreTrainedModel

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.models.memory import is_out_of_memory
from prompt_optimization.models.sources import Source

KEYS = ("model_paths", "model.adapters")

# Characters of a library's message that a sentence shows.
SHOWN = 160


def merge_adapter(
    model: PreTrainedModel, adapter: Source, hub: Mapping[str, Any]
) -> PreTrainedModel:
    """``model`` with ``adapter`` added to its weights, where they lie.

    Args:
        model: the base; it is used up.
        hub: arguments of ``from_pretrained`` that say how the hub is reached.

    Raises:
        InputError: peft is missing, or the adapter was made for another model or cannot be merged.
    """
    require_package(f"adapter '{adapter.name}'", "adapters", "peft", key=KEYS)
    peft = import_module("peft")
    arguments = {**adapter.arguments, **hub}
    try:
        config = peft.PeftConfig.from_pretrained(adapter.path, **arguments)
        config.inference_mode = True
        if config.is_prompt_learning:
            raise InputError(
                f"adapter '{adapter.name}' is a {config.peft_type.value}, which is no part of the "
                "weights; give a LoRA",
                key=KEYS,
            )
        adapted = peft.PeftModel(model, config)
        loaded = adapted.load_adapter(adapter.path, "default", **arguments)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        raise _refusal(model, adapter, _line(error)) from None
    if lost := [*loaded.unexpected_keys, *loaded.missing_keys]:
        raise _refusal(model, adapter, f"{len(lost)} weights have no counterpart, as {lost[0]}")
    try:
        merged: PreTrainedModel = adapted.merge_and_unload()
    except (ValueError, RuntimeError, TypeError, AttributeError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        raise InputError(
            f"adapter '{adapter.name}' cannot be merged into the weights as they are "
            f"({_line(error)}); give a LoRA, and a base model that is not quantised",
            key=KEYS,
        ) from None
    return merged


def _refusal(model: PreTrainedModel, adapter: Source, reason: str) -> InputError:
    return InputError(
        f"adapter '{adapter.name}' does not fit a {type(model).__name__} like "
        f"'{model.name_or_path}' ({reason}); give the base model that it was trained on",
        key=KEYS,
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:SHOWN]
