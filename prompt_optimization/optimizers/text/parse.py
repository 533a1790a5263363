"""From a writer's reply to a prompt, or to the reason why there is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from prompt_optimization.models.thinking import TAGS

# Reasons why a reply gave no prompt that may be gone the next time.
UNREADABLE = ("untagged", "cut", "empty", "refused")

# A prompt that shares this many characters with a training question was copied from it.
COPIED = 60

# What models close their thinking with; each tag opens as it closes, without its slash.
_CLOSINGS = (*TAGS, "</thinking>")
_THOUGHT = re.compile(rf"\A.*({'|'.join(map(re.escape, _CLOSINGS))})", re.DOTALL | re.IGNORECASE)
_UNFINISHED_THOUGHT = re.compile(
    rf"\A\s*({'|'.join(re.escape(each.replace('/', '')) for each in _CLOSINGS)})", re.IGNORECASE
)
_FENCE = re.compile(r"\A```[^\n`]*\n(.*?)\n?```\Z", re.DOTALL)
_QUOTES = (('"', '"'), ("'", "'"), ("`", "`"), ("\u201c", "\u201d"), ("\u2018", "\u2019"))
_REFUSAL = re.compile(
    r"\A(i'm sorry|i am sorry|sorry,|i can'?t |i cannot |i'm unable|i am unable|as an ai)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Drop:
    """A reply that holds no prompt; the reason is one of ``UNREADABLE``."""

    reason: str


def without_thinking(text: str) -> str:
    """A reply without the thinking before it; empty when the thinking was not finished."""
    text = _THOUGHT.sub("", text)
    return "" if _UNFINISHED_THOUGHT.match(text) else text


def tagged(text: str, tag: str) -> list[str]:
    """What stands between ``<tag>`` and ``</tag>``, in order.

    An end belongs to the nearest beginning before it. Pairs inside each other count as none, and so
    does a beginning or an end by itself.
    """
    opened: list[int] = []
    pairs: list[tuple[int, int]] = []
    nested: set[tuple[int, int]] = set()
    for mark in re.finditer(rf"<(/?){re.escape(tag)}>", text, re.IGNORECASE):
        if not mark[1]:
            opened.append(mark.end())
        elif opened:
            start = opened.pop()
            inside = [pair for pair in pairs if pair[0] > start]
            nested.update(inside, [(start, mark.start())] if inside else [])
            pairs.append((start, mark.start()))
    return [text[start:end] for start, end in pairs if (start, end) not in nested]


def cleaned(text: str) -> str:
    """``text`` without a code fence or quotation marks around it, and without outer white space."""
    text = text.strip()
    while True:
        fence = _FENCE.match(text)
        inner = fence[1] if fence else _unquoted(text)
        if inner.strip() == text:
            return text
        text = inner.strip()


def read_prompt(reply: str, tag: str, *, cut: bool = False, raw: bool = False) -> str | Drop:
    """The prompt that a reply gives: what its last pair of tags holds.

    Args:
        cut: the reply was ended by its limit.
        raw: take the whole reply where there are no tags.
    """
    text = without_thinking(reply)
    found = tagged(text, tag)
    if not found and not raw:
        return Drop("cut" if cut else "untagged")
    prompt = cleaned(found[-1] if found else text)
    if not prompt:
        return Drop("empty")
    if _REFUSAL.match(prompt):
        return Drop("refused")
    return prompt


def copies(prompt: str, questions: Sequence[str]) -> bool:
    """Whether ``prompt`` repeats a part of some of ``questions``. What most of them share is the
    form of the task, which a prompt may well speak of."""
    parts = {prompt[i : i + COPIED] for i in range(len(prompt) - COPIED + 1)}
    return any(
        0 < sum(part in question for question in questions) <= len(questions) / 2 for part in parts
    )


def _unquoted(text: str) -> str:
    for first, last in _QUOTES:
        inner = text[1:-1]
        if len(text) > 1 and text[0] == first and text[-1] == last:
            # Marks within belong to two quotations, as in 'a' or 'b'.
            return text if first in inner or last in inner else inner
    return text
