"""Texts as ids, and which of the ids stand before a character."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from prompt_optimization.errors import InputError


class StraddleError(ValueError):
    """A token reaches across a character.

    Attributes:
        token: the token's id.
    """

    def __init__(self, token: int, character: int) -> None:
        super().__init__(f"token {token} reaches across character {character}")
        self.token = token


@dataclass(frozen=True)
class Tokens:
    """A text's ids, and per id the characters [start, end) that it stands for."""

    ids: tuple[int, ...]
    offsets: Sequence[tuple[int, int]]

    def before(self, character: int) -> int:
        """How many tokens stand before ``character``.

        Some tokenizers leave leading white space out of a token's offsets, so a token counts as
        reaching from the end of the one before it.

        Raises:
            StraddleError: a token reaches across it.
        """
        count = sum(end <= character for _, end in self.offsets)
        if count < len(self.ids) and self.offsets[count][0] < character:
            raise StraddleError(self.ids[count], character)
        return count


def tokenise(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Tokens]:
    """``texts`` as they are: the tokenizer adds nothing of its own before or after them.

    Raises:
        InputError: the tokenizer has no character offsets.
    """
    if not tokenizer.is_fast:
        raise InputError(
            f"the tokenizer of '{tokenizer.name_or_path}' reports no character offsets; use "
            "one with a tokenizer.json",
            key="tokenizer_paths",
        )
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
    return [
        Tokens(tuple(ids), offsets)
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]
