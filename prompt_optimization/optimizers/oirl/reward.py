"""The reward model: an estimator, and a scale that turns its scores into chances."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from prompt_optimization.errors import require
from prompt_optimization.optimizers.oirl.arrays import Floats
from prompt_optimization.optimizers.oirl.estimators import (
    FITS,
    LOADS,
    Estimator,
    Lessons,
    logit,
    sigmoid,
)
from prompt_optimization.optimizers.oirl.features import Vectors
from prompt_optimization.optimizers.oirl.settings import OirlSettings


@dataclass(frozen=True)
class RewardModel:
    """Scores questions under prompts.

    Attributes:
        kind: one of ``KINDS``.
        slope, intercept: Platt's scale on the logit of a score (Advances in Large Margin
            Classifiers, 1999); 1 and 0 leave it as it is. A slope is positive, so no scale changes
            which prompt is the best one.
    """

    kind: str
    estimator: Estimator
    slope: float = 1.0
    intercept: float = 0.0

    def scores(self, questions: Vectors, prompts: Vectors) -> Floats:
        """[questions, prompts]: the chance of a right answer."""
        found = self.estimator.scores(questions, prompts)
        if (self.slope, self.intercept) == (1.0, 0.0):
            return found
        return sigmoid(self.slope * logit(found) + self.intercept)

    def to_bytes(self) -> bytes:
        """A line of JSON, and what the estimator's own library writes."""
        about = {
            "kind": self.kind,
            "rounds": self.estimator.rounds,
            "slope": self.slope,
            "intercept": self.intercept,
        }
        return json.dumps(about).encode() + b"\n" + self.estimator.to_bytes()

    @classmethod
    def of_bytes(cls, data: bytes) -> RewardModel:
        """The way back.

        Raises:
            LookupError, OSError, TypeError, ValueError: ``data`` holds no reward model.
        """
        line, _, rest = data.partition(b"\n")
        about = json.loads(line)
        require(about["kind"] in LOADS)
        estimator = LOADS[about["kind"]](rest, int(about["rounds"]))
        return cls(about["kind"], estimator, float(about["slope"]), float(about["intercept"]))


def fit_reward(own: OirlSettings, fit: Lessons, check: Lessons | None, seed: int) -> RewardModel:
    """Fit the reward model that the settings name.

    Args:
        fit: pairs to learn from.
        check: pairs of other questions, for early stopping and calibration, if there are any.
    """
    if check is not None and not check.draws.any():
        check = None
    seed %= 2**31
    model = RewardModel(own.reward, FITS[own.reward](own, fit, check, seed))
    if check is None or not own.calibrate:
        return model
    rows, columns = check.tried
    scores = logit(model.scores(check.questions, check.prompts)[rows, columns])
    right, draws = check.right[rows, columns], check.draws[rows, columns]
    labels = np.repeat([1.0, 0.0], len(rows))
    weights = np.concatenate([right, draws - right])
    if not (weights[labels == 1].any() and weights[labels == 0].any()):
        return model
    linear = import_module("sklearn.linear_model").LogisticRegression()
    linear.fit(np.tile(scores, 2)[:, None], labels, weights)
    slope, intercept = float(linear.coef_[0, 0]), float(linear.intercept_[0])
    # Scores that say the opposite on other questions say nothing; no scale makes them useful.
    return model if slope <= 0 else RewardModel(model.kind, model.estimator, slope, intercept)
