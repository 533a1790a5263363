"""Tokenizers of every kind are opened, and those whose texts and ids differ are refused."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders
from transformers import CanineTokenizer, PreTrainedTokenizerFast

from prompt_optimization.errors import InputError
from prompt_optimization.models.borrowed import borrowed
from prompt_optimization.models.chat import ChatFormat, resolve_chat_format
from prompt_optimization.models.loading import load_model
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.models.tokenizer_check import check_tokenizer
from tests.conftest import FAMILIES, tiny_model
from tests.models.tokenizer_kinds import (
    ADDED,
    FLAGS,
    KINDS,
    TEMPLATES,
    UNREADABLE_MARKS,
    make_tokenizer,
)


def check(
    tokenizer: PreTrainedTokenizerFast, rows: int | None = None, template: str = "auto"
) -> None:
    chat = resolve_chat_format(tokenizer, template)
    check_tokenizer(tokenizer, len(tokenizer) if rows is None else rows, chat)


def changed(tokenizer: PreTrainedTokenizerFast, **parts: Any) -> PreTrainedTokenizerFast:
    """A copy with other ``parts`` of its tokenizer.json."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state |= {name: state[name] | part if name == "model" else part for name, part in parts.items()}
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
    )
    made.chat_template = tokenizer.chat_template
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_both_families_pass(tokenizers: Any, family: str) -> None:
    check(tokenizers[family])
    check(tokenizers[family], template=family)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_passes(kind: str) -> None:
    for flags, added, template in product(FLAGS, ADDED, TEMPLATES):
        if (kind, flags) != UNREADABLE_MARKS:
            check(make_tokenizer(kind, flags, added, template))


@pytest.mark.parametrize("template", ["Phi-3", "BOS, trimmed"])
def test_a_mark_that_is_not_found_within_a_text(template: str) -> None:
    tokenizer = make_tokenizer(*UNREADABLE_MARKS, template=template)
    mark = {"Phi-3": "<|assistant|>", "BOS, trimmed": "<|user|>"}[template]
    assert tokenizer.convert_tokens_to_ids(mark) not in tokenizer("a" + mark)["input_ids"]
    with pytest.raises(
        InputError, match=r"reads the mark '<\|\w+\|>' of the chat template as plain"
    ):
        check(tokenizer)


def test_split_special_tokens() -> None:
    tokenizer = changed(make_tokenizer("byte-level, GPT-2", template="Phi-3"))
    check(tokenizer)
    tokenizer.split_special_tokens = True
    with pytest.raises(InputError, match="turn off split_special_tokens"):
        check(tokenizer)


def test_a_mark_that_must_stand_alone() -> None:
    raw = make_tokenizer("byte-level, GPT-2").backend_tokenizer.to_str()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(raw))
    tokenizer.add_tokens(AddedToken("[U]", single_word=True, special=True))
    tokenizer.chat_template = "[U]{{ messages[0]['content'] }}\nmodel\n"
    with pytest.raises(
        InputError, match=r"reads the mark '\[U\]' .* flags normalized and single_word"
    ):
        check(tokenizer)


def test_dropout() -> None:
    with pytest.raises(InputError, match="reads the same text as other tokens every time"):
        check(changed(make_tokenizer("byte-level, GPT-2"), model={"dropout": 0.3}))


def test_no_decoder() -> None:
    tokenizer = changed(make_tokenizer("byte-level, GPT-2", template="Phi-3"), decoder=None)
    with pytest.raises(
        InputError, match=r"gives 'careful thought .*' back as '\u0120careful \u0120"
    ):
        check(tokenizer)


def test_a_decoder_of_another_kind() -> None:
    decoder = json.loads(decoders.WordPiece().__getstate__())
    tokenizer = changed(make_tokenizer("unigram", template="Phi-3"), decoder=decoder)
    with pytest.raises(InputError, match=r"gives 'careful thought and count each one' back as"):
        check(tokenizer)


def test_a_text_that_depends_on_how_the_reasoning_ends() -> None:
    normalizer = {"type": "Replace", "pattern": {"String": ". T"}, "content": ".T"}
    tokenizer = changed(make_tokenizer("byte-level, GPT-2"), normalizer=normalizer)
    with pytest.raises(
        InputError,
        match=r"reads ' Therefore, .*' in another way after 'He has 7 and then 5 more\.'",
    ):
        check(tokenizer)


def test_tokens_without_an_embedding() -> None:
    tokenizer = make_tokenizer("byte-level, GPT-2", added="nothing", template="words")
    pad = tokenizer.convert_tokens_to_ids("<pad>")
    with pytest.raises(InputError, match=rf"fills up with the token '<pad>' \({pad}\)") as caught:
        check(tokenizer, rows=pad)
    assert caught.value.keys == ("tokenizer_kwargs",)
    check(tokenizer, rows=pad + 1)  # the marks after it do not occur
    with pytest.raises(InputError, match=r"writes the token '.*' \(\d+\), and the model has an em"):
        check(tokenizer, rows=300)


def test_a_template_of_which_nothing_is_left() -> None:
    tokenizer = changed(make_tokenizer("word-piece"))
    chat = ChatFormat("test", "", "\n\n", trims=False)
    with pytest.raises(InputError, match="drops all that the chat template writes after"):
        check_tokenizer(tokenizer, len(tokenizer), chat)


def test_a_template_that_touches_the_words() -> None:
    tokenizer = make_tokenizer("byte-level, GPT-2")
    chat = ChatFormat("test", "", "s:", trims=False)
    with pytest.raises(InputError, match="joins plain words to the text around them"):
        check_tokenizer(tokenizer, len(tokenizer), chat)


def test_a_tokenizer_without_offsets() -> None:
    with pytest.raises(InputError, match=r"no character offsets; use one with a tokenizer\.json"):
        check(CanineTokenizer())


# --- Where it is called ----------------------------------------------------------------------


def test_a_model_is_checked_when_it_is_loaded(tmp_path: Any) -> None:
    tokenizer = make_tokenizer("byte-level, GPT-2", template="Phi-3")
    tiny_model("llama-3", len(tokenizer), 1, torch.float32).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    settings = ModelSettings(str(tmp_path), device="cpu", dtype="float32")
    _, chat = load_model(settings)
    assert chat.name == "tokenizer"
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder": None}))
    with pytest.raises(InputError, match=r"gives 'careful thought .*' back as"):
        load_model(settings)


def test_a_borrowed_model_is_checked() -> None:
    tokenizer = changed(make_tokenizer("byte-level, GPT-2", template="Phi-3"))
    model = tiny_model("llama-3", len(tokenizer), 1, torch.float32)
    with borrowed(model, tokenizer) as opened:
        assert opened.chat.name == "tokenizer"
    tokenizer.add_special_tokens({"pad_token": "<|pad|>"})  # and the embedding was not resized
    with (
        pytest.raises(InputError, match=r"fills up with the token '<\|pad\|>'"),
        borrowed(model, tokenizer),
    ):
        pass
