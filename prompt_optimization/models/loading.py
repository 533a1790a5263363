"""From a model's name to a frozen model on a device."""

from __future__ import annotations

import difflib
import os
import re
from typing import Any

import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.models.bundled import ensure_bundled
from prompt_optimization.models.cache_check import check_cache
from prompt_optimization.models.chat import ChatFormat, end_of_turn, resolve_chat_format
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.settings import BUNDLED_NAME, DTYPES, ModelSettings
from prompt_optimization.models.tokenizer_check import check_tokenizer
from prompt_optimization.paths import user_path


def resolve_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is the first CUDA device, or else the CPU.

    Raises:
        InputError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # The one test that holds for every kind of device: put something there and take it back.
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(
            f"device '{name}' does not exist on this machine ({_devices()}); choose another",
            key="devices",
        ) from None
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype called ``name``; ``auto`` is bfloat16 where the device computes in it.

    Raises:
        InputError: the name is unknown.
    """
    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        native = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.bfloat16 if native else torch.float32
    if name not in DTYPES:
        raise InputError(
            f"dtype '{name}' is unknown; choose one of auto, {', '.join(DTYPES)}", key="dtype"
        )
    found: torch.dtype = getattr(torch, name)
    return found


def load_model(settings: ModelSettings) -> tuple[LanguageModel, ChatFormat]:
    """The model on its device, and the text that it wants around the user's words.

    Raises:
        InputError: it cannot be loaded, has no such chat template, has a tokenizer whose texts and
            ids do not say the same, or cannot be continued from a cache.
    """
    device = resolve_device(settings.device)
    model = load_language_model(
        settings.name,
        tokenizer_name=settings.tokenizer,
        device=device,
        dtype=resolve_dtype(settings.dtype, device),
        trust_remote_code=settings.trust_remote_code,
        model_arguments=settings.model_arguments,
        tokenizer_arguments=settings.tokenizer_arguments,
    )
    chat = resolve_chat_format(model.tokenizer, settings.template, settings.template_arguments)
    check_tokenizer(model.tokenizer, model.vocabulary, chat)
    check_cache(model)
    model.stop_ids |= set(end_of_turn(model.tokenizer, chat))
    return model, chat


def load_tokenizer(settings: ModelSettings) -> tuple[PreTrainedTokenizerBase, ChatFormat]:
    """The same without the model.

    Raises:
        InputError: as ``load_model``.
    """
    _be_quiet()
    tokenizer: PreTrainedTokenizerBase = _load(
        AutoTokenizer,
        _source(settings.tokenizer or settings.name),
        settings.trust_remote_code,
        **(settings.tokenizer_arguments or {}),
    )
    chat = resolve_chat_format(tokenizer, settings.template, settings.template_arguments)
    return tokenizer, chat


def load_language_model(
    name: str,
    *,
    tokenizer_name: str | None = None,
    device: torch.device,
    dtype: torch.dtype,
    trust_remote_code: bool = False,
    model_arguments: dict[str, Any] | None = None,
    tokenizer_arguments: dict[str, Any] | None = None,
) -> LanguageModel:
    """Load a model and its tokenizer, frozen and in eval mode.

    Args:
        name: a hub name, a local folder, a GGUF file, or ``smollm2-135m-instruct``, the model
            that comes with the set-up.
        tokenizer_name: the same for the tokenizer; the model's own when left out.
        trust_remote_code: run code that the model's repository brings along.
        model_arguments, tokenizer_arguments: handed to transformers' ``from_pretrained``.

    Raises:
        InputError: the model or tokenizer does not exist, is gated, or cannot be reached.
    """
    _be_quiet()
    source = _source(name)
    tokenizer_source = _source(tokenizer_name) if tokenizer_name else source
    tokenizer = _load(
        AutoTokenizer, tokenizer_source, trust_remote_code, **(tokenizer_arguments or {})
    )
    model = _load(
        AutoModelForCausalLM,
        source,
        trust_remote_code,
        dtype=dtype,
        **(model_arguments or {}),
    )
    _check_match(name, model, tokenizer)
    return LanguageModel(model.to(device), tokenizer, name=name)


def _be_quiet() -> None:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _source(name: str) -> dict[str, str]:
    """``from_pretrained``'s arguments for ``name``."""
    if name == BUNDLED_NAME:
        return {"pretrained_model_name_or_path": str(ensure_bundled())}
    path = user_path(name)
    if os.path.isdir(path):
        if not (path / "config.json").exists():
            raise InputError(
                f"folder '{name}' holds no model (no config.json); give a folder that "
                "save_pretrained wrote"
            )
        return {"pretrained_model_name_or_path": str(path)}
    if os.path.isfile(path) and path.suffix == ".gguf":
        require_package(f"model '{name}'", "gguf", "gguf", "accelerate")
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    if difflib.get_close_matches(name, [BUNDLED_NAME], cutoff=0.9):
        raise InputError(
            f"model '{name}' is unknown; did you mean '{BUNDLED_NAME}', the embedded one?"
        )
    looks_local = name.startswith((".", "/", "~")) or path.suffix == ".gguf"
    if looks_local or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise InputError(
            f"model path '{name}' does not exist; give a hub name, a local folder, a GGUF file "
            f"or '{BUNDLED_NAME}'",
            key="model_paths",
        )
    return {"pretrained_model_name_or_path": name}


def _load(kind: Any, source: dict[str, str], trust_remote_code: bool, **arguments: Any) -> Any:
    name = source.get("gguf_file") or source["pretrained_model_name_or_path"]
    key = "model_paths"
    try:
        return kind.from_pretrained(**source, trust_remote_code=trust_remote_code, **arguments)
    except (OSError, ValueError, ImportError, TypeError) as error:
        causes = _causes(error)
        if any(isinstance(cause, GatedRepoError) for cause in causes):
            reason = (
                "is gated: accept its terms on its hub page and log in with 'hf auth login' "
                "(or set HF_TOKEN)"
            )
        elif any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
            reason = "is not known to the hub; check the spelling, or log in if it is private"
        elif any("trust_remote_code" in str(cause) for cause in causes):
            reason, key = "brings code of its own; read it, then allow it", "trust_remote_code"
        else:
            first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            reason = f"cannot be loaded: {first}"
        raise InputError(f"model '{name}' {reason}", key=key) from None


def _causes(error: BaseException | None) -> list[BaseException]:
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


def _check_match(name: str, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer.vocab_size > rows:
        raise InputError(
            f"the tokenizer '{tokenizer.name_or_path}' has {tokenizer.vocab_size} tokens but "
            f"model '{name}' has {rows}; give the model's own",
            key="tokenizer_paths",
        )


def _devices() -> str:
    count = torch.cuda.device_count()
    return "it has cpu" + (f" and cuda:0 to cuda:{count - 1}" if count else " and no CUDA device")
