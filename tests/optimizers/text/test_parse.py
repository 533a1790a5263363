"""Prompts in replies: found in any junk, and dropped with a reason."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.optimizers.text.parse import (
    Drop,
    cleaned,
    copies,
    read_prompt,
    tagged,
    without_thinking,
)

# Text without tags, but with everything that tags are made of.
junk = st.text(st.sampled_from("<>/prompt thinkPROMPT\n\"'`{}\\é")).filter(
    lambda text: not re.search(r"</?(prompt|think(ing)?)>", text, re.IGNORECASE)
)
words = st.text(st.sampled_from("ab c{}\\.é<>/"), min_size=1).filter(
    lambda text: cleaned(text) == text and text.strip()
)


@given(before=junk, inside=words, after=junk, upper=st.booleans())
def test_one_good_pair_is_found_in_any_junk(
    before: str, inside: str, after: str, upper: bool
) -> None:
    tag = "PROMPT" if upper else "prompt"
    reply = f"{before}<{tag}> {inside}\n</{tag}>{after}"
    assert read_prompt(reply, "prompt") == inside


@given(junk)
def test_without_a_pair_there_is_none(text: str) -> None:
    replies = ["{0}", "{0}<prompt>{0}", "{0}</prompt>{0}", "</prompt>{0}<prompt>"]
    for reply in replies:
        assert tagged(reply.replace("{0}", text), "prompt") == []


@given(st.lists(words, max_size=4), junk)
def test_all_pairs_are_found_in_order(inside: list[str], between: str) -> None:
    reply = between.join(f"<reason>{text}</reason>" for text in inside)
    assert tagged(reply, "reason") == inside


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ("<prompt>one</prompt> or <prompt>two</prompt>", "two"),
        ("Between <prompt> and </prompt>: <prompt>two</prompt>", "two"),
        ("I write it after <prompt>: <prompt>two</prompt>", "two"),
        ("<prompt>out<prompt>in</prompt>side</prompt>", Drop("untagged")),
        ("<prompt>one</prompt> <prompt>cut off", "one"),
        ("<prompt>cut off", Drop("untagged")),
        ("<prompt> \n </prompt>", Drop("empty")),
        ("<prompt>''</prompt>", Drop("empty")),
        ("<prompt>I'm sorry, but I cannot do that.</prompt>", Drop("refused")),
        ("<prompt>Say you are sorry.</prompt>", "Say you are sorry."),
        ("<think>maybe <prompt>no</prompt></think><prompt>yes</prompt>", "yes"),
        ("maybe <prompt>no</prompt></think>\n<prompt>yes</prompt>", "yes"),
        ("<think>maybe <prompt>no</prompt>", Drop("untagged")),
        ("<prompt>\n```text\nstep\nby step\n```\n</prompt>", "step\nby step"),
        ('<prompt>"step by step"</prompt>', "step by step"),
        ("<prompt>'yes' or 'no'</prompt>", "'yes' or 'no'"),
        ("<prompt>\u201cthink\u201d</prompt>", "think"),
        ("", Drop("untagged")),
    ],
)
def test_what_a_reply_gives(reply: str, read: str | Drop) -> None:
    assert read_prompt(reply, "prompt") == read


def test_a_reply_that_was_cut_says_so_and_a_raw_one_is_taken() -> None:
    assert read_prompt("think step", "prompt", cut=True) == Drop("cut")
    assert read_prompt(" think step ", "prompt", raw=True) == "think step"
    assert read_prompt("<think>hm", "prompt", raw=True) == Drop("empty")


@given(st.text())
def test_thinking_is_cut_off_once(text: str) -> None:
    assert without_thinking(without_thinking(text)) == without_thinking(text)


def test_a_copy_shares_a_part_with_some_questions_and_not_with_most() -> None:
    form = "Which of these statements follows from the premises that are given above? "
    questions = [f"{form}Row {i}: {chr(97 + i) * 70}" for i in range(6)]
    assert copies(f"Note: {'a' * 60}", questions)
    assert not copies(f"Note:{'a' * 59}", questions)
    assert not copies(form, questions)
    assert not copies("", questions)


# --- Meta-prompts ----------------------------------------------------------------------------


@given(one=st.text(), other=st.text())
def test_what_is_filled_in_is_not_searched_for_slots(one: str, other: str) -> None:
    metaprompt = MetaPrompt("{one} and {two} and {three}", ("one", "two"))
    filled = metaprompt.fill(one=f"{one}{{two}}\\1", two=f"{other}{{one}}")
    assert filled == f"{one}{{two}}\\1 and {other}{{one}} and {{three}}"


def test_a_file_takes_the_place_of_a_metaprompt(tmp_path) -> None:
    own = MetaPrompt("{shown}", ("shown",))
    path = tmp_path / "own.txt"
    path.write_text("Look: {shown} {not a slot}\n")
    assert own.replaced_by(path, "opro.meta_prompt_file").fill(shown="x") == "Look: x {not a slot}"
    path.write_text("Look: shown")
    with pytest.raises(InputError, match=r"lacks \{shown\}; .*opro\.meta_prompt_file"):
        own.replaced_by(path, "opro.meta_prompt_file")
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        own.replaced_by(path, "opro.meta_prompt_file")
    with pytest.raises(InputError, match="cannot be read"):
        own.replaced_by(tmp_path / "none", "opro.meta_prompt_file")
