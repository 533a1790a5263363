"""A prompt anywhere in the chat: what is scored is what the text means in the real rendering."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import resolve_chat_format
from prompt_optimization.models.encoded import EncodedExamples
from prompt_optimization.models.layout import Layout
from prompt_optimization.models.model import without_space
from prompt_optimization.tasks.examples import Example
from prompt_optimization.tasks.templates import Turn, as_text, filled, resolved, turns_of
from tests import plain
from tests.conftest import AROUND, PLACES, byte_level_tokenizer, sentencepiece_tokenizer
from tests.models.chat_templates import FAMILIES, MARKS, SILENT
from tests.models.tokenizer_kinds import make_tokenizer

EXTRACTOR = "Therefore, the final answer is $"
EXAMPLES = [
    Example("How many apples?", "12", 0),
    Example(" (A) two, (B) three\n", "2", 1),
    Example("7 plums and 5 more", "12", 2),
]


@lru_cache
def tokenizer_with(kind: str, family: str) -> PreTrainedTokenizerFast:
    tokenizer = byte_level_tokenizer() if kind == "byte-level" else sentencepiece_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS)}, False)
    tokenizer.chat_template = FAMILIES[family]
    return tokenizer


def layout_of(tokenizer: Any, template: str, **more: Any) -> Layout:
    chat = resolve_chat_format(tokenizer)
    return Layout(tokenizer, chat, extractor=EXTRACTOR, template=template, **more)


def chat_of(*turns: tuple[str, str]) -> str:
    return resolved(str(as_text(turns)))


# --- The law ---------------------------------------------------------------------------------

lines = st.lists(
    st.lists(
        st.sampled_from("count each one then add them up careful thought 12 (A) $ é".split()),
        min_size=1,
        max_size=4,
    ).map(" ".join),
    min_size=1,
    max_size=3,
).map("\n".join)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(["byte-level", "SentencePiece"]),
    words=lines,
    end=st.sampled_from(["", ".", ",", "?"]),
    data=st.data(),
)
def test_what_is_scored_is_what_the_rendered_text_means(
    family: str, place: str, kind: str, words: str, end: str, data: st.DataObject
) -> None:
    tokenizer = tokenizer_with(kind, family)
    layout = layout_of(tokenizer, place, fold_system=True)
    prompt = Layout.normalise(words + end)
    try:
        encoded = EncodedExamples(layout, EXAMPLES, " count each one")
        ids = encoded.prompt_ids(prompt)
    except InputError:
        # Punctuation and the line breaks that Mistral's template writes are one piece.
        assert not prompt[-1].isalnum() and (family, place) == ("Mistral", "system")
        return
    position = data.draw(st.integers(0, len(ids)))
    tokens = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=5))
    edits = [ids, *((*ids[:position], token, *ids[position + 1 :]) for token in tokens)]
    texts = encoded.roundtrip_text(edits)
    assert texts[0] == prompt
    for edit, text in zip(edits, texts, strict=True):
        if text is None:
            continue
        for sample, example in enumerate(EXAMPLES):
            turns = filled(layout.frame.turns, question=example.question, prompt=text.strip())
            messages = [{"role": turn.role, "content": turn.content} for turn in turns]
            rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
            whole = tuple(rendered["input_ids"])
            read = encoded.before[sample] + edit + encoded.following(sample, edit)
            assert whole == read


@pytest.mark.parametrize("connector", [". Use", ".", ""])
def test_the_usual_place_is_the_papers(connector: str) -> None:
    layout = layout_of(tokenizer_with("byte-level", "Llama-3"), "end", connector=connector)
    text, [(start, end)] = layout.frame.render("How many?", " think.")
    assert text == layout.chat.render("How many?" + connector + " think.")
    assert text[start:end] == " think."


@pytest.mark.parametrize("place", PLACES)
def test_a_chat_in_words_holds_what_the_model_reads_in_its_order(place: str) -> None:
    layout = layout_of(tokenizer_with("byte-level", "Llama-3"), place, connector=".")
    shown = layout.shown("How many?", " think.")
    assert (shown.index("think.") < shown.index("How many?")) is layout.frame.prompt_first
    known = {
        "end": "How many?. think.",
        "system": "System: think.\n\nUser: How many?",
        AROUND: "System: You count.\n\nUser: Two pears?\n\nAssistant: 2\n\n"
        "User: Use think. now: How many? Answer.",
    }
    assert known.get(place, shown) == shown
    # Without what is asked before, where the prompt stands beside the question, too.
    brief = layout.shown("How many?", " think.", solved=False)
    assert "pears" not in brief and "think." in brief and "How many?" in brief


@pytest.mark.parametrize("place", PLACES)
def test_what_holds_no_question_is_read_once(
    place: str, make_model: Any, make_samples: Any
) -> None:
    samples = make_samples(make_model(), template=place)
    samples.prefix.reach(samples.prompt_ids(" think step")[:1])
    assert samples.prefix.kv.rows == (len(samples) if place == "end" else 1)


# --- Proposals -------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("position", [0, 1, 3])
def test_proposals_follow_the_question_wherever_the_prompt_stands(
    family: str, place: str, position: int, make_model: Any, make_answerer: Any
) -> None:
    model = make_model(family)
    answerer = make_answerer(model, n=3, template=place)
    prompt = answerer.training.prompt_ids(" Use step by step and count.")
    found = answerer.log_probs(prompt[:position], range(3))
    # The same, asked of the whole text in the paper's form.
    usual = make_answerer(model, n=3)
    ids = usual.training.prompt_ids(" Use step by step and count.")
    assert len(ids) == len(prompt)
    for sample, before in enumerate(usual.training.before):
        expected = plain.logits(model, [*before, *ids[:position]])[-1].log_softmax(-1)
        if position == 0 and not answerer.training.layout.frame.spaced:
            token = prompt[0]
            assert token != ids[0]
            assert float(found[sample, token]) == pytest.approx(float(expected[ids[0]]), abs=1e-4)
            assert bool(found[sample, ids[0]].isneginf())
        else:
            assert torch.allclose(found[sample], expected, atol=1e-4)


def test_tokens_without_spaces_are_the_same_in_both_places() -> None:
    tokenizer = make_tokenizer("word-piece")
    log_probs = torch.randn(2, len(tokenizer)).log_softmax(-1)
    assert without_space(log_probs, tokenizer) is log_probs


# --- What is refused -------------------------------------------------------------------------

QUESTION = ("user", "{question}")


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        ([("user", "Use this: {question}")], r"has no slot \{prompt\}; write it where"),
        ([("user", "{question} {prompt} {question}")], r"has the slot \{question\} 2 times"),
        ([("system", "{question}"), ("user", "{prompt} {question}")], r"\{question\} 2 times"),
        ([], r"has no slot \{prompt\}"),
        ([("user", "un{prompt} {question}")], r"within a word \('n\{prompt\} '\); put a space"),
        ([("user", "{prompt}{question}")], r"within a word"),
        ([("user", "{question} {prompt}7")], r"within a word"),
        ([("tool", "{prompt}"), QUESTION], 'turn 1 .* has the role "tool"; choose one of system'),
        ([QUESTION, ("assistant", "{prompt}")], "ends with a turn that is not the user's"),
        ([QUESTION, ("system", "{prompt}"), ("user", "Now.")], "system turn after its beginning"),
        ([("user", "{prompt} {question}"), ("user", " ")], 'turn 2 .* has the content " "'),
        (["{prompt} {question}"], "turn 1 .* is \"{prompt} .*; give an object with 'role'"),
        ([("user", "{prompt}", "{question}")], "has no slot {question}"),
    ],
)
def test_templates_that_are_none(turns: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        resolved(str(as_text(turns)))
    assert caught.value.keys == ("template",)


def test_what_stands_beside_a_slot_need_not_be_a_space() -> None:
    assert json.loads(chat_of(("user", "问题{question}。{prompt}"))) == [
        {"role": "user", "content": "问题{question}。{prompt}"}
    ]
    (turn,) = turns_of(chat_of(("user", '{"q": "{question}", "p": "{prompt}"}')), "")
    assert filled((turn,), question="{prompt}", prompt="p")[0].content == (
        '{"q": "{prompt}", "p": "p"}'
    )


def test_templates_from_files(tmp_path: Any) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Task: {prompt}\nInput: {question}\n")
    assert turns_of(resolved(str(text)), "") == (Turn("user", "Task: {prompt}\nInput: {question}"),)
    chat = tmp_path / "chat.json"
    chat.write_text(
        json.dumps(
            [{"role": "system", "content": "{prompt}"}, dict(role="user", content="{question}")]
        )
    )
    assert turns_of(resolved(str(chat)), "") == turns_of("system", "")
    # What a log holds means itself.
    assert resolved(resolved(str(chat))) == resolved(str(chat))
    chat.write_text("[{")
    with pytest.raises(InputError, match=r"chat.json' begins with '\[' and is no JSON list"):
        resolved(str(chat))
    with pytest.raises(InputError, match=r"'sytem' is no preset .* did you mean 'system'\?"):
        resolved("sytem")
    text.write_bytes(b"\xff{prompt}")
    with pytest.raises(InputError, match="is not UTF-8"):
        resolved(str(text))


def test_a_model_without_a_system_turn() -> None:
    tokenizer = tokenizer_with("SentencePiece", "Gemma-2")
    with pytest.raises(
        InputError,
        match=r"chat template gives an error \(System role not supported\) in a chat of the roles "
        "system, user; fold the system turn into the user's, or give another template",
    ) as caught:
        layout_of(tokenizer, "system")
    assert caught.value.keys == ("template", "task.fold_system")
    folded = layout_of(tokenizer, "system", fold_system=True)
    text, _ = folded.frame.render("How many?", " think.")
    assert text == folded.chat.render("think. \n\nHow many?")
    # A model that has one keeps it.
    kept = layout_of(tokenizer_with("byte-level", "Llama-3"), "system", fold_system=True)
    assert "system" in kept.frame.pieces[0]


def test_turns_that_a_model_does_not_take() -> None:
    twice = chat_of(("user", "Hello."), ("user", "{prompt} {question}"))
    tokenizer = tokenizer_with("SentencePiece", "Gemma-2")
    with pytest.raises(InputError, match=r"must alternate .* roles user, user; give another"):
        layout_of(tokenizer, twice)
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = SILENT
    with pytest.raises(InputError, match="does not write question and prompt exactly once"):
        layout_of(tokenizer, "system")
    tokenizer.chat_template = SILENT.replace("m['content']", "m['content'] | replace('\n', ' ')")
    with pytest.raises(InputError, match="changes the words of question or prompt"):
        layout_of(tokenizer, "begin")
    chat = resolve_chat_format(tokenizer, "llama-3")
    with pytest.raises(InputError, match="has no system turn in a chat of the roles system, user"):
        Layout(tokenizer, chat, extractor=EXTRACTOR, template="system")
    few = Layout(
        tokenizer,
        resolve_chat_format(tokenizer, "vicuna_v1.1"),
        extractor=EXTRACTOR,
        template=AROUND,
    )
    text, _ = few.frame.render("How many?", " think.")
    assert text.startswith("You count. USER: Two pears? ASSISTANT: 2</s>USER: Use think. now: How")


def test_a_question_that_the_chat_template_changes() -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = SILENT.replace("m['content']", "m['content'] | replace('</b>', '')")
    layout = layout_of(tokenizer, "end")
    with pytest.raises(InputError, match="changes the words of row 4; leave the row out"):
        EncodedExamples(layout, [Example("How <b>many</b>?", "2", 4)], " think")


def test_a_prompt_that_merges_with_frozen_words_is_refused_with_token_and_fix() -> None:
    tokenizer = make_tokenizer("byte fallback, first")
    layout = layout_of(tokenizer, chat_of(("user", "{question} ({prompt}) now")))
    with pytest.raises(
        InputError,
        match=r"'not' does not stand on tokens of its own \(its beginning shares the token "
        r"'\(not\)' with the text before it\); let a space stand before {prompt} in the template",
    ) as caught:
        EncodedExamples(layout, EXAMPLES[:1], " not")
    assert caught.value.keys == ("template", "control_init")
    joined = make_tokenizer("byte-level, Llama-3")
    layout = layout_of(joined, chat_of(("user", "{prompt}\n\n{question}")))
    with pytest.raises(
        InputError,
        match=r"its end shares the token '\.\\n\\n' with the text after it\); leave out the '\.' "
        r"at its end, or let a space stand after {prompt} in the template",
    ):
        EncodedExamples(layout, EXAMPLES[:1], " think it over.")
    EncodedExamples(layout, EXAMPLES[:1], " think it over")


def test_a_prompt_that_nothing_stands_before() -> None:
    tokenizer = make_tokenizer("byte-level, GPT-2", added="nothing")
    layout = layout_of(tokenizer, "begin")
    with pytest.raises(InputError, match=r"nothing stands before it, .* begin with a word"):
        EncodedExamples(layout, EXAMPLES[:1], " think")


def test_every_question_is_looked_at() -> None:
    """Beside the first question the full stop stands alone; beside the second it joins a space."""
    tokenizer = tokenizer_with("byte-level", "ChatML")
    examples = [Example("How many?", "12", 0), Example("\n How many?", "12", 1)]
    layout = layout_of(tokenizer, chat_of(("user", "{prompt}\n{question}")))
    encoded = EncodedExamples(layout, examples, " count")
    ids = encoded.prompt_ids(" count each one")
    with pytest.raises(InputError, match="changes the tokens of the text around it; let spaces"):
        encoded.prompt_ids(" count each one.")
    stop = tokenizer.convert_tokens_to_ids(".")
    assert encoded.roundtrip_text([ids, (*ids, stop)]) == [" count each one", None]
    assert EncodedExamples(layout, examples[:1], " count").roundtrip_text([(*ids, stop)]) != [None]
