"""The text around the user's words: own templates, plain layouts, fschat's, and dates."""

from __future__ import annotations

from datetime import datetime

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import (
    PLAIN_SUFFIXES,
    ChatFormat,
    end_of_turn,
    resolve_chat_format,
)
from prompt_optimization.models.encoded import EncodedExamples
from prompt_optimization.models.layout import Layout
from prompt_optimization.tasks.examples import Example
from tests.conftest import FAMILIES, byte_level_tokenizer, sentencepiece_tokenizer
from tests.models.tokenizer_kinds import ADDED, FLAGS, KINDS, make_tokenizer

MADE = {"llama-3": byte_level_tokenizer(), "gemma-2": sentencepiece_tokenizer()}
# Kojima et al.'s prompt and the one that a search begins with.
PROMPTS = (" Let's think step by step.", " proper logical reasoning and think step by step.")

# How Llama-3.2's template comes by its date, and how gpt-oss' does.
LLAMA_DATE = (
    "{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}"
    "{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}"
    "Today Date: {{ date_string }}\n"
)
OWN_DATE = "Current date: {{ strftime_now('%Y-%m-%d') }}\n"
WORDS = "{{ messages[0]['content'] }}\nmodel\n"


def with_template(template: str) -> ChatFormat:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = template
    return resolve_chat_format(tokenizer)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("template", ["auto", None])
def test_end_of_turn_is_a_stop(family: str, template: str | None) -> None:
    tokenizer = MADE[family]
    ids = end_of_turn(tokenizer, resolve_chat_format(tokenizer, template or family))
    assert tokenizer.decode(ids) == {"llama-3": "<|eot_id|>", "gemma-2": "<end_of_turn>"}[family]
    assert end_of_turn(tokenizer, ChatFormat("plain", "", "\n\n", trims=False)) == []


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "prepended" not in kind])
def test_end_of_turn_whatever_white_space_it_takes(kind: str, flags: str) -> None:
    """The mark is special, and none of the tokenizer's named tokens."""
    tokenizer = make_tokenizer(kind, flags, template="Phi-3")
    (end,) = end_of_turn(tokenizer, resolve_chat_format(tokenizer))
    assert end == tokenizer.convert_tokens_to_ids("<|end|>")
    assert end not in tokenizer.all_special_ids


def test_an_unknown_word_is_no_end_of_turn() -> None:
    tokenizer = make_tokenizer("word-level")
    assert end_of_turn(tokenizer, ChatFormat("test", "", " unheard-of", trims=False)) == []


# --- Plain layouts ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_prompts_stand_in_the_plain_layout(kind: str) -> None:
    tokenizer = make_tokenizer(kind)
    chat = resolve_chat_format(tokenizer)
    assert chat.name == "plain" and chat.prefix == "" and chat.suffix in PLAIN_SUFFIXES
    layout = Layout(tokenizer, chat, extractor="the answer is $ ", connector=". Use")
    examples = [Example("How many apples?", "12", 0), Example("How many pears?", "8", 1)]
    for prompt in PROMPTS:
        encoded = EncodedExamples(layout, examples, prompt)
        # The suffix is the same after whatever the prompt ends with.
        for mark in (*".!?:,)", "", "s"):
            encoded.prompt_ids(prompt.removesuffix(".") + mark)


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("byte-level, GPT-2", "\n\n"),
        ("byte-level, trimmed offsets", "\n\n"),
        ("byte-level, Llama-3", " \n\n"),
        ("unigram, normalised", "\n\nSolution:"),
        ("word-piece", "\n\nSolution:"),
    ],
)
def test_the_first_plain_layout_that_suits(kind: str, suffix: str) -> None:
    assert resolve_chat_format(make_tokenizer(kind)).suffix == suffix


def test_no_plain_layout_suits() -> None:
    raw = Tokenizer(WordLevel({"<unk>": 0, "step": 1}, unk_token="<unk>"))
    raw.pre_tokenizer = Whitespace()
    with pytest.raises(InputError, match="no plain layout has tokens of its own"):
        resolve_chat_format(PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>"))


@pytest.mark.parametrize("added", ADDED)
@pytest.mark.parametrize("template", ["auto", "vicuna_v1.1", "llama-2"])
def test_the_start_is_what_the_tokenizer_adds(template: str, added: str) -> None:
    """Also where a text after a written BOS would have other tokens than one at its beginning."""
    tokenizer = make_tokenizer("byte fallback, first", added=added)
    chat = resolve_chat_format(tokenizer, template)
    bos = (tokenizer.bos_token_id,) if added.startswith("BOS") else ()
    assert chat.start == bos
    text = chat.render("How many apples?")
    ids = tokenizer(text)["input_ids"]
    bare = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids[: len(bos) + len(bare)] == [*bos, *bare]


def test_a_bos_that_the_template_writes_is_not_added_again() -> None:
    assert resolve_chat_format(MADE["llama-3"], "llama-3").start == ()


def test_the_hash_covers_all_that_is_added() -> None:
    formats = [
        ChatFormat("plain", "", "\n\n", False),
        ChatFormat("plain", "", " \n\n", False),
        ChatFormat("plain", "", "\n\n", True),
        ChatFormat("plain", "", "\n\n", False, start=(1,)),
    ]
    assert len({one.sha256 for one in formats}) == len(formats)


# --- Own templates ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "arguments", "dated"),
    [
        (LLAMA_DATE + WORDS, {}, True),
        (LLAMA_DATE + WORDS, {"date_string": "26 Jul 2024"}, False),
        (OWN_DATE + WORDS, {}, True),
        ("{{ strftime_now('%S') | length }}" + WORDS, {}, False),
        (WORDS, {}, False),
    ],
)
def test_templates_that_write_the_date(
    template: str, arguments: dict[str, str], dated: bool
) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = template
    chat = resolve_chat_format(tokenizer, "auto", arguments)
    assert chat.dated is dated
    if arguments:
        assert "26 Jul 2024" in chat.prefix


def test_a_dated_format_holds_the_day_it_was_resolved() -> None:
    before = datetime.now().date()
    prefix = with_template(OWN_DATE + WORDS).prefix
    written = datetime.strptime(prefix, "Current date: %Y-%m-%d\n").date()
    assert before <= written <= datetime.now().date()


def test_a_template_that_marks_no_turn_is_refused() -> None:
    with pytest.raises(InputError, match="'raw' writes nothing between"):
        resolve_chat_format(MADE["llama-3"], "raw")
    with pytest.raises(InputError, match="writes nothing between the user's words"):
        with_template("{{ messages[0]['content'] }}")


def test_unknown_template() -> None:
    with pytest.raises(InputError, match="'nonsense' is unknown to fschat"):
        resolve_chat_format(MADE["llama-3"], "nonsense")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0]['content'] | upper }}", "does not write the user's words exactly once"),
        ("{{ messages[0]['content'] | replace('  ', ' ') }}!", "changes the user's words"),
        ("{{ raise_exception('no system') }}", r"cannot be rendered \(no system\)"),
        ("{{ 1 + 'a' }}", "cannot be rendered"),
    ],
)
def test_templates_that_cannot_be_used(template: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        with_template(template)
    assert caught.value.keys == ("conversation_templates",)
