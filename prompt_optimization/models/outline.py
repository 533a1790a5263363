"""A model without its weights: what can be known of it before they are read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from prompt_optimization.models.chat import ChatFormat
from prompt_optimization.models.loading import (
    load_config,
    load_tokenizer,
    network_kind,
    resolve_dtype,
)
from prompt_optimization.models.masked import positions_of
from prompt_optimization.models.placement import resolve_devices
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.models.shape import Shape
from prompt_optimization.models.tokenizer_check import check_tokenizer


@dataclass(frozen=True)
class Outline:
    """What the weights would make a model.

    Attributes:
        vocabulary: rows of its embedding.
        context: in tokens; None when it does not say.
        weight_bytes: of all its parameters, as if none was quantised.
        shape: what a token takes.
    """

    name: str
    tokenizer: PreTrainedTokenizerBase
    chat: ChatFormat
    vocabulary: int
    context: int | None
    weight_bytes: int
    shape: Shape


def load_outline(settings: ModelSettings) -> Outline:
    """The outline of the model that ``settings`` name.

    Raises:
        InputError: model or tokenizer does not exist or cannot be reached, the device does not
            compute in the precision, or texts and ids do not say the same.
    """
    dtype = resolve_dtype(settings.dtype, resolve_devices(settings.device)[0])
    tokenizer, chat = load_tokenizer(settings)
    config = load_config(settings)
    with torch.device("meta"):
        network = network_kind(settings, config).from_config(
            config, trust_remote_code=settings.trust_remote_code
        )
    vocabulary = int(network.get_input_embeddings().weight.shape[0])
    text = config.get_text_config()
    if settings.masked:
        context = positions_of(network)
    else:
        check_tokenizer(tokenizer, vocabulary, chat)
        context = getattr(text, "max_position_embeddings", None)
    return Outline(
        settings.label,
        tokenizer,
        chat,
        vocabulary,
        context,
        sum(parameter.numel() for parameter in network.parameters()) * dtype.itemsize,
        Shape.of(config, dtype),
    )
