"""The text is the truth: spans, both families, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import ChatFormat, end_of_turn, resolve_chat_format
from prompt_optimization.models.layout import BoundaryError, Layout
from prompt_optimization.tasks.examples import Example
from tests.conftest import FAMILIES, byte_level_tokenizer, sentencepiece_tokenizer

EXTRACTOR = "Therefore, the final answer is $"
MADE = {"llama-3": byte_level_tokenizer(), "gemma-2": sentencepiece_tokenizer()}

words = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyzAZ.,é", min_size=1, max_size=8), min_size=1, max_size=8
)
questions = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Co", "Cn")), min_size=1, max_size=40
).map(lambda text: "Q" + text + "?")


def layout_for(family: str, template: str = "auto", extractor: str = EXTRACTOR) -> Layout:
    tokenizer = MADE[family]
    return Layout(tokenizer, resolve_chat_format(tokenizer, template), extractor=extractor)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(question=questions, parts=words)
def test_spans_put_together_are_the_whole_text(
    family: str, question: str, parts: list[str]
) -> None:
    layout = layout_for(family)
    prompt = Layout.normalise(" ".join(parts))
    (head,) = layout.heads([question], prompt)
    whole = MADE[family](
        layout.chat.render(question + layout.connector + prompt), add_special_tokens=False
    )["input_ids"]
    assert head.question + head.prompt + head.suffix == tuple(whole)
    # What the ids say is the prompt's text, and the text means these ids.
    assert layout.spell(question, head.question, [head.prompt]) == [prompt]


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(parts=words, data=st.data())
def test_every_spelled_edit_means_its_ids(
    family: str, parts: list[str], data: st.DataObject
) -> None:
    layout, tokenizer = layout_for(family), MADE[family]
    (head,) = layout.heads(["How many?"], Layout.normalise(" ".join(parts)))
    position = data.draw(st.integers(0, len(head.prompt) - 1))
    tokens = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), min_size=1, max_size=12))
    edits = [(*head.prompt[:position], t, *head.prompt[position + 1 :]) for t in tokens]
    for edit, text in zip(edits, layout.spell("How many?", head.question, edits), strict=True):
        if text is None:
            continue
        whole = tokenizer(
            layout.chat.render("How many?" + layout.connector + text), add_special_tokens=False
        )["input_ids"]
        assert tuple(whole) == head.question + edit + head.suffix


def test_an_edit_that_merges_with_its_neighbour_is_dropped() -> None:
    layout, tokenizer = layout_for("llama-3"), MADE["llama-3"]
    (head,) = layout.heads(["How many?"], " step by step")
    letters = [tokenizer.convert_tokens_to_ids(c) for c in "st"]
    split = (*letters, *head.prompt[1:])  # spells "st by step", which is one token for "st"
    assert layout.spell("How many?", head.question, [split]) == [None]


@pytest.mark.parametrize("family", FAMILIES)
def test_tokenizer_and_fschat_templates_give_the_same_ids(family: str) -> None:
    question, prompt = "How many apples?", " think step by step."
    own, fschat = layout_for(family), layout_for(family, family)
    assert own.chat.name == "tokenizer" and fschat.chat.name == family
    assert own.heads([question], prompt) == fschat.heads([question], prompt)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("template", ["auto", None])
def test_end_of_turn_is_a_stop(family: str, template: str | None) -> None:
    tokenizer = MADE[family]
    ids = end_of_turn(tokenizer, resolve_chat_format(tokenizer, template or family))
    assert tokenizer.decode(ids) == {"llama-3": "<|eot_id|>", "gemma-2": "<end_of_turn>"}[family]
    assert end_of_turn(tokenizer, ChatFormat("plain", "", "\n\n", trims=False)) == []


def test_a_template_that_marks_no_turn_is_refused() -> None:
    with pytest.raises(InputError, match="'raw' writes nothing between"):
        resolve_chat_format(MADE["llama-3"], "raw")


@pytest.mark.parametrize("family", FAMILIES)
def test_exactly_one_bos(family: str) -> None:
    (head,) = layout_for(family).heads(["How many apples?"], " think.")
    ids = head.question + head.prompt + head.suffix
    assert ids.count(MADE[family].bos_token_id) == 1 and ids[0] == MADE[family].bos_token_id


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("extractor", ["the answer is $", "the answer is $ ", "\nAnswer: "])
def test_tail_is_one_text(family: str, extractor: str) -> None:
    layout = layout_for(family, extractor=extractor)
    examples = [Example("?", answer, 0) for answer in ("True", "False")]
    tails = layout.tails(examples)
    decode = MADE[family].decode
    for tail, example in zip(tails, examples, strict=True):
        assert decode(list(tail.extractor + tail.answer)) == (
            layout.separator + extractor + example.answer
        )
        assert decode(list(tail.answer)).strip() == example.answer
    assert tails[0].extractor == tails[1].extractor
    assert layout.separator == ("" if extractor.startswith("\n") else " ")


def test_answer_glued_to_the_extractor_is_refused() -> None:
    layout = layout_for("llama-3", extractor="the final answer is st")
    with pytest.raises(InputError, match=r"answer 'ep' of row 3 cannot be told"):
        layout.tails([Example("?", "12", 0), Example("?", "ep", 3)])


def test_prompt_glued_to_the_connector_is_refused() -> None:
    tokenizer = MADE["llama-3"]
    chat = ChatFormat("test", "", "", trims=False)
    layout = Layout(tokenizer, chat, extractor=EXTRACTOR, connector="")
    layout.heads(["How many?"], " step")
    with pytest.raises(BoundaryError):
        layout.heads(["How many st"], "ep")


def test_tokenizer_without_chat_template_gets_the_plain_one() -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = None
    chat = resolve_chat_format(tokenizer)
    assert chat == ChatFormat("plain", "", "\n\n", trims=False)
    (head,) = Layout(tokenizer, chat, extractor=EXTRACTOR).heads(["How many?"], " think.")
    assert tokenizer.decode(list(head.prompt)) == " think."


def test_unknown_template_and_empty_extractor() -> None:
    with pytest.raises(InputError, match="'nonsense' is unknown to fschat"):
        resolve_chat_format(MADE["llama-3"], "nonsense")
    with pytest.raises(InputError, match="extractor is empty"):
        layout_for("llama-3", extractor=" ")


def test_template_that_changes_the_words_is_refused() -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] | upper }}"
    with pytest.raises(InputError, match="chat template"):
        resolve_chat_format(tokenizer)
