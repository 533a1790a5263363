"""The text is the truth: spans, both families, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import ChatFormat, resolve_chat_format
from prompt_optimization.models.encoded import EncodedExamples
from prompt_optimization.models.layout import BoundaryError, Layout, Target
from prompt_optimization.tasks.examples import Example
from tests.conftest import FAMILIES, byte_level_tokenizer, sentencepiece_tokenizer
from tests.models.tokenizer_kinds import (
    ADDED,
    FLAGS,
    KINDS,
    TEMPLATES,
    UNREADABLE_MARKS,
    make_tokenizer,
)

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
    (context,) = layout.contexts([question], prompt)
    whole = MADE[family](
        layout.chat.render(question + layout.connector + prompt), add_special_tokens=False
    )["input_ids"]
    assert context.question + context.prompt + context.suffix == tuple(whole)
    # What the ids say is the prompt's text, and the text means these ids.
    assert layout.roundtrip_text(question, context.around, [context.prompt]) == [prompt]


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(parts=words, data=st.data())
def test_every_spelled_edit_means_its_ids(
    family: str, parts: list[str], data: st.DataObject
) -> None:
    layout, tokenizer = layout_for(family), MADE[family]
    (context,) = layout.contexts(["How many?"], Layout.normalise(" ".join(parts)))
    position = data.draw(st.integers(0, len(context.prompt) - 1))
    tokens = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), min_size=1, max_size=12))
    edits = [(*context.prompt[:position], t, *context.prompt[position + 1 :]) for t in tokens]
    for edit, text in zip(
        edits, layout.roundtrip_text("How many?", context.around, edits), strict=True
    ):
        if text is None:
            continue
        whole = tokenizer(
            layout.chat.render("How many?" + layout.connector + text), add_special_tokens=False
        )["input_ids"]
        assert tuple(whole) == context.question + edit + context.suffix


def test_an_edit_that_merges_with_its_neighbour_is_dropped() -> None:
    layout, tokenizer = layout_for("llama-3"), MADE["llama-3"]
    (context,) = layout.contexts(["How many?"], " step by step")
    letters = [tokenizer.convert_tokens_to_ids(c) for c in "st"]
    split = (*letters, *context.prompt[1:])  # spells "st by step", which is one token for "st"
    assert layout.roundtrip_text("How many?", context.around, [split]) == [None]


@pytest.mark.parametrize("family", FAMILIES)
def test_tokenizer_and_fschat_templates_give_the_same_ids(family: str) -> None:
    question, prompt = "How many apples?", " think step by step."
    own, fschat = layout_for(family), layout_for(family, family)
    assert own.chat.name == "tokenizer" and fschat.chat.name == family
    assert own.contexts([question], prompt) == fschat.contexts([question], prompt)


@pytest.mark.parametrize("family", FAMILIES)
def test_exactly_one_bos(family: str) -> None:
    (context,) = layout_for(family).contexts(["How many apples?"], " think.")
    ids = context.question + context.prompt + context.suffix
    assert ids.count(MADE[family].bos_token_id) == 1 and ids[0] == MADE[family].bos_token_id


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("extractor", ["the answer is $", "the answer is $ ", "\nAnswer: "])
def test_tail_is_one_text(family: str, extractor: str) -> None:
    layout = layout_for(family, extractor=extractor)
    examples = [Example("?", answer, 0) for answer in ("True", "False")]
    targets = layout.targets(examples)
    decode = MADE[family].decode
    for target, example in zip(targets, examples, strict=True):
        assert decode(list(target.extractor + target.answer)) == (
            layout.separator + extractor + example.answer
        )
        assert decode(list(target.answer)).strip() == example.answer
    assert targets[0].extractor == targets[1].extractor
    assert layout.separator == ("" if extractor.startswith("\n") else " ")


def test_answer_glued_to_the_extractor_is_refused() -> None:
    layout = layout_for("llama-3", extractor="the final answer is st")
    with pytest.raises(InputError, match=r"answer 'ep' of row 3 cannot be distinguished"):
        layout.targets([Example("?", "12", 0), Example("?", "ep", 3)])


def test_prompt_glued_to_the_connector_is_refused() -> None:
    tokenizer = MADE["llama-3"]
    chat = ChatFormat("test", "", "", trims=False)
    layout = Layout(tokenizer, chat, extractor=EXTRACTOR, connector="")
    layout.contexts(["How many?"], " step")
    with pytest.raises(BoundaryError):
        layout.contexts(["How many st"], "ep")


def test_without_an_extractor_nothing_is_forced() -> None:
    layout = layout_for("llama-3", extractor=" ")
    assert layout.targets([Example("Why?", "12", 0)]) == [Target((), ())]


# --- Every kind of tokenizer -----------------------------------------------------------------

# What is refused when it is opened (test_tokenizer_check.py) is left out here.
usable = st.tuples(
    st.sampled_from(list(KINDS)),
    st.sampled_from(list(FLAGS)),
    st.sampled_from(list(ADDED)),
    st.sampled_from(list(TEMPLATES)),
).filter(lambda case: case[:2] != UNREADABLE_MARKS)
# Words that the word-level tokenizer has, too.
plain_words = st.lists(
    st.sampled_from("count each one then add them up careful thought How many apples".split()),
    min_size=1,
    max_size=6,
).map(" ".join)
ends = st.sampled_from(["", ".", ",", "?", ")"])


def pasted(tokenizer: PreTrainedTokenizerFast, chat: ChatFormat, words: str) -> tuple[int, ...]:
    """The ids that transformers itself makes of the words, without an EOS after them."""
    if tokenizer.chat_template is None:
        ids = tokenizer(chat.render(words))["input_ids"]
        return tuple(ids[:-1] if ids[-1] == tokenizer.eos_token_id else ids)
    message = [{"role": "user", "content": words}]
    encoded = tokenizer.apply_chat_template(message, add_generation_prompt=True)
    return tuple(encoded["input_ids"])


@settings(max_examples=300, deadline=None)
@given(case=usable, question=plain_words | questions, prompt=plain_words, end=ends)
def test_contexts_are_what_the_pasted_text_means(
    case: tuple[str, ...], question: str, prompt: str, end: str
) -> None:
    tokenizer = make_tokenizer(*case)
    layout = Layout(tokenizer, resolve_chat_format(tokenizer), extractor=EXTRACTOR)
    prompt = Layout.normalise(prompt + end)
    whole = pasted(tokenizer, layout.chat, question + layout.connector + prompt)
    try:
        (context,) = layout.contexts([question], prompt)
    except BoundaryError as error:
        # Only where punctuation meets the line break of a template that is not ours.
        assert end and case[3] == "words" and error.fix == f"leave out the '{end}' at its end"
        return
    assert context.question + context.prompt + context.suffix == whole
    assert context.prompt and context.suffix


@settings(max_examples=300, deadline=None)
@given(case=usable, question=plain_words, prompt=plain_words, data=st.data())
def test_accepted_texts_mean_their_ids(
    case: tuple[str, ...], question: str, prompt: str, data: st.DataObject
) -> None:
    tokenizer = make_tokenizer(*case)
    layout = Layout(tokenizer, resolve_chat_format(tokenizer), extractor=EXTRACTOR)
    (context,) = layout.contexts([question], Layout.normalise(prompt))
    position = data.draw(st.integers(0, len(context.prompt)))
    tokens = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), min_size=1, max_size=8))
    before, after = context.prompt[:position], context.prompt[position + 1 :]
    edits = [context.prompt, *((*before, token, *after) for token in tokens)]
    texts = layout.roundtrip_text(question, context.around, edits)
    assert texts[0] is not None
    for edit, text in zip(edits, texts, strict=True):
        if text is not None:
            words = question + layout.connector + text
            whole = pasted(tokenizer, layout.chat, words)
            assert whole == context.question + edit + context.suffix
            assert text == Layout.normalise(text)


@settings(max_examples=300, deadline=None)
@given(
    case=usable,
    reasoning=plain_words,
    end=ends,
    separator=st.sampled_from([" ", "\n"]),
    extractor=st.sampled_from([EXTRACTOR, "Therefore, the number is ", " the answer is $ "]),
)
def test_targets_are_what_the_text_means_after_a_reasoning(
    case: tuple[str, ...], reasoning: str, end: str, separator: str, extractor: str
) -> None:
    tokenizer = make_tokenizer(*case)
    layout = Layout(
        tokenizer, resolve_chat_format(tokenizer), extractor=extractor, separator=separator
    )
    answers = ("12", "8") if case[0] == "word-level" else ("12", "8", "yes", "one two")
    targets = layout.targets([Example("?", answer, 0) for answer in answers])
    if separator == "\n":
        end = ""  # punctuation may join a line break; a word does not
    for target, answer in zip(targets, answers, strict=True):
        opening = layout.separator + extractor
        text = layout.chat.render("How many?") + " " + reasoning + end + opening + answer
        ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        assert ids[-len(target.extractor + target.answer) :] == target.extractor + target.answer
        assert target.extractor == targets[0].extractor


@pytest.mark.parametrize("flags", FLAGS)
def test_an_eos_that_takes_white_space_is_no_part_of_the_extractor(flags: str) -> None:
    tokenizer = make_tokenizer("byte-level, GPT-2", flags, template="Phi-3")
    layout = Layout(tokenizer, resolve_chat_format(tokenizer), extractor=EXTRACTOR)
    (target,) = layout.targets([Example("?", "12", 0)])
    assert tokenizer.decode(list(target.extractor)) == " " + EXTRACTOR


def test_an_answer_that_does_not_come_back_is_refused() -> None:
    tokenizer = make_tokenizer("word-piece, lower-casing")
    layout = Layout(tokenizer, resolve_chat_format(tokenizer), extractor=EXTRACTOR)
    layout.targets([Example("?", "yes", 0)])
    for answer, found in (("True", "true"), ("(a)", "( a )")):
        with pytest.raises(
            InputError, match=re.escape(f"'{answer}' of row 4 comes back")
        ) as caught:
            layout.targets([Example("?", "yes", 0), Example("?", answer, 4)])
        assert f"as '{found}'" in str(caught.value)


def test_an_extractor_that_melts_into_every_reasoning_is_refused() -> None:
    raw = Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>"))  # a text is one token
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")
    layout = Layout(tokenizer, ChatFormat("test", "", "\n", False), extractor=EXTRACTOR)
    with pytest.raises(InputError, match=r"'Therefore, t\.\.\.' melts into the text before it"):
        layout.targets([Example("?", "12", 0)])


# --- The ends of the prompt ------------------------------------------------------------------


def test_a_full_stop_joined_to_the_template_is_refused_with_the_fix() -> None:
    tokenizer = make_tokenizer("byte-level, Llama-3", template="words")
    layout = Layout(tokenizer, resolve_chat_format(tokenizer), extractor=EXTRACTOR)
    examples = [Example("How many?", "12", 0)]
    encoded = EncodedExamples(layout, examples, " add them up")
    expected = (
        r"the prompt 'add them up\.' does not stand on tokens of its own \(its end shares the "
        r"token '\.\\n\\n' with what the chat template writes after it\); leave out the '\.' at "
        r"its end \(setting control_init\)"
    )
    with pytest.raises(InputError, match=expected):
        EncodedExamples(layout, examples, " add them up.")
    with pytest.raises(InputError, match=expected):
        encoded.prompt_ids(" add them up.")
    assert layout.roundtrip_text(
        "How many?",
        (encoded.questions[0], encoded.suffix),
        [(*encoded.prompt_ids(" add them up"), tokenizer.convert_tokens_to_ids("."))],
    ) == [None]


def test_a_beginning_joined_to_the_connector_is_refused_with_the_fix() -> None:
    layout = Layout(
        MADE["llama-3"], resolve_chat_format(MADE["llama-3"]), extractor=EXTRACTOR, connector=" st"
    )
    with pytest.raises(
        InputError, match=r"its beginning shares the token ' step' .* the connector end in a word"
    ) as caught:
        EncodedExamples(layout, [Example("How many?", "12", 0)], "ep by step")
    assert caught.value.keys == ("connector", "control_init")


def test_a_prompt_without_tokens_is_refused() -> None:
    tokenizer = make_tokenizer("word-piece")
    layout = Layout(tokenizer, resolve_chat_format(tokenizer), extractor=EXTRACTOR)
    with pytest.raises(InputError, match="the tokenizer has no token for it"):
        EncodedExamples(layout, [Example("How many?", "12", 0)], " \u200b")
