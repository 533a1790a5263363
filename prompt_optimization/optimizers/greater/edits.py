"""Edits of a prompt at one position: another token, one more, one less, or several at once.

All words come from the model. A token is one that several questions propose together. A span is
drawn token by token from the likeliest ones there by the mean of the log-probabilities over the
questions: words that suit all questions rather than one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from prompt_optimization.models.layout import Ids
from prompt_optimization.models.model import Model
from prompt_optimization.optimizers.greater.propose import Proposals, banned_ids, propose
from prompt_optimization.optimizers.greater.settings import TOKEN, GreaterSettings
from prompt_optimization.optimizers.greater.spelling import Spelling
from prompt_optimization.scoring.scorer import Scorer

# What topk grows by while too few proposals come out. (code)
WIDENING = 2

# Tokens of a span, and of what it replaces.
SPAN = (2, 4)

# Spans that are drawn for each one that is wanted, before fewer are taken.
PATIENCE = 3


@dataclass(frozen=True)
class Edit:
    """
    Attributes:
        words: what is put in; of a deletion, what is taken out.
        ids: the prompt afterwards.
    """

    kind: str
    words: Ids
    ids: Ids

    @property
    def added(self) -> int:
        """Tokens of the prompt that are new."""
        return 0 if self.kind == "delete" else len(self.words)


class Editor:
    """What proposes edits to a search."""

    def __init__(self, settings: GreaterSettings, scorer: Scorer, rng: random.Random) -> None:
        self.spelling = Spelling(scorer)
        self._settings = settings
        self._rng = rng
        # Models of one tokenizer may fill up their embeddings differently.
        self._vocabulary = min(model.info.vocabulary for model in scorer.models)
        self._banned = banned_ids(
            scorer.models[0].tokenizer,
            self._vocabulary,
            allow_non_ascii=settings.allow_non_ascii,
        )

    def tokens(
        self,
        models: Sequence[Model],
        examples: Sequence[int],
        before: Ids,
        edited: Callable[[int], Ids],
        taken: Ids,
    ) -> Proposals:
        """Tokens that several of ``examples`` propose after ``before``.

        Args:
            edited: the prompt with a token.
            taken: the token that stands there. It passes only where it may be shortlisted: its
                score is known, so trying it again would waste a place.
        """
        s = self._settings

        def keep(tokens: Sequence[int]) -> list[int]:
            if not s.current_in_shortlist:
                tokens = [token for token in tokens if token not in taken]
            able = self.spelling.can_stand([edited(token) for token in tokens])
            return [token for token, stands in zip(tokens, able, strict=True) if stands]

        return propose(
            self._log_probs(models, examples, before),
            self._banned_after(before),
            self._rng,
            topk=s.topk,
            topq=s.topq,
            group_size=s.group_size,
            minimum=s.min_proposals,
            widening=WIDENING,
            keep=keep,
        )

    def others(
        self,
        models: Sequence[Model],
        examples: Sequence[int],
        prompt: Ids,
        position: int,
        tokens: Sequence[int],
        longest: int,
    ) -> list[Edit]:
        """The edits other than another token that the settings ask for.

        Args:
            prompt: the incumbent; ``position`` may be its end.
            tokens: proposed for the position, likeliest first.
            longest: tokens that a prompt has at most.
        """
        s, before, rest = self._settings, prompt[:position], prompt[position:]
        found: list[Edit] = []
        if "insert" in s.edits and rest and len(prompt) < longest:
            one_more = [Edit("insert", (each,), (*before, each, *rest)) for each in tokens]
            found += self._able(one_more)[: s.edit_proposals]
        if "delete" in s.edits and rest and len(prompt) > 2:  # An initial prompt has two, too.
            found += self._able([Edit("delete", rest[:1], (*before, *rest[1:]))])
        if "span" in s.edits:
            found += self._spans(models, examples, prompt, position, longest)
        return found

    def _spans(
        self,
        models: Sequence[Model],
        examples: Sequence[int],
        prompt: Ids,
        position: int,
        longest: int,
    ) -> list[Edit]:
        """Drawn spans in place of as many tokens, or fewer at the prompt's end."""
        count = self._settings.edit_proposals
        found: dict[Ids, Edit] = {}
        for _ in range(PATIENCE * count):
            words = self._written(models, examples, prompt[:position], self._rng.randint(*SPAN))
            after = prompt[position + self._rng.randint(*SPAN) :]
            ids = (*prompt[:position], *words, *after)
            if ids != prompt and len(ids) <= longest:
                found |= {each.ids: each for each in self._able([Edit("span", words, ids)])}
            if len(found) == count:
                break
        return list(found.values())

    def _written(
        self, models: Sequence[Model], examples: Sequence[int], before: Ids, length: int
    ) -> Ids:
        """``length`` tokens after ``before``, each drawn from the ``topk`` likeliest."""
        words: Ids = ()
        for _ in range(length):
            so_far = (*before, *words)
            read = self._log_probs(models, examples, so_far)
            mean = torch.stack([each.double().mean(0) for each in read]).mean(0)
            mean = mean.masked_fill(self._banned_after(so_far), -torch.inf)
            likeliest = mean.topk(min(self._settings.topk, int(mean.isfinite().sum())))
            chances = likeliest.values.softmax(0).tolist()
            words = (*words, *self._rng.choices(likeliest.indices.tolist(), chances))
        return words

    def _able(self, edits: Sequence[Edit]) -> list[Edit]:
        """Those of ``edits`` that leave a prompt."""
        able = self.spelling.can_stand([edit.ids for edit in edits])
        return [edit for edit, stands in zip(edits, able, strict=True) if stands]

    def _log_probs(
        self, models: Sequence[Model], examples: Sequence[int], before: Ids
    ) -> list[torch.Tensor]:
        return [model.log_probs(before, examples)[:, : self._vocabulary] for model in models]

    def _banned_after(self, before: Ids) -> torch.Tensor:
        """No word comes twice in a row."""
        if not before:
            return self._banned
        banned = self._banned.clone()
        banned[before[-1]] = True
        return banned


def token_edits(
    kinds: Sequence[str], tokens: Sequence[int], edited: Callable[[int], Ids]
) -> list[Edit]:
    """The edits to ``tokens``, if those are among the kinds that are asked for."""
    return [Edit(TOKEN, (each,), edited(each)) for each in tokens if TOKEN in kinds]
