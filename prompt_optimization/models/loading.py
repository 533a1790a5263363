"""From a model's name to a frozen model on its devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from huggingface_hub.errors import (
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.models.adapters import merge_adapter
from prompt_optimization.models.cache_check import check_cache
from prompt_optimization.models.chat import ChatFormat, end_of_turn, resolve_chat_format
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.masked import MaskedModel, masked_format
from prompt_optimization.models.memory import is_out_of_memory
from prompt_optimization.models.placement import layer_map, resolve_devices
from prompt_optimization.models.settings import DTYPES, ModelSettings
from prompt_optimization.models.sources import (
    Source,
    Sources,
    hub_arguments,
    locate,
)
from prompt_optimization.models.tokenizer_check import check_tokenizer


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype called ``name``; ``auto`` is bfloat16 where the device computes in it.

    Raises:
        InputError: the name is unknown, or the device does not compute in it.
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
    try:
        one = torch.ones(1, 1, dtype=found, device=device)
        (one @ one).item()
    except (RuntimeError, TypeError, NotImplementedError):
        raise InputError(
            f"device '{device}' does not compute in {name}; choose float32", key="dtype"
        ) from None
    return found


def load_model(settings: ModelSettings) -> tuple[LanguageModel, ChatFormat]:
    """The model on its device, and the text that it wants around the user's words.

    Raises:
        InputError: it cannot be loaded, has no such chat template, has a tokenizer whose texts and
            ids do not say the same, or cannot be continued from a cache.
    """
    model = load_language_model(settings)
    if settings.masked:
        return model, masked_format(model.tokenizer)
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
    tokenizer = _load_tokenizer(settings, locate(settings))
    if settings.masked:
        return tokenizer, masked_format(tokenizer)
    chat = resolve_chat_format(tokenizer, settings.template, settings.template_arguments)
    return tokenizer, chat


def load_language_model(settings: ModelSettings) -> LanguageModel:
    """A model and its tokenizer, frozen and in eval mode, without a look at the chat template.

    Raises:
        InputError: model, adapter or tokenizer does not exist, is gated, cannot be reached, or
            does not go with the others; or a device does not exist or hold it.
    """
    _be_quiet()
    devices = resolve_devices(settings.device)
    dtype = resolve_dtype(settings.dtype, devices[0])
    sources = locate(settings)
    try:
        tokenizer = _load_tokenizer(settings, sources)
        model = _load_network(settings, sources, devices, dtype)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"the memory of {settings.device} does not hold model '{settings.label}'; choose a "
            "smaller one, or lay it on several devices, as cuda:0+cuda:1 does",
            key="devices",
        ) from None
    _check_match(settings.label, model, tokenizer)
    kind = MaskedModel if settings.masked else LanguageModel
    return kind(model, tokenizer, name=settings.label)


def network_kind(settings: ModelSettings, config: PreTrainedConfig) -> Any:
    """What of transformers loads the network that ``config`` describes.

    Raises:
        InputError: it is a masked model and a causal one is asked for, or the other way round.
    """
    architectures = getattr(config, "architectures", None) or []
    if settings.masked:
        if type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
            raise InputError(
                f"model '{settings.label}' is of the kind {config.model_type}, which fills no "
                "mask; name a masked model, or leave out the words of its answers",
                key=("model_paths", "model.label_words"),
            )
        return AutoModelForMaskedLM
    if architectures and all(name.endswith("ForMaskedLM") for name in architectures):
        raise InputError(
            f"model '{settings.label}' is a masked model, which writes nothing; name a causal "
            "model, or give the words that stand for the task's answers",
            key=("model_paths", "model.label_words"),
        )
    return AutoModelForCausalLM


def _be_quiet() -> None:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _load_tokenizer(settings: ModelSettings, sources: Sources) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = _load(
        AutoTokenizer,
        sources.tokenizer,
        settings.trust_remote_code,
        settings.tokenizer_arguments or {},
    )
    return tokenizer


def load_config(settings: ModelSettings) -> PreTrainedConfig:
    """What the model is made of.

    Raises:
        InputError: as ``load_model``.
    """
    _be_quiet()
    return _load_config(settings, locate(settings))


def _load_config(settings: ModelSettings, sources: Sources) -> PreTrainedConfig:
    own = settings.model_arguments or {}
    of_config: dict[str, Any] = {
        name: own[name] for name in ("revision", "subfolder") if name in own
    }
    arguments = {**hub_arguments(own), **of_config}
    config: PreTrainedConfig = _load(
        AutoConfig, sources.base, settings.trust_remote_code, arguments
    )
    return config


def _load_network(
    settings: ModelSettings, sources: Sources, devices: Sequence[torch.device], dtype: torch.dtype
) -> PreTrainedModel:
    """The base model where it belongs, with the adapter in its weights."""
    own, trusted = settings.model_arguments or {}, settings.trust_remote_code
    config = _load_config(settings, sources)
    kind = network_kind(settings, config)
    # Where a quantised weight can be made, and moved to, depends on the kind.
    quantised = "quantization_config" in own or hasattr(config, "quantization_config")
    placed: dict[str, Any] = {}
    if len(devices) > 1 or quantised:
        need = f"model '{settings.label}' on {settings.device}"
        require_package(need, "sharded", "accelerate", key="devices")
        placed["device_map"] = _device_map(kind, config, devices, trusted)
    model: PreTrainedModel = _load(kind, sources.base, trusted, {"dtype": dtype, **own, **placed})
    if sources.adapter is not None:
        model = merge_adapter(model, sources.adapter, hub_arguments(own))
    return model if placed else model.to(devices[0])


def _device_map(
    kind: Any, config: PreTrainedConfig, devices: Sequence[torch.device], trust_remote_code: bool
) -> dict[str, int | str]:
    if len(devices) == 1:
        return {"": str(devices[0])}
    with torch.device("meta"):
        empty = kind.from_config(config, trust_remote_code=trust_remote_code)
    return layer_map(empty, devices)


def _load(kind: Any, source: Source, trust_remote_code: bool, arguments: Mapping[str, Any]) -> Any:
    key = "model_paths"
    try:
        return kind.from_pretrained(
            source.path, **source.arguments, trust_remote_code=trust_remote_code, **arguments
        )
    except (OSError, ValueError, ImportError, TypeError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        causes = _causes(error)
        if any(isinstance(cause, GatedRepoError) for cause in causes):
            reason = (
                "is gated: accept its terms on its hub page and log in with 'hf auth login' "
                "(or set HF_TOKEN)"
            )
        elif any(isinstance(cause, RevisionNotFoundError) for cause in causes):
            revision, key = source.arguments.get("revision"), "model.revisions"
            reason = f"has no revision '{revision}'; its hub page lists branches and tags"
        elif any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
            reason = "is not known to the hub; check the spelling, or log in if it is private"
        elif any("trust_remote_code" in str(cause) for cause in causes):
            reason, key = "brings code of its own; read it, then allow it", "trust_remote_code"
        else:
            first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            missing = isinstance(error, ImportError)
            reason = f"{'needs a package' if missing else 'cannot be loaded'}: {first}"
            key = "model.subfolders" if "subfolder" in source.arguments else key
        raise source.refusal(f"model '{source.name}' {reason}", key) from None


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
