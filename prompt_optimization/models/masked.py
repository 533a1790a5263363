"""Masked models as scorers: a template with one mask, and the words that may fill it.

A masked model writes nothing. The template holds question, prompt and one mask. The answer is that
whose word is the likeliest at the mask, so every row costs one reading. The published RLPrompt
measures by such models (arXiv 2205.12548).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from transformers import PreTrainedTokenizerBase

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import ChatFormat, text_start
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.engine import Decoding, Engine, Outcome
from prompt_optimization.models.language_model import (
    LanguageModel,
    at_least_float32,
    pad_right,
)
from prompt_optimization.models.layout import BoundaryError, Context, Ids, Layout, Target
from prompt_optimization.models.settings import MASK
from prompt_optimization.models.spans import tokenise
from prompt_optimization.models.template import PromptTemplate
from prompt_optimization.tasks.examples import Example

FORMAT = "masked"
WORDS = "model.label_words"


def masked_format(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    """The text between the tokens that a masked model's tokenizer puts around it.

    Raises:
        InputError: the tokenizer has no mask, or nothing that ends a text.
    """
    end = tokenizer.sep_token or tokenizer.eos_token
    for name, token in (("mask", tokenizer.mask_token), ("end of a text", end)):
        if not token:
            raise InputError(
                f"the tokenizer of '{tokenizer.name_or_path}' has no token for the {name}; name a "
                "masked model with its own tokenizer",
                key=("model_paths", WORDS),
            )
    return ChatFormat(FORMAT, "", str(end), False, start=text_start(tokenizer, ""))


class MaskedLayout(Layout):
    """Writes questions and prompts around a mask.

    Attributes:
        labels: by answer, the id of its word at the mask.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        chat: ChatFormat,
        template: str,
        words: Sequence[tuple[str, str]],
    ) -> None:
        """
        Args:
            template: with the slots ``{question}``, ``{prompt}`` and ``{mask}``.
            words: pairs of an answer and its word.

        Raises:
            InputError: a word is not one token at the mask, or two are the same.
        """
        assert chat.name == FORMAT, chat.name
        text = template.replace(MASK, str(tokenizer.mask_token))
        turns = json.dumps([{"role": "user", "content": text}], ensure_ascii=False)
        super().__init__(tokenizer, chat, extractor="", template=turns, think_end="")
        self.mask = int(tokenizer.mask_token_id)
        self.labels = {answer: self._label(template, word) for answer, word in words}
        if len(set(self.labels.values())) < len(self.labels):
            raise InputError(
                f"two of the words {', '.join(word for _, word in words)} are the same token to "
                f"the tokenizer of '{tokenizer.name_or_path}'; give words that differ",
                key=WORDS,
            )

    def contexts(self, questions: Sequence[str], prompt: str) -> list[Context]:
        """As ``Layout.contexts``.

        Raises:
            BoundaryError: the prompt holds a mask, too.
            InputError: a question does.
        """
        found = super().contexts(questions, prompt)
        for context, question in zip(found, questions, strict=True):
            if self.mask in context.prompt:
                raise BoundaryError(
                    f"it holds the mask '{self.tokenizer.mask_token}'", "leave that out",
                    ("control_init",),
                )  # fmt: skip
            if sum(ids.count(self.mask) for ids in context.around) != 1:
                raise InputError(
                    f"the question '{question[:40]}' holds the mask "
                    f"'{self.tokenizer.mask_token}'; leave the row out",
                    key="train_data",
                )
        return found

    def targets(self, examples: Sequence[Example]) -> list[Target]:
        """The word of each example's answer; none where no answer is known.

        Raises:
            InputError: an answer has no word.
        """
        for example in examples:
            if example.labelled and example.answer.strip() not in self.labels:
                raise InputError(
                    f"row {example.row} has the answer '{example.answer}', for which no word "
                    "stands; give one",
                    key=WORDS,
                )
        return [
            Target((), (self.labels[each.answer.strip()],) if each.labelled else ())
            for each in examples
        ]

    def _label(self, template: str, word: str) -> int:
        """The token that ``word`` is where the mask stands."""
        before = template.partition(MASK)[0]
        # Only what touches the word decides on its token; a slot ends in some word.
        lead = before.rstrip()[-1:].replace("}", "a")
        gap = before[len(before.rstrip()) :]
        alone, whole = tokenise(self.tokenizer, [lead, lead + gap + word])
        ids = whole.ids[len(alone.ids) :]
        if whole.ids[: len(alone.ids)] != alone.ids or len(ids) != 1:
            tokens = " ".join(repr(self.tokenizer.decode([one])) for one in ids)
            raise InputError(
                f"the word '{word}' is not one token to the tokenizer of "
                f"'{self.tokenizer.name_or_path}' in the mask's place, but {len(ids)} ({tokens}); "
                "give another word",
                key=WORDS,
            )
        if ids[0] == self.tokenizer.unk_token_id:
            raise InputError(
                f"the tokenizer of '{self.tokenizer.name_or_path}' does not know the word "
                f"'{word}'; give another word",
                key=WORDS,
            )
        return ids[0]


@dataclass(frozen=True)
class MaskedTemplate(PromptTemplate):
    """``template`` is a text with one mask; ``words`` are pairs of an answer and its word."""

    words: tuple[tuple[str, str], ...] = ()

    @property
    def forced(self) -> bool:
        return True

    def layout(self, tokenizer: PreTrainedTokenizerBase, chat: ChatFormat) -> Layout:
        """As ``PromptTemplate.layout``.

        Raises:
            InputError: the model is none that fills masks; or as ``MaskedLayout``.
        """
        if chat.name != FORMAT:
            raise InputError(
                "words stand for answers at the mask of a masked model that is named in "
                "model_paths, and this model is none; leave the words out",
                key=WORDS,
            )
        return MaskedLayout(tokenizer, chat, self.template, self.words)


class MaskedModel(LanguageModel):
    """A masked model and its tokenizer."""

    @cached_property
    def context(self) -> int | None:
        return positions_of(self.model)

    def fill(self, ids: torch.Tensor, valid: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Logits [rows, vocabulary] at one of the ``columns`` [rows] of each row of ``ids`` [rows,
        columns], of which ``valid`` are real."""
        self.counts["prefilled"] += int(valid.sum())
        self._picked = torch.arange(len(ids), device=self.device), columns
        try:
            logits: torch.Tensor = self.model(input_ids=ids, attention_mask=valid.long()).logits
        finally:
            self._picked = None
        return logits.to(self.device).view(len(ids), -1)


def positions_of(network: torch.nn.Module) -> int | None:
    """Longest sequence that a masked network reads, in tokens; None when it does not say."""
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            # RoBERTa counts from the number after its padding's.
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - first
    return getattr(network.config, "max_position_embeddings", None)


class MaskedEngine(Engine):
    """Reads the words' probabilities at the mask, for many prompts on many examples."""

    model: MaskedModel

    @torch.no_grad()
    def run(
        self,
        examples: CachedExamples,
        prompts: Sequence[Ids],
        decoding: Decoding,
        indices: Sequence[int] | None = None,
    ) -> list[list[Outcome]]:
        """As ``Engine.run``, without reasoning. The loss is that of the right word's share of the
        probability that all words have. The answer is that of the likeliest word; where several
        are, it is none, and a mistake."""
        indices = range(len(examples)) if indices is None else indices
        texts = {
            (p, s): (*examples.before[s], *prompt, *examples.following(s, prompt))
            for p, prompt in enumerate(prompts)
            for s in indices
        }
        # Rows of one length are not padded; the longest come first, so that a lack of memory
        # shows at once.
        rows = sorted(texts, key=lambda row: (-len(texts[row]), row))
        done = 0

        def fill(chunk: Sequence[tuple[int, int]]) -> list[Outcome]:
            nonlocal done
            found = self._fill(examples, chunk, [texts[row] for row in chunk])
            done += len(chunk)
            self.progress(done, len(rows))
            return found

        outcomes = dict(zip(rows, self.budget.map(rows, fill), strict=True))
        return [[outcomes[p, s] for s in indices] for p in range(len(prompts))]

    def _fill(
        self,
        examples: CachedExamples,
        chunk: Sequence[tuple[int, int]],
        texts: Sequence[Ids],
    ) -> list[Outcome]:
        layout = examples.layout
        assert isinstance(layout, MaskedLayout)
        ids, valid = pad_right(texts, self.model.filler, self.model.device)
        masks = [text.index(layout.mask) for text in texts]
        columns = torch.tensor(masks, device=self.model.device)
        logits = self.model.fill(ids, valid, columns)[:, list(layout.labels.values())]
        shares = at_least_float32(logits).log_softmax(-1).tolist()
        answers = list(layout.labels)
        places = {token: place for place, token in enumerate(layout.labels.values())}
        found = []
        for (_, sample), own in zip(chunk, shares, strict=True):
            if not all(map(math.isfinite, own)):
                row = examples.examples[sample].row
                raise FloatingPointError(f"the model's logits are not finite on row {row}")
            found.append(_outcome(own, answers, places, examples.targets[sample].answer))
        return found


def _outcome(
    shares: Sequence[float], answers: Sequence[str], places: dict[int, int], target: Ids
) -> Outcome:
    """What one row came to.

    Args:
        shares: the logarithm of each word's share.
        answers: of the words.
        places: by token, which of them it is.
        target: the token of the right answer; empty where none is known.
    """
    best = [place for place, share in enumerate(shares) if share == max(shares)]
    answer = answers[best[0]] if len(best) == 1 else ""
    if not target:
        return Outcome((), 0.0, True, 0.0, answer)
    right = places[target[0]]
    most = max(share for place, share in enumerate(shares) if place != right)
    margin = math.exp(shares[right]) - math.exp(most)
    return Outcome((), -shares[right], best != [right], 0.0, answer, margin)
