"""Prompts as ids and as texts: which ids are a text's own, and which tokens have to stay."""

from __future__ import annotations

from collections.abc import Sequence

from prompt_optimization.models.layout import Ids
from prompt_optimization.scoring.scorer import Scorer
from prompt_optimization.tasks.texts import lacking_words


class Spelling:
    """How the models of a search spell prompts."""

    def __init__(self, scorer: Scorer) -> None:
        self._models = scorer.models
        self._tokenizer = scorer.models[0].tokenizer
        self._keep = scorer.keep

    def roundtrip_text(self, prompts: Sequence[Ids]) -> list[str | None]:
        """The text that means each prompt's ids in every model's chat format, or None."""
        texts, *others = (model.training.roundtrip_text(prompts) for model in self._models)
        return [
            text if all(other[i] == text for other in others) else None
            for i, text in enumerate(texts)
        ]

    def texts(self, prompts: Sequence[Ids]) -> list[str]:
        """The texts of prompts that have one."""
        found = self.roundtrip_text(prompts)
        assert all(text is not None for text in found)
        return [text for text in found if text is not None]

    def can_stand(self, prompts: Sequence[Ids]) -> list[bool]:
        """Whether each is a text that means exactly these ids, with the words that have to stay."""
        return [
            text is not None and not lacking_words(text, self._keep)
            for text in self.roundtrip_text(prompts)
        ]

    def stays(self, ids: Ids, position: int) -> bool:
        """Whether the token belongs to words that have to stay: without it they are not there."""
        if not self._keep:
            return False
        rest = self._tokenizer.decode([*ids[:position], *ids[position + 1 :]])
        return lacking_words(rest, self._keep) is not None

    def free(self, ids: Ids) -> list[int]:
        """The positions of the tokens that need not stay."""
        return [position for position in range(len(ids)) if not self.stays(ids, position)]

    def ends_sentence(self, token: int) -> bool:
        return "." in self.text_of(token)

    def text_of(self, token: int) -> str:
        text: str = self._tokenizer.decode([token])
        return text
