"""Where a model thinks between tags before it speaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from prompt_optimization.models.settings import CLOSING_TAG
from prompt_optimization.tasks.texts import of_one_line

Ids = tuple[int, ...]

# The tags that end the thinking of published models. Each opens as it closes, without its slash.
TAGS = ("</think>", "[/THINK]")


def _opening(closing: str) -> str:
    return closing.replace("/", "", 1)


ALL_TAGS = (*TAGS, *map(_opening, TAGS))


@dataclass(frozen=True)
class Thinking:
    """How a model's thinking ends.

    Attributes:
        ending: what is written where it has to end: the closing tag, with white space or words
            around it.
        ids: the tokens of it, between a reasoning and the extractor.
    """

    ending: str
    ids: Ids

    @property
    def closing(self) -> str:
        (tag,) = CLOSING_TAG.findall(self.ending)
        return str(tag)

    @property
    def opening(self) -> str:
        return _opening(self.closing)

    def is_open(self, text: str) -> bool:
        """Whether ``text`` ends within its thinking."""
        return text.rfind(self.opening) > text.rfind(self.closing)

    def spoken(self, text: str) -> str:
        """``text`` without its thinking."""
        return "" if self.is_open(text) else text.rpartition(self.closing)[2]


def closing_tag(tokenizer: PreTrainedTokenizerBase) -> str:
    """The one of ``TAGS`` that the tokenizer's chat template or vocabulary has; empty without. Some
    templates only open the thinking."""
    known = set(tokenizer.get_added_vocab())
    source = tokenizer.get_chat_template() if tokenizer.chat_template else ""
    return next(
        (tag for tag in TAGS if tag in known or tag in source or _opening(tag) in source), ""
    )


def endings(think_end: str, tag: str) -> tuple[str, ...]:
    """What may end the thinking, the preferred text first.

    Args:
        think_end: the setting.
        tag: the tokenizer's closing tag. Chat templates write a blank line after it; an extractor
            that begins with a line break would join that.
    """
    if think_end == "auto":
        return (f"\n{tag}\n\n", f"\n{tag}", tag) if tag else ()
    return (of_one_line(think_end),) if think_end else ()


def opened(text: str) -> str:
    """The opening tag of the thinking that ``text`` ends within; empty where it ends in none."""
    left_open = (tag for tag in TAGS if Thinking(tag, ()).is_open(text))
    return next(map(_opening, left_open), "")


def decoded(
    tokenizer: PreTrainedTokenizerBase, written: Sequence[Ids], tags: Sequence[str] = ALL_TAGS
) -> list[str]:
    """What was written, as texts without special tokens, but for ``tags`` that are some."""
    left_out = {
        token
        for token, added in tokenizer.added_tokens_decoder.items()
        if added.special and added.content not in tags
    }
    kept = [[token for token in ids if token not in left_out] for ids in written]
    texts: list[str] = tokenizer.batch_decode(kept)
    return texts
