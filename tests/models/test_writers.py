"""The model as a writer: a reply depends on its request alone."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.models.thinking import decoded
from prompt_optimization.models.writers import LocalWriter, Reply, Request
from prompt_optimization.optimizers.text.parse import Drop, read_prompt, without_thinking
from tests.models.chat_templates import GEMMA_2, SILENT
from tests.plain import logits

REQUESTS = (
    Request("Use careful thought.", draws=3, max_tokens=6, seed=1),
    Request("How many apples and pears do I have?", draws=2, max_tokens=6, seed=2),
    Request("Tom has 7 apples.", system="Count.", max_tokens=9, temperature=0.0),
    Request("Use careful thought.", draws=2, max_tokens=6, temperature=0.5, top_p=0.9),
)


def replies(writer: LocalWriter, *requests: Request) -> list[list[Reply]]:
    found: dict[int, list[Reply]] = {}
    writer.write(requests, found.__setitem__)
    return [found[index] for index in range(len(requests))]


@pytest.fixture
def writer(make_model: Any, make_answerer: Any, family: str) -> LocalWriter:
    return LocalWriter(make_answerer(make_model(family)))


def test_pooled_and_one_by_one_are_the_same(writer: LocalWriter) -> None:
    pooled = replies(writer, *REQUESTS)
    assert [len(each) for each in pooled] == [request.draws for request in REQUESTS]
    assert pooled == [replies(writer, request)[0] for request in REQUESTS]
    assert pooled == replies(writer, *REQUESTS[::-1])[::-1]


def test_draws_and_seeds_differ_and_repeat(writer: LocalWriter) -> None:
    (some,) = replies(writer, replace(REQUESTS[0], draws=8))
    assert len({reply.text for reply in some}) > 1
    # The first replies do not depend on how many are drawn.
    (fewer,) = replies(writer, REQUESTS[0])
    assert fewer == some[:3]
    (other,) = replies(writer, replace(REQUESTS[0], draws=8, seed=9))
    assert [reply.text for reply in other] != [reply.text for reply in some]


def test_at_zero_the_likeliest_token_is_taken(writer: LocalWriter) -> None:
    ((reply,),) = replies(writer, REQUESTS[2])
    model = writer.model.executor.worker.model  # type: ignore[attr-defined]
    turns = [{"role": "system", "content": "Count."}, {"role": "user", "content": REQUESTS[2].user}]
    ids = model.tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    asked, written = len(ids), []
    while len(written) < 9:
        token = int(logits(model, ids)[-1].argmax())
        if token in model.stop_ids:
            break
        ids.append(token)
        written.append(token)
    assert reply.text == model.tokenizer.decode(written, skip_special_tokens=True)
    assert (reply.asked, reply.written) == (asked, len(written))
    assert reply.cut == (len(written) == 9)


@pytest.mark.parametrize("template", [GEMMA_2, SILENT], ids=["refuses it", "leaves it out"])
def test_without_a_system_turn_its_words_open_the_user_s(
    make_model: Any, make_answerer: Any, template: str
) -> None:
    model = make_model("gemma-2")
    model.tokenizer = copy.deepcopy(model.tokenizer)
    model.tokenizer.chat_template = template
    asked = Request("Tom has 7 apples.", system=" Count.\n", temperature=0.0, max_tokens=4)
    folded = replace(asked, system="", user="Count. \n\nTom has 7 apples.")
    found, same = replies(LocalWriter(make_answerer(model)), asked, folded)
    assert found == same


def test_what_is_read_for_several_replies_counts_once(writer: LocalWriter) -> None:
    for each in replies(writer, *REQUESTS):
        assert [reply.asked > 0 for reply in each] == [True] + [False] * (len(each) - 1)


def test_the_model_s_own_ledger_is_left_alone(writer: LocalWriter) -> None:
    before = Counter(writer.model.counts)
    replies(writer, REQUESTS[0])
    assert writer.model.counts == before


def test_a_request_that_does_not_fit_is_refused(writer: LocalWriter) -> None:
    with pytest.raises(InputError, match=r"needs \d+ tokens with its reply, more than the 512"):
        replies(writer, Request("word " * 100, max_tokens=500))


def test_of_choices_the_likelier_first_token_is_the_reply(writer: LocalWriter) -> None:
    words = ("Tom", "apples")
    request = Request("How many?", max_tokens=1, choices=words)
    ((reply,),) = replies(writer, request)
    model = writer.model.executor.worker.model  # type: ignore[attr-defined]
    turns = [{"role": "user", "content": request.user}]
    ids = model.tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    firsts = [model.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words]
    expected = logits(model, ids)[-1][firsts].softmax(-1).tolist()
    assert reply.probabilities == pytest.approx(expected, abs=1e-5)
    assert reply.text == words[expected.index(max(expected))]
    assert (reply.asked, reply.written, reply.cut) == (len(ids), 0, False)
    # Beside other requests it is the same.
    assert replies(writer, REQUESTS[0], request)[1][0].text == reply.text


def test_choices_that_begin_alike_are_refused(writer: LocalWriter) -> None:
    with pytest.raises(InputError, match=r"begins .* with one token"):
        replies(writer, Request("How many?", max_tokens=1, choices=("apples", "apples")))


@pytest.mark.parametrize("tag", ["</think>", "[/THINK]"])
def test_thinking_between_special_tokens_is_cut_off(
    make_model: Any, make_answerer: Any, tag: str
) -> None:
    """The tags stay in the reply, where the parser finds them; so does one that the chat template
    has opened."""
    opening = tag.replace("/", "")
    model = make_model("llama-3")
    marks = {"additional_special_tokens": [opening, tag]}
    model.tokenizer.add_special_tokens(marks, replace_extra_special_tokens=False)
    ids = model.tokenizer(f"{opening} careful{tag} Use it", add_special_tokens=False)["input_ids"]
    (text,) = decoded(model.tokenizer, [(*ids, model.tokenizer.eos_token_id)])
    assert without_thinking(text) == " Use it"
    writer = LocalWriter(make_answerer(make_model("llama-3")))
    ((plain,),) = replies(writer, REQUESTS[2])
    chat = writer.model.chat
    writer.model.chat = replace(chat, suffix=f"{chat.suffix}{opening}\n")
    ((within,),) = replies(writer, REQUESTS[2])
    assert within.text.startswith(opening) and not plain.text.startswith(opening)
    assert read_prompt(within.text, "prompt", raw=True, cut=True) == Drop("empty")
