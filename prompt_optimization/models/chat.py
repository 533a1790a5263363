"""How a model's conversation is written as text.

One user turn followed by the start of the assistant's turn is, for every chat template, a fixed
text before the user's words and a fixed text after them. So is a whole chat, but for its slots.
Finding the fixed texts once, with markers in place of the words, makes every later rendering plain
concatenation, and the character where the prompt begins is known instead of searched for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product, takewhile

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from prompt_optimization.errors import InputError
from prompt_optimization.models.conversations import NoSystemTurnError, conversation
from prompt_optimization.models.spans import StraddleError, tokenise
from prompt_optimization.models.thinking import closing_tag
from prompt_optimization.tasks.templates import Turn, Turns, filled, folded, slots_of

_MARKER = "\ue000marker\ue000"
_OTHER_MARKER = "\ue001marker\ue001"
_SLOTS = {_MARKER: "question", _OTHER_MARKER: "prompt"}
_MARKERS = re.compile("|".join(_SLOTS))
# White space that a template may take off at the ends of a turn, and what it may not touch within.
_OUTER = "  "
_INNER = f"two  words\n\n{_OTHER_MARKER}"

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
class Frame:
    """A chat with its slots, as one model's chat template writes it.

    Attributes:
        pieces: the fixed text before, between and after the slots.
        slots: ``prompt`` or ``question``, in their order; the question stands once.
        strips: whether the template takes white space off the question's beginning and end.
        turns: the chat.
    """

    pieces: tuple[str, ...]
    slots: tuple[str, ...]
    strips: tuple[bool, bool]
    turns: Turns

    @property
    def prompt_first(self) -> bool:
        """A slot of the prompt comes before the question's."""
        return self.slots[0] == "prompt"

    @property
    def spaced(self) -> bool:
        """A space stands before the prompt, with which its first token begins."""
        return self.pieces[self.slots.index("prompt")].endswith(" ")

    def render(self, question: str, prompt: str) -> tuple[str, list[tuple[int, int]]]:
        """The full text that the model reads, and the characters [start, end) of the prompt in
        each of its places, with the space before it if there is one.

        Args:
            prompt: in ``Layout.normalise``'s form.
        """
        question = question.lstrip() if self.strips[0] else question
        question = question.rstrip() if self.strips[1] else question
        words = {"prompt": prompt.strip(), "question": question}
        text, spans = "", []
        for piece, slot in zip(self.pieces, self.slots, strict=False):
            start = len(text + piece)
            text += piece + words[slot]
            if slot == "prompt":
                spans.append((start - piece.endswith(" "), len(text)))
        return text + self.pieces[-1], spans


@dataclass(frozen=True)
class ChatFormat:
    """The text around the user's words, up to the point where the model begins to answer.

    Attributes:
        trims: the template strips white space from both ends of the words.
        start: ids that stand before the text, because the tokenizer puts them there and the text
            does not write them: the beginning of a text, for most.
        dated: the template writes the date, which the format holds as it was when it was resolved.
        think_tag: what closes the thinking of the tokenizer's model; empty where it has no tags.
        writer: writes a whole chat, up to the same point; without one, every turn is written as the
            user's.
    """

    name: str
    prefix: str
    suffix: str
    trims: bool
    start: tuple[int, ...] = ()
    dated: bool = False
    think_tag: str = field(default="", compare=False)
    writer: Callable[[Turns], str] | None = field(default=None, compare=False, repr=False)
    _frames: dict[tuple[Turns, bool], Frame] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def render(self, content: str) -> str:
        """The full text that the model reads when the user says ``content``."""
        return self.prefix + (content.strip() if self.trims else content) + self.suffix

    def write(self, turns: Turns) -> str:
        """The full text of a chat.

        Raises:
            InputError: the model's chat template refuses it.
        """
        if self.writer is None:
            return "".join(self.render(turn.content) for turn in turns)
        return self.writer(turns)

    def frame(self, turns: Turns, fold_system: bool = False) -> Frame:
        """Where the slots of ``turns`` stand in the full text.

        Args:
            fold_system: where the template has no system turn, its text stands at the beginning of
                the user's.

        Raises:
            InputError: the template refuses the chat, leaves a turn out or changes its words.
        """
        asked = turns, fold_system
        # Kept, because a template that writes the date would write another one tomorrow.
        if asked not in self._frames:
            try:
                self._frames[asked] = self._cut(turns)
            except InputError:
                if not fold_system or turns[0].role != "system":
                    raise
                self._frames[asked] = self._cut(folded(turns))
        return self._frames[asked]

    def _cut(self, turns: Turns) -> Frame:
        text = self.write(filled(turns, question=_MARKER, prompt=_OTHER_MARKER))
        asked = [slot for turn in turns for slot in slots_of(turn.content)]
        pieces = _MARKERS.split(text)
        slots = tuple(_SLOTS[marker] for marker in _MARKERS.findall(text))
        if list(slots) != asked:
            raise _refused(turns, "does not write question and prompt exactly once in each place")
        probe = self.write(filled(turns, question=_OUTER + _MARKER + _OUTER, prompt=_INNER))
        for left, right in product((False, True), repeat=2):
            frame = Frame(tuple(pieces), slots, (left, right), turns)
            if frame.render(_OUTER + _MARKER + _OUTER, _INNER)[0] == probe:
                return frame
        raise _refused(turns, "changes the words of question or prompt")

    @property
    def sha256(self) -> str:
        """Hash of everything the format adds to the user's words, for logs."""
        text = "\0".join((self.prefix, self.suffix, str(self.trims), *map(str, self.start)))
        return hashlib.sha256(text.encode()).hexdigest()


def _refused(turns: Turns, problem: str) -> InputError:
    roles = ", ".join(turn.role for turn in turns)
    system = turns[0].role == "system"
    fold = "fold the system turn into the user's, or " if system else ""
    return InputError(
        f"the model's chat template {problem} in a chat of the roles {roles}; {fold}give another "
        "template",
        key=("template", "task.fold_system") if system else "template",
    )


def resolve_chat_format(
    tokenizer: PreTrainedTokenizerBase,
    template: str = "auto",
    template_arguments: Mapping[str, object] | None = None,
) -> ChatFormat:
    """The chat format that ``template`` names.

    Args:
        tokenizer: the model's tokenizer.
        template: ``auto`` for the tokenizer's own chat template, or a plain documented one when
            it has none; otherwise the name of a conversation template.
        template_arguments: variables handed to the tokenizer's template (for instance
            ``date_string`` for Llama-3.2, whose template would otherwise write today's date).

    Raises:
        InputError: the name is unknown, the template changes the user's words or writes nothing
            after them, or no plain layout suits the tokenizer.
    """
    if template != "auto":
        found = _named_format(tokenizer, template)
    elif tokenizer.chat_template is None:
        found = _plain_format(tokenizer)
    else:
        found = _own_format(tokenizer, dict(template_arguments or {}))
    return replace(found, think_tag=closing_tag(tokenizer))


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
            f"the chat template of '{tokenizer.name_or_path}' {problem}; name a conversation "
            "template",
            key="conversation_templates",
        )

    def written(turns: Turns, **more: object) -> str:
        text = tokenizer.apply_chat_template(
            [asdict(turn) for turn in turns],
            tokenize=False,
            add_generation_prompt=True,
            **(arguments | more),
        )
        assert isinstance(text, str)
        return text

    def write(turns: Turns) -> str:
        try:
            return written(turns)
        except (TemplateError, TypeError, ValueError) as error:
            raise _refused(turns, f"gives an error ({error})") from None

    def render(content: str, **more: object) -> str:
        try:
            return written((Turn("user", content),), **more)
        except (TemplateError, TypeError, ValueError) as error:
            raise refusal(f"cannot be rendered ({error})") from None

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
    return ChatFormat("tokenizer", prefix, suffix, trims, dated=dated, writer=write)


def _plain_format(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    # For base models: question and prompt, a blank line, the reasoning.
    for suffix in PLAIN_SUFFIXES:
        if _stands_alone(tokenizer, suffix):
            return ChatFormat("plain", "", suffix, False, start=text_start(tokenizer, ""))
    raise InputError(
        f"the tokenizer of '{tokenizer.name_or_path}' has no chat template, and no plain layout "
        "has tokens of its own after a prompt; name a conversation template",
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


def text_start(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """The ids that the tokenizer would put before ``text`` by itself, if ``text`` lacks them.

    They are no text here: text that follows a BOS which is written out is not the first of its text
    any more, which some tokenizers tokenise in another way.
    """
    if tokenizer.bos_token and text.startswith(str(tokenizer.bos_token)):
        return ()
    encoded = tokenizer("a", return_special_tokens_mask=True)
    pairs = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
    return tuple(token for token, special in takewhile(lambda pair: pair[1], pairs))


def _named_format(tokenizer: PreTrainedTokenizerBase, name: str) -> ChatFormat:
    written = conversation(name)

    def write(turns: Turns) -> str:
        try:
            return written(turns)
        except NoSystemTurnError:
            raise _refused(turns, "has no system turn") from None

    prefix, suffix = write((Turn("user", _MARKER),)).split(_MARKER)
    if not suffix:
        raise InputError(
            f"conversation template '{name}' writes nothing between the user's words and the "
            "answer; use another",
            key="conversation_templates",
        )
    start = text_start(tokenizer, prefix)
    return ChatFormat(name, prefix, suffix, trims=False, start=start, writer=write)
