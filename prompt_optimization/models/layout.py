"""Token ids of one sample with named spans, read off the text.

The user will paste the optimised prompt as text. So every sequence here is made by rendering the
whole text once, tokenising it once, and reading the spans off the tokenizer's character offsets;
nothing is searched for among ids and no two texts are tokenised apart where they touch.

A *head* is everything the model reads before it reasons::

    <user header> question connector | prompt | <end of turn, assistant header>

A *tail* is what is appended behind the reasoning to make the model state its answer::

    separator extractor | answer

The reasoning between them is the model's own ids and has no text of its own to be true to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import ChatFormat
from prompt_optimization.tasks.examples import Example

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Head:
    """Ids before the reasoning: ``question + prompt + suffix``, in this order."""

    question: Ids
    prompt: Ids
    suffix: Ids


@dataclass(frozen=True)
class Tail:
    """Ids behind the reasoning: ``extractor + answer``."""

    extractor: Ids
    answer: Ids


@dataclass(frozen=True)
class _Encoded:
    text: str
    prompt: str
    ids: Ids
    offsets: Sequence[tuple[int, int]]


class BoundaryError(ValueError):
    """The prompt's first or last token is glued to its neighbour's text."""


class Layout:
    """Writes questions, prompts, extractor and answers as ids for one tokenizer."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        chat: ChatFormat,
        *,
        extractor: str,
        connector: str = ". Use",
        separator: str = " ",
    ) -> None:
        """
        Args:
            tokenizer: a fast tokenizer (it must report character offsets).
            chat: the text around the user's words.
            extractor: text behind the reasoning that asks for the answer's format.
            connector: text between question and prompt (paper, section 4.1: ``. Use``).
            separator: text between reasoning and extractor.

        Raises:
            InputError: the extractor is empty, or the tokenizer has no offsets.
        """
        if not extractor.strip():
            raise InputError(
                "the extractor is empty; give the text that asks for the final answer with "
                "--config.extractor_text"
            )
        if not tokenizer.is_fast:
            raise InputError(
                f"the tokenizer of '{tokenizer.name_or_path}' reports no character offsets; use "
                "one with a tokenizer.json"
            )
        self.tokenizer = tokenizer
        self.chat = chat
        self.extractor = extractor
        self.connector = connector
        self.separator = "" if extractor[:1].isspace() else separator

    @staticmethod
    def normalise(prompt: str) -> str:
        """The form in which a prompt is kept: one leading space, nothing behind it.

        The space separates it from the connector; chat templates trim what follows it.
        """
        return " " + prompt.strip()

    def heads(self, questions: Sequence[str], prompt: str) -> list[Head]:
        """Tokenise ``prompt`` behind every question.

        Raises:
            BoundaryError: the prompt is not made of whole tokens in this text.
        """
        return [self._head(item) for item in self._encode([(q, prompt) for q in questions])]

    def spell(self, question: str, ids: Ids, prompts: Sequence[Ids]) -> list[str | None]:
        """The text of each of ``prompts`` that means exactly these ids, else None.

        A text means its ids when rendering it behind the question and tokenising the whole gives
        them back. ``ids`` are the question's own (``Head.question``).
        """
        before, *texts = self.tokenizer.batch_decode(
            [list(ids), *(list(ids + prompt) for prompt in prompts)],
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
        )
        texts = [text[len(before) :] if text.startswith(before) else "" for text in texts]
        sound = [bool(text.strip()) and text == self.normalise(text) for text in texts]
        encoded = iter(
            self._encode([(question, t) for t, ok in zip(texts, sound, strict=True) if ok])
        )
        return [
            text if ok and self._means(next(encoded), ids, prompt) else None
            for text, ok, prompt in zip(texts, sound, prompts, strict=True)
        ]

    def tails(self, examples: Sequence[Example]) -> list[Tail]:
        """Tokenise extractor and answer together, for every example.

        The extractor's own ids must be the same whatever the answer, because that is what the
        model is given when it states its answer freely. White space at the extractor's end may
        belong to the answer's first token (``"$ "`` + ``"False"`` is ``"$"``, ``" False"``).

        Raises:
            InputError: an answer melts into the extractor's last token.
        """
        opening = self.separator + self.extractor
        # An anchor in front keeps tokenizers from treating the tail as the start of a document;
        # special tokens never merge with their neighbours.
        anchor = str(self.tokenizer.eos_token or self.tokenizer.bos_token or "")
        encoded = self.tokenizer(
            [anchor + opening + example.answer for example in examples],
            add_special_tokens=False,
            return_offsets_mapping=True,
        )
        for text in (opening, opening.rstrip()):
            kept = self._behind(anchor, text)
            tails = [
                self._tail(tuple(ids), offsets, len(anchor), len(anchor) + len(text))
                for ids, offsets in zip(
                    encoded["input_ids"], encoded["offset_mapping"], strict=True
                )
            ]
            if all(tail.extractor == kept for tail in tails):
                return tails
        wrong, example = next(
            (tail, example)
            for tail, example in zip(tails, examples, strict=True)
            if tail.extractor != kept
        )
        glued = self.tokenizer.decode(wrong.answer[:1])
        raise InputError(
            f"answer '{example.answer}' of row {example.row} cannot be told from the extractor "
            f"'...{self.extractor[-12:]}' (its first token is '{glued}'); end "
            "--config.extractor_text so that answers start a new token, for instance with a space"
        )

    def _encode(self, pairs: Sequence[tuple[str, str]]) -> list[_Encoded]:
        if not pairs:
            return []
        texts = [self.chat.render(question + self.connector + prompt) for question, prompt in pairs]
        encoded = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        return [
            _Encoded(text, prompt, tuple(ids), offsets)
            for text, (_, prompt), ids, offsets in zip(
                texts, pairs, encoded["input_ids"], encoded["offset_mapping"], strict=True
            )
        ]

    def _head(self, encoded: _Encoded) -> Head:
        if not encoded.text.endswith(encoded.prompt + self.chat.suffix):
            raise BoundaryError("the chat template does not keep the prompt's text as it is")
        end = len(encoded.text) - len(self.chat.suffix)
        first = _boundary(encoded.offsets, end - len(encoded.prompt))
        last = _boundary(encoded.offsets, end)
        ids = encoded.ids
        return Head(question=ids[:first], prompt=ids[first:last], suffix=ids[last:])

    def _means(self, encoded: _Encoded, question: Ids, prompt: Ids) -> bool:
        try:
            head = self._head(encoded)
        except BoundaryError:
            return False
        return head.question == question and head.prompt == prompt

    @staticmethod
    def _tail(ids: Ids, offsets: Sequence[tuple[int, int]], first: int, last: int) -> Tail:
        """The tokens between the characters ``first`` and ``last``, and those behind."""
        skip = sum(end <= first for _, end in offsets)
        start = sum(end <= last for _, end in offsets)
        return Tail(extractor=ids[skip:start], answer=ids[start:])

    def _behind(self, anchor: str, text: str) -> Ids:
        encoded = self.tokenizer(
            anchor + text, add_special_tokens=False, return_offsets_mapping=True
        )
        skip = sum(end <= len(anchor) for _, end in encoded["offset_mapping"])
        return tuple(encoded["input_ids"][skip:])


def _boundary(offsets: Sequence[tuple[int, int]], character: int) -> int:
    """Index of the first token behind ``character``; no token may reach across it.

    Some tokenizers leave leading white space out of a token's offsets, so a token counts as
    reaching from the end of the one before it.
    """
    index = sum(end <= character for _, end in offsets)
    if index < len(offsets) and offsets[index][0] < character:
        raise BoundaryError(f"a token reaches across character {character}")
    return index
