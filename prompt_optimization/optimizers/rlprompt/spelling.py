"""Which tokens can stand in a prompt that is its text, and what a draw of them reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from prompt_optimization.errors import InputError
from prompt_optimization.models.layout import Ids, Layout
from prompt_optimization.models.spans import tokenise

# What prompts are read after: a token can be told by its text only beside other text.
BEFORE = "Answer the"


@dataclass(frozen=True)
class Draw:
    """A prompt: its ids in the policy's vocabulary, and the text that means exactly these."""

    ids: Ids
    text: str


class Spelling:
    """The prompts that a tokenizer can spell.

    Attributes:
        first: tokens that can begin a prompt.
        later: tokens that can stand in it.
    """

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase) -> None:
        """
        Args:
            name: of the model.

        Raises:
            InputError: fewer than two tokens can begin a prompt.
        """
        self._tokenizer = tokenizer
        self.before: Ids = tokenise(tokenizer, [BEFORE])[0].ids
        sound = self._sound_tokens()
        self.later = list(sound)
        # A prompt begins with a space, and with one only.
        self.first = [token for token, text in sound.items() if text == Layout.normalise(text)]
        if len(self.first) < 2:
            raise InputError(
                f"the vocabulary of the policy '{name}' spells no prompt: {len(self.first)} of its "
                "tokens can begin one; choose another policy",
                key="model_paths",
            )

    def spelt(self, drafts: Sequence[Ids]) -> list[Draw | None]:
        """Each of ``drafts`` with its text; None where that text means other tokens."""
        texts = self.texts(drafts)
        encoded = tokenise(self._tokenizer, [BEFORE + text for text in texts])
        return [
            Draw(ids, text)
            if text == Layout.normalise(text) and tokens.ids == self.before + ids
            else None
            for ids, text, tokens in zip(drafts, texts, encoded, strict=True)
        ]

    def texts(self, drafts: Sequence[Ids]) -> list[str]:
        """What each of ``drafts`` reads after ``BEFORE``; empty where it changes that."""
        whole = self._tokenizer.batch_decode(
            [[*self.before, *draft] for draft in drafts], clean_up_tokenization_spaces=False
        )
        return [text[len(BEFORE) :] if text.startswith(BEFORE) else "" for text in whole]

    def _sound_tokens(self) -> dict[int, str]:
        """Tokens of printable ASCII that mean themselves after other words, with their texts."""
        tokenizer = self._tokenizer
        special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
        known = [token for token in range(len(tokenizer)) if token not in special]
        texts = self.texts([(token,) for token in known])
        pairs = [
            (token, text)
            for token, text in zip(known, texts, strict=True)
            if text.strip() and text.isprintable() and text.isascii()
        ]
        encoded = tokenise(tokenizer, [BEFORE + text for _, text in pairs])
        return {
            token: text
            for (token, text), tokens in zip(pairs, encoded, strict=True)
            if tokens.ids == (*self.before, token)
        }
