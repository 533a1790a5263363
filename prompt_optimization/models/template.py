"""What stands around question, prompt and reasoning."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from prompt_optimization.models.chat import ChatFormat
from prompt_optimization.models.layout import Layout


@dataclass(frozen=True)
class PromptTemplate:
    """The texts between question and prompt, and after the reasoning; see ``Layout``."""

    extractor: str
    connector: str
    separator: str

    def layout(self, tokenizer: PreTrainedTokenizerBase, chat: ChatFormat) -> Layout:
        """The template as one tokenizer reads it."""
        return Layout(
            tokenizer,
            chat,
            extractor=self.extractor,
            connector=self.connector,
            separator=self.separator,
        )
