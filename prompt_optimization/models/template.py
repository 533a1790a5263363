"""What stands around question, prompt and reasoning."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from prompt_optimization.models.chat import ChatFormat
from prompt_optimization.models.layout import Layout
from prompt_optimization.tasks.templates import END


@dataclass(frozen=True)
class PromptTemplate:
    """The chat with question and prompt, and the texts after the reasoning; see ``Layout``."""

    extractor: str
    connector: str
    separator: str
    template: str = END
    fold_system: bool = False
    think_end: str = "auto"

    @property
    def forced(self) -> bool:
        """Whether there are right answers to compare with others."""
        return bool(self.extractor)

    def layout(self, tokenizer: PreTrainedTokenizerBase, chat: ChatFormat) -> Layout:
        """The template as one tokenizer reads it.

        Raises:
            InputError: the model's chat template refuses it.
        """
        return Layout(
            tokenizer,
            chat,
            extractor=self.extractor,
            connector=self.connector,
            separator=self.separator,
            template=self.template,
            fold_system=self.fold_system,
            think_end=self.think_end,
        )
