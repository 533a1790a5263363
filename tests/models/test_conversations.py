"""The paper's families are written alike with fschat and without it."""

from __future__ import annotations

import sys

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import resolve_chat_format
from prompt_optimization.models.conversations import FAMILIES, NoSystemTurnError, conversation
from prompt_optimization.tasks.templates import Turn
from tests.conftest import byte_level_tokenizer

CHAT = (Turn("user", "Two pears?"), Turn("assistant", "2"), Turn("user", "And a {fig}?"))
WRITTEN = {
    "llama-3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nTwo pears?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n2<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nAnd a {fig}?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "gemma-2": "<bos><start_of_turn>user\nTwo pears?<end_of_turn>\n<start_of_turn>model\n2"
    "<end_of_turn>\n<start_of_turn>user\nAnd a {fig}?<end_of_turn>\n<start_of_turn>model\n",
}


@pytest.mark.parametrize("without", [False, True], ids=["with", "without"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_with_and_without_fschat(
    name: str, without: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if without:
        monkeypatch.setitem(sys.modules, "fastchat", None)
    assert conversation(name)(CHAT) == WRITTEN[name]
    with pytest.raises(NoSystemTurnError):
        conversation(name)((Turn("system", "Count."), *CHAT))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_written_as_fschat_would(name: str) -> None:
    fschat = pytest.importorskip("fastchat.conversation")
    family = FAMILIES[name]
    chat = fschat.Conversation(
        name=name,
        messages=[],
        system_template=family.start,
        roles=(family.user, family.assistant),
        sep_style=fschat.SeparatorStyle.NO_COLON_SINGLE,
        sep=family.end,
    )
    for turn in CHAT:
        chat.append_message(chat.roles[turn.role == "assistant"], turn.content)
    chat.append_message(chat.roles[1], None)
    assert chat.get_prompt() == WRITTEN[name]


def test_other_names_need_fschat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastchat", None)
    with pytest.raises(
        InputError,
        match=r"'vicuna_v1.1' is none of llama-3 and gemma-2 and needs the package fastchat; "
        r"install it with pip install 'greater-prompt-optimization\[fschat\]'",
    ):
        resolve_chat_format(byte_level_tokenizer(), "vicuna_v1.1")
