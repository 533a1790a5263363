"""How a model's conversation is written as text.

One user turn followed by the start of the assistant's turn is, for every chat template, a fixed
text before the user's words and a fixed text after them. Finding these two once, with a marker
in place of the words, makes every later rendering plain concatenation, and the character where
the prompt begins is known instead of searched for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from fastchat.conversation import (
    Conversation,
    SeparatorStyle,
    conv_templates,
    get_conv_template,
    register_conv_template,
)
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from prompt_optimization.errors import InputError

_MARKER = "\ue000marker\ue000"


@dataclass(frozen=True)
class ChatFormat:
    """The text around the user's words, up to the point where the model begins to answer.

    ``trims`` says that the template strips white space from both ends of the words.
    """

    name: str
    prefix: str
    suffix: str
    trims: bool

    def render(self, content: str) -> str:
        """The full text that the model reads when the user says ``content``."""
        return self.prefix + (content.strip() if self.trims else content) + self.suffix

    @property
    def sha256(self) -> str:
        """Hash of everything the format adds to the user's words, for logs."""
        text = "\0".join((self.prefix, self.suffix, str(self.trims)))
        return hashlib.sha256(text.encode()).hexdigest()


def resolve_chat_format(
    tokenizer: PreTrainedTokenizerBase,
    template: str = "auto",
    template_arguments: Mapping[str, object] | None = None,
) -> ChatFormat:
    """The chat format that ``template`` names.

    Args:
        tokenizer: the model's tokenizer.
        template: ``auto`` for the tokenizer's own chat template, or a plain documented one when
            it has none; otherwise the name of an fschat conversation template.
        template_arguments: variables handed to the tokenizer's template (for instance
            ``date_string`` for Llama-3.2, whose template would otherwise write today's date).

    Raises:
        InputError: the name is unknown, or the template changes the user's words.
    """
    if template != "auto":
        return _fschat_format(tokenizer, template)
    if tokenizer.chat_template is None:
        return _plain_format(tokenizer)
    arguments = dict(template_arguments or {})

    def render(content: str) -> str:
        try:
            text = tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                tokenize=False,
                add_generation_prompt=True,
                **arguments,
            )
        except TemplateError as error:
            raise InputError(
                f"the chat template of '{tokenizer.name_or_path}' cannot be rendered ({error}); "
                "name an fschat template with --config.conversation_templates"
            ) from None
        assert isinstance(text, str)
        return text

    rendered = render(_MARKER)
    if rendered.count(_MARKER) != 1:
        raise InputError(
            f"the chat template of '{tokenizer.name_or_path}' does not write the user's words "
            "exactly once; name an fschat template with --config.conversation_templates"
        )
    prefix, suffix = rendered.split(_MARKER)
    probe = "  two words  "
    trims = render(probe) == prefix + probe.strip() + suffix
    if not trims and render(probe) != prefix + probe + suffix:
        raise InputError(
            f"the chat template of '{tokenizer.name_or_path}' changes the user's words; name an "
            "fschat template with --config.conversation_templates"
        )
    return ChatFormat("tokenizer", prefix, suffix, trims)


def end_of_turn(tokenizer: PreTrainedTokenizerBase, chat: ChatFormat) -> list[int]:
    """The special token that the format writes where the user's turn ends, if it writes one.

    Chat models end their own turns with it, whether or not their configuration calls it EOS.
    """
    ids = tokenizer(chat.suffix, add_special_tokens=False)["input_ids"]
    return [int(i) for i in ids[:1] if i in tokenizer.all_special_ids]


def _plain_format(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    # For base models: question and prompt, a blank line, the reasoning.
    return ChatFormat("plain", _missing_bos(tokenizer, ""), "\n\n", False)


def _missing_bos(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The BOS that the tokenizer would put before ``text`` by itself, if ``text`` lacks it.

    Layouts are tokenised without added special tokens, so that no text gets a second BOS.
    """
    if tokenizer.bos_token_id is None or text.startswith(str(tokenizer.bos_token)):
        return ""
    adds = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return str(tokenizer.bos_token) if adds else ""


def _fschat_format(tokenizer: PreTrainedTokenizerBase, name: str) -> ChatFormat:
    _register_missing()
    if name not in conv_templates:
        raise InputError(
            f"conversation template '{name}' is unknown to fschat; use 'auto' for the "
            "tokenizer's own or one of its names (for instance llama-3, gemma-2, llama-2, vicuna)"
        )
    conversation = get_conv_template(name)
    conversation.append_message(conversation.roles[0], _MARKER)
    conversation.append_message(conversation.roles[1], None)
    prefix, suffix = conversation.get_prompt().split(_MARKER)
    if not suffix:
        raise InputError(
            f"conversation template '{name}' writes nothing between the user's words and the "
            "answer; use another with --config.conversation_templates"
        )
    return ChatFormat(name, _missing_bos(tokenizer, prefix) + prefix, suffix, trims=False)


def _register_missing() -> None:
    """Add the two families of the paper, which fschat's last release does not know.

    fschat's separator styles glue ``role + sep + words``; both families are written with the one
    that adds nothing of its own, the header inside the role name.
    """
    if "llama-3" not in conv_templates:
        register_conv_template(
            Conversation(
                name="llama-3",
                system_template="<|begin_of_text|>",
                roles=(
                    "<|start_header_id|>user<|end_header_id|>\n\n",
                    "<|start_header_id|>assistant<|end_header_id|>\n\n",
                ),
                sep_style=SeparatorStyle.NO_COLON_SINGLE,
                sep="<|eot_id|>",
                stop_str="<|eot_id|>",
            )
        )
    if "gemma-2" not in conv_templates:
        register_conv_template(
            Conversation(
                name="gemma-2",
                system_template="<bos>",
                roles=("<start_of_turn>user\n", "<start_of_turn>model\n"),
                sep_style=SeparatorStyle.NO_COLON_SINGLE,
                sep="<end_of_turn>\n",
                stop_str="<end_of_turn>",
            )
        )
