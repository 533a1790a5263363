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
from itertools import takewhile

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
from prompt_optimization.models.spans import StraddleError, tokenise

_MARKER = "\ue000marker\ue000"

# What the plain layout writes between prompt and reasoning: the first of these that stands on
# tokens of its own after every one of ENDINGS. A blank line does for most tokenizers. Those on the
# pattern of Llama-3 join punctuation to a line break that follows it, but not across a space. The
# last is for tokenizers that drop white space.
PLAIN_SUFFIXES = ("\n\n", " \n\n", "\n", "\n\nSolution:")
ENDINGS = tuple(f"step{mark}" for mark in ("", "s", "7", *".,;:!?)]}'\"*"))

# Put before a template, this is the clock that it reads.
_CLOCK = "{{%- macro strftime_now(format) -%}}{}{{%- endmacro -%}}"
_MOMENTS = ("2001-02-03 04:05:06", "2012-11-15 21:38:47")


@dataclass(frozen=True)
class ChatFormat:
    """The text around the user's words, up to the point where the model begins to answer.

    Attributes:
        trims: the template strips white space from both ends of the words.
        start: ids that stand before the text, because the tokenizer puts them there and the text
            does not write them: the beginning of a text, for most.
        dated: the template writes the date, which the format holds as it was when it was resolved.
    """

    name: str
    prefix: str
    suffix: str
    trims: bool
    start: tuple[int, ...] = ()
    dated: bool = False

    def render(self, content: str) -> str:
        """The full text that the model reads when the user says ``content``."""
        return self.prefix + (content.strip() if self.trims else content) + self.suffix

    @property
    def sha256(self) -> str:
        """Hash of everything the format adds to the user's words, for logs."""
        text = "\0".join((self.prefix, self.suffix, str(self.trims), *map(str, self.start)))
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
        InputError: the name is unknown, the template changes the user's words or writes nothing
            after them, or no plain layout suits the tokenizer.
    """
    if template != "auto":
        return _fschat_format(tokenizer, template)
    if tokenizer.chat_template is None:
        return _plain_format(tokenizer)
    return _own_format(tokenizer, dict(template_arguments or {}))


def end_of_turn(tokenizer: PreTrainedTokenizerBase, chat: ChatFormat) -> list[int]:
    """The special token that the format writes where the user's turn ends, if it writes one.

    Chat models end their own turns with it, whether or not their configuration calls it EOS.
    """
    (tokens,) = tokenise(tokenizer, [chat.render("word")])
    try:
        first = tokens.before(len(chat.render("word")) - len(chat.suffix))
    except StraddleError:
        return []
    # Not every special token is one of the tokenizer's named ones; white space may be added, too.
    special = {
        token
        for token, added in tokenizer.added_tokens_decoder.items()
        if added.special and added.content.strip() and token != tokenizer.unk_token_id
    }
    return [token for token in tokens.ids[first : first + 1] if token in special]


def _own_format(tokenizer: PreTrainedTokenizerBase, arguments: dict[str, object]) -> ChatFormat:
    def refusal(problem: str) -> InputError:
        return InputError(
            f"the chat template of '{tokenizer.name_or_path}' {problem}; name an fschat template",
            key="conversation_templates",
        )

    def render(content: str, **more: object) -> str:
        try:
            text = tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                tokenize=False,
                add_generation_prompt=True,
                **(arguments | more),
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise refusal(f"cannot be rendered ({error})") from None
        assert isinstance(text, str)
        return text

    rendered = render(_MARKER)
    if rendered.count(_MARKER) != 1:
        raise refusal("does not write the user's words exactly once")
    prefix, suffix = rendered.split(_MARKER)
    probe = "  two words  "
    trims = render(probe) == prefix + probe.strip() + suffix
    if not trims and render(probe) != prefix + probe + suffix:
        raise refusal("changes the user's words")
    if not suffix:
        raise refusal("writes nothing between the user's words and the answer")
    source = tokenizer.get_chat_template()
    dated = False
    if "strftime_now" in source:
        one, other = (
            render(_MARKER, chat_template=_CLOCK.format(moment) + source) for moment in _MOMENTS
        )
        dated = one != other
    return ChatFormat("tokenizer", prefix, suffix, trims, dated=dated)


def _plain_format(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    # For base models: question and prompt, a blank line, the reasoning.
    for suffix in PLAIN_SUFFIXES:
        if _stands_alone(tokenizer, suffix):
            return ChatFormat("plain", "", suffix, False, start=_start(tokenizer, ""))
    raise InputError(
        f"the tokenizer of '{tokenizer.name_or_path}' has no chat template, and no plain layout "
        "has tokens of its own after a prompt; name an fschat template",
        key="conversation_templates",
    )


def _stands_alone(tokenizer: PreTrainedTokenizerBase, suffix: str) -> bool:
    """Whether the tokenizer keeps ``suffix`` and reads it as the same ids after all ``ENDINGS``."""
    found = set()
    for text, tokens in zip(
        ENDINGS, tokenise(tokenizer, [ending + suffix for ending in ENDINGS]), strict=True
    ):
        try:
            found.add(tokens.ids[tokens.before(len(text)) :])
        except StraddleError:
            return False
    ids, *others = found
    if others or not ids or tokenizer.unk_token_id in ids:
        return False
    kept = tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
    return bool(suffix.strip()) or kept == suffix


def _start(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """The ids that the tokenizer would put before ``text`` by itself, if ``text`` lacks them.

    They are no text here: text that follows a BOS which is written out is not the first of its text
    any more, which some tokenizers tokenise in another way.
    """
    if tokenizer.bos_token and text.startswith(str(tokenizer.bos_token)):
        return ()
    encoded = tokenizer("a", return_special_tokens_mask=True)
    pairs = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
    return tuple(token for token, special in takewhile(lambda pair: pair[1], pairs))


def _fschat_format(tokenizer: PreTrainedTokenizerBase, name: str) -> ChatFormat:
    _register_missing()
    if name not in conv_templates:
        raise InputError(
            f"conversation template '{name}' is unknown to fschat; use 'auto' for the "
            "tokenizer's own or one of its names (for instance llama-3, gemma-2, llama-2, vicuna)",
            key="conversation_templates",
        )
    conversation = get_conv_template(name)
    conversation.append_message(conversation.roles[0], _MARKER)
    conversation.append_message(conversation.roles[1], None)
    prefix, suffix = conversation.get_prompt().split(_MARKER)
    if not suffix:
        raise InputError(
            f"conversation template '{name}' writes nothing between the user's words and the "
            "answer; use another",
            key="conversation_templates",
        )
    return ChatFormat(name, prefix, suffix, trims=False, start=_start(tokenizer, prefix))


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
