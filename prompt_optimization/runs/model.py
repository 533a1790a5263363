"""The model that settings name, ready to answer."""

from __future__ import annotations

from prompt_optimization.models.chat import ChatFormat, end_of_turn, resolve_chat_format
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.loading import (
    load_language_model,
    resolve_device,
    resolve_dtype,
)
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.settings import ModelSettings


def load_model(settings: ModelSettings, display: Display) -> tuple[LanguageModel, ChatFormat]:
    """The model on its device, and the text that it wants around the user's words.

    Raises:
        InputError: it cannot be loaded, or has no such chat template.
    """
    device = resolve_device(settings.device)
    dtype = resolve_dtype(settings.dtype, device)
    display.note(f"loading {settings.name} on {device} in {str(dtype)[6:]}")
    model = load_language_model(
        settings.name,
        tokenizer_name=settings.tokenizer,
        device=device,
        dtype=dtype,
        trust_remote_code=settings.trust_remote_code,
        model_arguments=settings.model_arguments,
        tokenizer_arguments=settings.tokenizer_arguments,
    )
    chat = resolve_chat_format(model.tokenizer, settings.template, settings.template_arguments)
    model.stop_ids |= set(end_of_turn(model.tokenizer, chat))
    return model, chat
