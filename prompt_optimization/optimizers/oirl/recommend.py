"""The prompt for a new question, by what a run has kept: no language model is asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from prompt_optimization.errors import InputError, require
from prompt_optimization.models.embedder import Embedder
from prompt_optimization.optimizers.artifacts import Artifacts
from prompt_optimization.optimizers.oirl.arrays import DAMAGED
from prompt_optimization.optimizers.oirl.reward import RewardModel
from prompt_optimization.optimizers.oirl.select import choose
from prompt_optimization.optimizers.oirl.stages import RECOMMENDER


@dataclass(frozen=True)
class Recommendation:
    """The prompt for a question, and how sure that is.

    Attributes:
        prompt: to be put where the run put it.
        chance: of a right answer under it.
        single: the prompt that is best for all questions, by the training questions.
        single_chance: of a right answer under that one.
        seconds: that choosing took.
    """

    question: str
    prompt: str
    chance: float
    single: str
    single_chance: float
    seconds: float


class Recommender:
    """Chooses prompts for questions.

    Attributes:
        measured: the AUC of the reward model, and the gain of its choices over the best single
            prompt with its interval, on questions that it had not seen; None where there were none.
    """

    def __init__(self, about: dict[str, Any], model: RewardModel, embedder: Embedder) -> None:
        self._model = model
        self._embedder = embedder
        self._prompts: list[str] = about["prompts"]
        self._heldout = np.array(about["heldout"], bool)
        self._means = np.array(about["means"], float)  # None becomes not a number.
        self._threshold: float = about["threshold"]
        self._single = int(np.nan_to_num(self._means, nan=-1.0).argmax())
        self._vectors = embedder.embed([prompt.strip() for prompt in self._prompts])
        self.measured: dict[str, Any] = {name: about[name] for name in ("auc", "gain")}

    @classmethod
    def of(cls, artifacts: Artifacts, embedder: Embedder | None = None) -> Recommender:
        """The recommender that a run has kept.

        Args:
            embedder: the encoder of that run; loaded when left out.

        Raises:
            InputError: it has kept none, or what it kept cannot be read.
        """
        about, model = _kept(artifacts)
        if embedder is None:
            from prompt_optimization.models.settings import EmbedSettings

            embedder = Embedder(EmbedSettings.default(model=about["encoder"]))
        return cls(about, model, embedder)

    def recommend(self, question: str, rule: str = "irl0") -> Recommendation:
        """The prompt that ``rule`` chooses for ``question``, which is not blank."""
        started = time.perf_counter()
        scores = self._model.scores(self._embedder.embed([question]), self._vectors)
        column = int(choose(rule, scores, self._heldout, self._means, self._threshold)[0])
        return Recommendation(
            question,
            self._prompts[column],
            float(scores[0, column]),
            self._prompts[self._single],
            float(scores[0, self._single]),
            time.perf_counter() - started,
        )

    def chooser(self, rule: str) -> Callable[[str], str]:
        """A question -> the prompt that ``rule`` chooses."""
        return lambda question: self.recommend(question, rule).prompt


def _kept(artifacts: Artifacts) -> tuple[dict[str, Any], RewardModel]:
    data = artifacts.get(RECOMMENDER)
    if data is None:
        raise InputError(
            "the run has kept no reward model, so it recommends nothing; let it finish its stage "
            "'report'",
            key="from",
        )
    try:
        about = json.loads(data)
        model = artifacts.get(about["reward"])
        require(model is not None and isinstance(about["encoder"], str))
        require(len(about["prompts"]) == len(about["heldout"]) == len(about["means"]) > 0)
        return about, RewardModel.of_bytes(model or b"")
    except DAMAGED as error:
        if isinstance(error, InputError):
            raise
        raise InputError("what the run has kept is damaged; run it again", key="from") from None
