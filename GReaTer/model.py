"""A user's model, borrowed: checked before, and left as it was afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedTokenizerBase

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import end_of_turn, resolve_chat_format
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.loading import ModelSettings, load_answerer
from prompt_optimization.models.team import Team
from prompt_optimization.models.worker import Worker

# Embeddings are filled up to round sizes; more rows without a token than this share mean that the
# tokenizer is another model's.
SPARE_ROWS = 0.1


def name_of(model: Any) -> str:
    return getattr(model, "name_or_path", "") or type(model).__name__


def check_model(model: Any, tokenizer: Any) -> None:
    """Refuse what cannot be worked with.

    Raises:
        InputError: the model is no causal language model, lies on no device or on several, or the
            tokenizer is not its own.
    """
    heads = [
        getattr(model, name, None) for name in ("get_input_embeddings", "get_output_embeddings")
    ]
    if not all(callable(head) and head() is not None for head in heads):
        raise InputError(
            f"model is a {type(model).__name__}, not a causal language model of transformers; load "
            "one with AutoModelForCausalLM.from_pretrained"
        )
    devices = sorted({str(parameter.device) for parameter in model.parameters()})
    if "meta" in devices:
        raise InputError(
            f"model '{name_of(model)}' has weights on the meta device, so it has none in memory; "
            "load it onto one device, without offloading"
        )
    if len(devices) > 1:
        raise InputError(
            f"model '{name_of(model)}' is spread over {', '.join(devices)}; load it onto one "
            f"device, for instance with device_map='{devices[-1]}'"
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(
            f"tokenizer is a {type(tokenizer).__name__}; give the model's own, from "
            "AutoTokenizer.from_pretrained"
        )
    _check_tokenizer(model, tokenizer)


def _check_tokenizer(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    mend = "give the tokenizer that was loaded from the same name as the model"
    if not (1 - SPARE_ROWS) * rows <= len(tokenizer) or tokenizer.vocab_size > rows:
        raise InputError(
            f"the tokenizer '{tokenizer.name_or_path}' has {len(tokenizer)} tokens and model "
            f"'{name_of(model)}' {rows}, so it does not belong to it; {mend}"
        )
    ends = model.config.get_text_config().eos_token_id
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    if strange := [end for end in ends if end not in special]:
        token = tokenizer.decode([strange[0]]) if strange[0] < len(tokenizer) else "no token"
        raise InputError(
            f"model '{name_of(model)}' ends its texts with token {strange[0]}, which is '{token}' "
            f"to the tokenizer '{tokenizer.name_or_path}', so it does not belong to it; {mend}"
        )


@contextmanager
def borrowed(
    model: Any, tokenizer: Any, template: str, max_rows: int, gradient_rows: int
) -> Iterator[Team]:
    """``model``, frozen and in eval mode, as a team of one; as it was afterwards, whatever happens.

    Raises:
        InputError: there is no such chat template.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    language_model = LanguageModel(model, tokenizer, name=name_of(model))
    try:
        chat = resolve_chat_format(tokenizer, template)
        language_model.stop_ids |= set(end_of_turn(tokenizer, chat))
        yield Team.alone(Worker(language_model, chat, max_rows, gradient_rows))
    finally:
        language_model.release()
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextmanager
def loaded(name: str, device: str, max_rows: int) -> Iterator[Team]:
    """The model called ``name``, for as long as it is needed.

    Raises:
        InputError: it cannot be loaded.
    """
    settings = ModelSettings(name, None, "auto", {}, device, "auto", False, {}, {})
    team = Team.alone(Worker(*load_answerer(settings), max_rows))
    try:
        yield team
    finally:
        team.close()
