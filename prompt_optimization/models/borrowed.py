"""A user's model, borrowed: checked before, and left as it was afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from prompt_optimization.errors import InputError
from prompt_optimization.models.cache_check import check_cache
from prompt_optimization.models.chat import end_of_turn, resolve_chat_format
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.loading import load_model
from prompt_optimization.models.model import Model
from prompt_optimization.models.settings import DTYPES, ModelSettings
from prompt_optimization.models.tokenizer_check import check_tokenizer
from prompt_optimization.models.worker import Worker

# Embeddings are filled up to round sizes; more rows without a token than both mean that the
# tokenizer is another model's.
SPARE_SHARE = 0.1
SPARE_ROWS = 128

# One thread at a time works on a model; the same one may come again, from a callback.
_locks: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_locks_lock = threading.Lock()


def name_of(model: Any) -> str:
    return getattr(model, "name_or_path", "") or type(model).__name__


def pairs_of(model: Any, tokenizer: Any) -> list[tuple[Any, Any]]:
    """Every model with its tokenizer.

    Args:
        model: one, or a list of several.
        tokenizer: one that serves all of them, or a list with one for each.

    Raises:
        InputError: there is not one for each, or ``check_model`` refuses one.
    """
    models = list(model) if isinstance(model, list | tuple) else [model]
    tokenizers = list(tokenizer) if isinstance(tokenizer, list | tuple) else [tokenizer]
    if len(tokenizers) == 1:
        tokenizers *= len(models)
    if not models or len(models) != len(tokenizers):
        raise InputError(
            f"{len(models)} models and {len(tokenizers)} tokenizers are given; give one tokenizer "
            "for each model"
        )
    pairs = list(zip(models, tokenizers, strict=True))
    for pair in pairs:
        check_model(*pair)
    return pairs


def check_model(model: Any, tokenizer: Any) -> None:
    """Refuse what cannot be worked with.

    Raises:
        InputError: the model is no causal language model, keeps an adapter apart, lies on no
            device, lies on several without a device map, or the tokenizer is not its own.
    """
    if hasattr(model, "merge_and_unload"):
        raise InputError(
            f"model is a {type(model).__name__}, which keeps its adapter apart; give "
            "model.merge_and_unload()"
        )
    if not isinstance(model, PreTrainedModel) or model.get_output_embeddings() is None:
        raise InputError(
            f"model is a {type(model).__name__}, not a causal language model of transformers; load "
            "one with AutoModelForCausalLM.from_pretrained"
        )
    devices = sorted({str(parameter.device) for parameter in model.parameters()})
    if "meta" in devices:
        raise InputError(
            f"model '{name_of(model)}' has weights on the meta device, so it has none in memory; "
            "load it onto devices that hold it, without offloading"
        )
    if len(devices) > 1 and not hasattr(model, "hf_device_map"):
        raise InputError(
            f"model '{name_of(model)}' is spread over {', '.join(devices)}, and nothing moves its "
            "states between them; load it with device_map='auto', or onto one device"
        )
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise InputError(
            f"model '{name_of(model)}' was loaded under torch.inference_mode, so no gradient can "
            "pass it; load it outside"
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(
            f"tokenizer is a {type(tokenizer).__name__}; give the model's own, from "
            "AutoTokenizer.from_pretrained"
        )
    _check_tokenizer(model, tokenizer)


def _check_tokenizer(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    fix = "give the tokenizer that was loaded from the same name as the model"
    if rows - len(tokenizer) > max(SPARE_ROWS, SPARE_SHARE * rows) or tokenizer.vocab_size > rows:
        raise InputError(
            f"the tokenizer '{tokenizer.name_or_path}' has {len(tokenizer)} tokens and model "
            f"'{name_of(model)}' {rows}, so it does not belong to it; {fix}"
        )
    if tokenizer.eos_token_id is None:
        return
    ends = getattr(model.config.get_text_config(), "eos_token_id", None)
    special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    for end in ends if isinstance(ends, list) else [ends]:
        # A default that was never meant may lie after the embedding.
        if end is not None and end < rows and end not in special:
            raise InputError(
                f"model '{name_of(model)}' ends its texts with token {end}, which is "
                f"'{tokenizer.decode([end])}' to the tokenizer '{tokenizer.name_or_path}', so it "
                f"does not belong to it; {fix}"
            )


@contextmanager
def borrowed(
    model: Any,
    tokenizer: Any,
    template: str = "auto",
    template_arguments: Mapping[str, Any] | None = None,
    max_rows: int = 0,
    gradient_rows: int = 0,
    graphs: str = "auto",
) -> Iterator[Model]:
    """``model``, frozen and in eval mode, as a model with one copy; left as it was, whatever
    happens.
    Other threads wait until it is given back.

    Raises:
        InputError: there is no such chat template, the tokenizer's texts and ids do not say the
            same, or the model does not continue cached text as it should.
    """
    with _lock_of(model), torch.inference_mode(False):
        modes = [(module, module.training) for module in model.modules()]
        flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        language_model = None
        try:
            language_model = LanguageModel(model, tokenizer, name=name_of(model))
            chat = resolve_chat_format(tokenizer, template, template_arguments)
            check_tokenizer(tokenizer, language_model.vocabulary, chat)
            check_cache(language_model)
            language_model.stop_ids |= set(end_of_turn(tokenizer, chat))
            yield Model.in_process(Worker(language_model, chat, max_rows, gradient_rows, graphs))
        finally:
            if language_model is not None:
                language_model.release()
            for module, mode in modes:
                module.training = mode
            for parameter, flag in flags:
                parameter.requires_grad_(flag)


@contextmanager
def loaded(name: str, device: str, dtype: torch.dtype, max_rows: int) -> Iterator[Model]:
    """The model called ``name``, for as long as it is needed.

    Raises:
        InputError: it cannot be loaded.
    """
    kind = str(dtype).removeprefix("torch.")
    settings = ModelSettings(name, device=device, dtype=kind if kind in DTYPES else "auto")
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    try:
        opened = Model.in_process(Worker(*load_model(settings), max_rows))
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
    try:
        yield opened
    finally:
        opened.close()


def borrowed_or_loaded(other: Any, like: Any, max_rows: int) -> AbstractContextManager[Model]:
    """Another model, for as long as it is needed.

    Args:
        other: a hub name or folder, or a pair of model and tokenizer.
        like: a model on whose device, and in whose precision, one is loaded.

    Raises:
        InputError: it is neither, or cannot be used.
    """
    if isinstance(other, str | Path):
        return loaded(str(other), str(like.device), like.dtype, max_rows)
    if not isinstance(other, tuple) or len(other) != 2:
        raise InputError(
            f"other_model is a {type(other).__name__}; give a name, or a pair (model, tokenizer)"
        )
    check_model(*other)
    return borrowed(*other, max_rows=max_rows)


def _lock_of(model: Any) -> Any:
    with _locks_lock:
        return _locks.setdefault(model, threading.RLock())
