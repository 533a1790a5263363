"""What predicts the effects of edits before any of them is tried: docs/signal.md derives it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from prompt_optimization.models.layout import Ids
from prompt_optimization.optimizers.greater.differentiate import LossWeights, submit_gradient
from prompt_optimization.optimizers.greater.draws import Draws
from prompt_optimization.optimizers.greater.edits import Edit
from prompt_optimization.optimizers.greater.rows import RowsInUse
from prompt_optimization.optimizers.greater.settings import READ, TOKEN, GreaterSettings
from prompt_optimization.optimizers.greater.spelling import Spelling
from prompt_optimization.scoring.scorer import Scored, Scorer


@dataclass(frozen=True)
class Place:
    """Where a step edits the incumbent.

    Attributes:
        prompt: the incumbent with what stands at ``position`` while the gradient is taken.
        appended: the position is one after the last token.
    """

    prompt: Ids
    position: int
    appended: bool


@dataclass(frozen=True)
class Prediction:
    """What a step's edits are predicted to do.

    Attributes:
        values: by edit and by the signal's name, negative for a better prompt. An edit has those
            signals that were asked about it.
        details: what the log says of how they came about.
    """

    values: dict[Edit, dict[str, float]]
    details: dict[str, Any]

    def of(self, edit: Edit) -> dict[str, float]:
        return self.values.get(edit, {})


NOTHING = Prediction({}, {})


class Signal:
    """Asks the models.

    Attributes:
        draws: what was drawn for the signals that read it.
        weights: of the parts of the differentiated loss.
    """

    def __init__(
        self,
        settings: GreaterSettings,
        scorer: Scorer,
        rows: RowsInUse,
        spelling: Spelling,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._scorer = scorer
        self._rows = rows
        self._spelling = spelling
        self._rng = rng
        self.draws = Draws(settings, scorer)
        self.weights = LossWeights(
            settings.answer_weight,
            settings.nll_weight,
            settings.answer_temperature,
            scorer.decoding.answer_loss,
        )

    def predict(self, edits: Sequence[Edit], place: Place, incumbent: Scored) -> Prediction:
        """By reading drawn reasonings, of all edits or, with ``prefilter``, of those that the
        gradient lets through and those that have none. Under the other rules by the gradient: those
        that do not ask for it are compared with it, and the log has it.

        Raises:
            As ``Scorer.score`` and ``Model.submit_reread``.
        """
        s = self._settings
        tokens = [edit for edit in edits if edit.kind == TOKEN]
        read = list(edits) if s.shortlist in READ else []
        values: dict[Edit, dict[str, float]] = {}
        if tokens and (not read or 0 < s.prefilter < len(tokens)):
            slopes = self._gradient([edit.words[0] for edit in tokens], place, incumbent)
            values = {edit: {"gradient": e} for edit, e in zip(tokens, slopes, strict=True)}
            ordered = sorted(tokens, key=lambda edit: values[edit]["gradient"])
            dropped = {*ordered[s.prefilter :]}
            read = [edit for edit in read if edit not in dropped]
        if not read:
            return Prediction(values, {})
        rows = self._rows.all
        gathered = self.draws.gather(incumbent.text, rows, self._rng)
        with self._scorer.activity.phase("screen"):
            found = self.draws.predict(
                s.shortlist, incumbent.text, rows, [edit.ids for edit in read]
            )
        for edit, value in zip(read, found, strict=True):
            values.setdefault(edit, {})[s.shortlist] = value
        return Prediction(values, {"draws": gathered})

    def _gradient(self, tokens: Sequence[int], place: Place, incumbent: Scored) -> list[float]:
        """The normalised gradient over ``tokens``, summed over models: [tokens]."""
        with self._scorer.activity.phase("reason"):
            reasonings = self._reasonings(place, incumbent)
        rows = self._rows.all
        with self._scorer.activity.phase("differentiate"):
            submitted = [
                submit_gradient(
                    model,
                    [(e, r) for (m, e), r in zip(rows, reasonings, strict=True) if m == number],
                    (place.prompt, place.position, tokens, self.weights),
                    self._rows.weights,
                )
                for number, model in enumerate(self._scorer.models[: self._rows.models])
            ]
            total = torch.stack([future.result() for future in submitted]).sum(0)
        slopes: list[float] = total.tolist()
        return slopes

    def _reasonings(self, place: Place, incumbent: Scored) -> list[Ids]:
        """The reasonings to differentiate through, one a row in use."""
        if not self._settings.reasoning_gradient:
            return [()] * len(self._rows.all)
        if place.appended and self._settings.placeholder == "proposal":
            # The appended slot has no word yet: the gradient is taken along the reasoning that
            # the prompt without it led to, which costs nothing.
            return incumbent.reasonings
        (scored,) = self._scorer.score(self._spelling.texts([place.prompt]), self._rows.all)
        return scored.reasonings
