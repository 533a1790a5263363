"""Chats as a named conversation template writes them, in place of the tokenizer's own.

The templates of the paper's two families are here. Those that fschat names are its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.tasks.templates import Turns

KEY = "conversation_templates"


class NoSystemTurnError(ValueError):
    """The template has no place for what the system says."""


@dataclass(frozen=True)
class Family:
    """How a family of models writes a chat.

    Attributes:
        start: what a chat begins with.
        user, assistant: what stands before the words of each.
        end: what ends a turn.
    """

    start: str
    user: str
    assistant: str
    end: str

    def write(self, turns: Turns) -> str:
        """A chat, up to the point where the model begins to answer.

        Raises:
            NoSystemTurnError: a turn is the system's.
        """
        text = self.start
        for turn in turns:
            if turn.role == "system":
                raise NoSystemTurnError
            role = self.assistant if turn.role == "assistant" else self.user
            text += role + turn.content + self.end
        return text + self.assistant


FAMILIES = {
    "llama-3": Family(
        start="<|begin_of_text|>",
        user="<|start_header_id|>user<|end_header_id|>\n\n",
        assistant="<|start_header_id|>assistant<|end_header_id|>\n\n",
        end="<|eot_id|>",
    ),
    "gemma-2": Family(
        start="<bos>",
        user="<start_of_turn>user\n",
        assistant="<start_of_turn>model\n",
        end="<end_of_turn>\n",
    ),
}


def conversation(name: str) -> Callable[[Turns], str]:
    """What writes a chat in the template ``name``. It raises ``NoSystemTurnError``.

    Raises:
        InputError: nobody knows the template, or fschat may and is not installed.
    """
    if name in FAMILIES:
        return FAMILIES[name].write
    own = " and ".join(FAMILIES)
    require_package(
        f"conversation template '{name}' is none of {own} and", "fschat", "fastchat", key=KEY
    )
    from fastchat.conversation import conv_templates, get_conv_template

    if name not in conv_templates:
        raise InputError(
            f"conversation template '{name}' is unknown to fschat; use 'auto' for the "
            "tokenizer's own or one of its names (for instance llama-3, gemma-2, llama-2, "
            "vicuna_v1.1)",
            key=KEY,
        )

    def write(turns: Turns) -> str:
        chat = get_conv_template(name)
        for turn in turns:
            if turn.role != "system":
                chat.append_message(chat.roles[turn.role == "assistant"], turn.content)
            elif "{system_message}" in chat.system_template:
                chat.set_system_message(turn.content)
            else:
                raise NoSystemTurnError
        chat.append_message(chat.roles[1], None)
        text: str = chat.get_prompt()
        return text

    return write
