"""Reasonings that are drawn of training rows, which the edits of a prompt are judged by.

They are drawn under the incumbent. Where the settings allow it, they are read again after the next
incumbent, and weighted by how much likelier they are there than under the prompt that they were
drawn under (likelihood_ratio.py). That takes as much as reading them after one more proposal.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from prompt_optimization.models.engine import Outcome
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.sampling import Sampling
from prompt_optimization.optimizers.greater.likelihood_ratio import (
    Array,
    centred_weights,
    effective_sample_size,
    first_order,
    importance_weights,
)
from prompt_optimization.optimizers.greater.settings import GreaterSettings
from prompt_optimization.scoring.scorer import Row, Scorer

# ``reuse_draws`` for which no reasoning is used again.
NEVER = 1.0


@dataclass(frozen=True)
class Drawn:
    """The reasonings of a row, and what they are under the prompt that read them last.

    Attributes:
        source: the prompt that they were drawn under.
        outcomes: of each under ``source``.
        log_probs: of each under ``source``, in nats; empty until it was read there.
        reader: the prompt that read them last.
        change: of each one's log-likelihood from ``source`` to ``reader``, in nats.
        losses: of the answers after them under ``reader``.
    """

    source: str
    outcomes: tuple[Outcome, ...]
    log_probs: tuple[float, ...]
    reader: str
    change: tuple[float, ...]
    losses: tuple[float, ...]

    @classmethod
    def new(
        cls, source: str, outcomes: Sequence[Outcome], log_probs: tuple[float, ...] = ()
    ) -> Drawn:
        """As they are under the prompt that they were drawn under."""
        losses = tuple(outcome.loss for outcome in outcomes)
        return cls(source, tuple(outcomes), log_probs, source, (0.0,) * len(losses), losses)


class Draws:
    """The reasonings that a search has drawn, by row."""

    def __init__(self, settings: GreaterSettings, scorer: Scorer) -> None:
        self._settings = settings
        self._scorer = scorer
        self._by_row: dict[Row, Drawn] = {}

    def gather(self, text: str, rows: Sequence[Row], rng: random.Random) -> dict[str, Any]:
        """Have reasonings of ``rows`` that tell what edits of ``text`` do.

        Args:
            text: the incumbent.
            rows: models one after the other.

        Returns:
            what the log says: rows whose reasonings were ``drawn`` now, rows whose reasonings of an
            earlier incumbent are ``reused``, and the mean ``effective_sample_size`` of these or of
            those that were drawn anew for it, as a share of the draws, if there were any.

        Raises:
            As ``Scorer.draw_reasonings`` and ``Model.submit_reread``.
        """
        s, activity = self._settings, self._scorer.activity
        if s.reuse_draws == NEVER:
            self._by_row = {r: each for r, each in self._by_row.items() if each.source == text}
        known = [row for row in rows if row in self._by_row]
        unread = [row for row in known if self._by_row[row].reader != text]
        if unread:
            with activity.phase("reread"):
                self._have_read(text, unread)
        earlier = [row for row in known if self._by_row[row].source != text]
        size = self._effective_sample_size(earlier)
        if size is not None and size < s.reuse_draws:
            for row in earlier:
                del self._by_row[row]
            earlier = []
        missing = [row for row in rows if row not in self._by_row]
        if missing:
            sampling = Sampling(s.draw_temperature, seed=rng.getrandbits(31))
            with activity.phase("reason"):
                drawn = self._scorer.draw_reasonings(text, missing, sampling, s.draws)
            for row, outcomes in zip(missing, zip(*drawn, strict=True), strict=True):
                self._by_row[row] = Drawn.new(text, outcomes)
        found = {"drawn": len(missing), "reused": len(earlier)}
        return found if size is None else found | {"effective_sample_size": size}

    def predict(
        self, signal: str, text: str, rows: Sequence[Row], prompts: Sequence[Ids]
    ) -> list[float]:
        """What each of ``prompts`` does in place of ``text``, by what was gathered for that: mean
        over examples with their weights and over models, negative for a better prompt.

        Args:
            signal: ``likelihood_ratio``: the first-order change of the loss through the chance of
                the reasonings. ``fixed_reasoning``: the change of the mistakes in the answers after
                them, or of the loss where that is the objective.

        Raises:
            As ``Model.submit_reread``.
        """
        answers = signal == "fixed_reasoning"
        log_probs, losses, mistakes = (
            np.moveaxis(values, 1, 0)
            for values in self._read([self._scorer.ids(text), *prompts], rows, answers=answers)
        )
        for row, own in zip(rows, log_probs[0].tolist(), strict=True):
            if not self._by_row[row].log_probs:  # It was drawn in this step, under ``text``.
                self._by_row[row] = replace(self._by_row[row], log_probs=tuple(own))
        clip, drawn = self._settings.ratio_clip, [self._by_row[row] for row in rows]
        weights = centred_weights(np.array([each.change for each in drawn]), clip)
        if answers:
            values = losses if self._scorer.objective == "loss" else mistakes
            by_row = ((values[1:] - values[:1]) * weights).sum(-1)
        else:
            known = np.array([each.losses for each in drawn])
            change = log_probs[1:] - log_probs[:1]
            by_row = first_order(known, change, clip, weights)
        shares = np.array([self._scorer.examples[example].weight for _, example in rows])
        found: list[float] = (by_row @ shares / shares.sum()).tolist()
        return found

    def state_dict(self) -> list[Any]:
        return [
            [
                *row,
                each.source,
                each.outcomes,
                each.log_probs,
                each.reader,
                each.change,
                each.losses,
            ]
            for row, each in self._by_row.items()
        ]

    def load_state_dict(self, state: Iterable[Any]) -> None:
        self._by_row = {
            (model, example): Drawn(
                source, tuple(outcomes), tuple(log_probs), reader, tuple(change), tuple(losses)
            )
            for model, example, source, outcomes, log_probs, reader, change, losses in state
        }

    def _have_read(self, text: str, rows: Sequence[Row]) -> None:
        """Read the reasonings of ``rows``, and the answers after them, after ``text``."""
        drawn = {row: self._by_row[row] for row in rows}
        # A search may return to a prompt, whose own draws are known.
        self._by_row |= {
            row: Drawn.new(text, each.outcomes, each.log_probs)
            for row, each in drawn.items()
            if each.source == text
        }
        others = [row for row in rows if drawn[row].source != text]
        if not others:
            return
        read = self._read([self._scorer.ids(text)], others, answers=True)
        log_probs, losses, _ = read[:, :, 0]
        for row, now, loss in zip(others, log_probs, losses, strict=True):
            change = tuple((now - drawn[row].log_probs).tolist())
            self._by_row[row] = replace(
                drawn[row], reader=text, change=change, losses=tuple(loss.tolist())
            )

    def _read(self, prompts: Sequence[Ids], rows: Sequence[Row], *, answers: bool = False) -> Array:
        """The reasonings of ``rows`` after each of ``prompts``, as ``Model.submit_reread``: [3,
        rows, prompts, draws]."""
        sampling = Sampling(self._settings.draw_temperature)
        decoding = replace(self._scorer.decoding, sampling=sampling)
        submitted = []
        for number, model in enumerate(self._scorer.models):
            asked = [
                (row[1], [outcome.reasoning for outcome in self._by_row[row].outcomes])
                for row in rows
                if row[0] == number
            ]
            if asked:
                submitted.append(model.submit_reread(prompts, decoding, asked, answers=answers))
        return np.concatenate([future.result() for future in submitted], axis=1)

    def _effective_sample_size(self, rows: Sequence[Row]) -> float | None:
        """The mean over ``rows`` as a share of the draws; None where there are none."""
        if not rows:
            return None
        change = np.array([self._by_row[row].change for row in rows])
        return float(effective_sample_size(importance_weights(change, np.inf)).mean())
