"""What learns the chance of a right answer from a question's and a prompt's vector.

A pair with rate r counts as a right answer of weight r n and a wrong one of weight (1 - r) n, where
n answers were drawn to it. So every library here learns rates. A fitted estimator is kept as the
text of its own library, or as arrays; reading one runs no code of the file's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from prompt_optimization.optimizers.oirl.arrays import Counts, Floats, arrays_of, npz
from prompt_optimization.optimizers.oirl.features import Vectors
from prompt_optimization.optimizers.oirl.settings import OirlSettings

# Pairs whose vectors are put side by side at a time.
BLOCK = 16384
# Hidden units of mlp, and pairs of one of its updates.
HIDDEN, MINIBATCH = 64, 256
# Inverse strengths of the penalty that logistic tries.
PENALTIES = (0.001, 0.01, 0.1)
SMALLEST = 1e-6


@dataclass(frozen=True)
class Lessons:
    """Outcomes with the vectors of their questions and prompts.

    Attributes:
        questions, prompts: [questions, width] and [prompts, width].
        right, draws: [questions, prompts].
    """

    questions: Vectors
    prompts: Vectors
    right: Floats
    draws: Counts

    @property
    def tried(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The pairs that have draws, question by question."""
        found = np.nonzero(self.draws)
        return found[0], found[1]

    def weighted(self, products: bool = False) -> tuple[Vectors, Floats, Floats]:
        """Features, labels 0 or 1, and weights; pairs question by question, right ones first."""
        rows, columns = self.tried
        features = pairs(self.questions[rows], self.prompts[columns], products)
        right, draws = self.right[rows, columns], self.draws[rows, columns]
        weights = np.stack([right, draws - right], 1).reshape(-1)
        labels = np.tile([1.0, 0.0], len(rows))
        kept = weights > 0
        return np.repeat(features, 2, 0)[kept], labels[kept], weights[kept]


def pairs(questions: Vectors, prompts: Vectors, products: bool = False) -> Vectors:
    """Vectors side by side; with their product where the model only adds features up, because a
    sum of both would order prompts alike for every question."""
    parts = [questions, prompts, *([questions * prompts] if products else [])]
    return np.concatenate(parts, axis=1).astype(np.float32)


class Estimator(Protocol):
    """A fitted reward model."""

    #: Trees or passes that were kept; 0 where there are none.
    rounds: int

    def scores(self, questions: Vectors, prompts: Vectors) -> Floats:
        """[questions, prompts]: the chance that the answer is right, uncalibrated."""

    def to_bytes(self) -> bytes:
        """What ``load`` reads."""


class _OfPairs(ABC):
    """Scores pair by pair."""

    products = False

    def scores(self, questions: Vectors, prompts: Vectors) -> Floats:
        count, size = len(prompts), max(1, BLOCK // len(prompts))
        blocks = [
            self._chances(
                pairs(
                    np.repeat(questions[start : start + size], count, 0),
                    np.tile(prompts, (len(questions[start : start + size]), 1)),
                    self.products,
                )
            )
            for start in range(0, len(questions), size)
        ]
        found: Floats = np.concatenate(blocks).reshape(len(questions), count).astype(np.float64)
        return found

    @abstractmethod
    def _chances(self, features: Vectors) -> NDArray[Any]:
        """[pairs]: the chance that the answer is right."""


class XGBoost(_OfPairs):
    """Trees of xgboost."""

    def __init__(self, booster: Any, rounds: int) -> None:
        self.booster = booster
        self.rounds = rounds

    @classmethod
    def fit(cls, own: OirlSettings, fit: Lessons, check: Lessons | None, seed: int) -> XGBoost:
        xgboost = import_module("xgboost")
        sets = [xgboost.DMatrix(x, y, weight=w) for x, y, w in _sets(own, fit, check)]
        parameters = {
            "objective": "binary:logistic",
            "eval_metric": "logloss",
            "base_score": 0.5,
            "max_depth": own.depth,
            "eta": own.eta,
            "seed": seed,
        }
        stop = own.patience if len(sets) > 1 and own.patience else None
        booster = xgboost.train(
            parameters,
            sets[0],
            own.rounds,
            evals=[(sets[1], "validation")] if stop else [],
            early_stopping_rounds=stop,
            verbose_eval=False,
        )
        rounds = booster.best_iteration + 1 if stop else own.rounds
        return cls(booster[:rounds], rounds)

    def _chances(self, features: Vectors) -> NDArray[Any]:
        found: NDArray[Any] = self.booster.inplace_predict(features)
        return found

    def to_bytes(self) -> bytes:
        return bytes(self.booster.save_raw("json"))

    @classmethod
    def load(cls, data: bytes, rounds: int) -> XGBoost:
        booster = import_module("xgboost").Booster()
        booster.load_model(bytearray(data))
        return cls(booster, rounds)


class LightGBM(_OfPairs):
    """Trees of lightgbm."""

    def __init__(self, booster: Any, rounds: int) -> None:
        self.booster = booster
        self.rounds = rounds

    @classmethod
    def fit(cls, own: OirlSettings, fit: Lessons, check: Lessons | None, seed: int) -> LightGBM:
        lightgbm = import_module("lightgbm")
        options = {"verbosity": -1}
        sets = [
            lightgbm.Dataset(x, y, weight=w, params=options) for x, y, w in _sets(own, fit, check)
        ]
        parameters = options | {
            "objective": "binary",
            "learning_rate": own.eta,
            "num_leaves": own.leaves,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
        }
        stop = own.patience if len(sets) > 1 else 0
        booster = lightgbm.train(
            parameters,
            sets[0],
            own.rounds,
            valid_sets=sets[1:] if stop else [],
            callbacks=[lightgbm.early_stopping(stop, verbose=False)] if stop else [],
        )
        rounds = booster.best_iteration or booster.current_iteration()
        return cls.load(booster.model_to_string(num_iteration=rounds).encode(), rounds)

    def _chances(self, features: Vectors) -> NDArray[Any]:
        found: NDArray[Any] = self.booster.predict(features)
        return found

    def to_bytes(self) -> bytes:
        text: str = self.booster.model_to_string()
        return text.encode()

    @classmethod
    def load(cls, data: bytes, rounds: int) -> LightGBM:
        return cls(import_module("lightgbm").Booster(model_str=data.decode()), rounds)


class Layers(_OfPairs):
    """Weights and biases, with rectified units between: logistic regression has one layer."""

    def __init__(self, layers: list[tuple[Floats, Floats]], products: bool, rounds: int) -> None:
        self.layers = layers
        self.products = products
        self.rounds = rounds

    @classmethod
    def logistic(cls, own: OirlSettings, fit: Lessons, check: Lessons | None, seed: int) -> Layers:
        """Of the penalties the one that ``check`` likes best; the middle one without it."""
        x, y, w = fit.weighted(products=True)
        scaler = import_module("sklearn.preprocessing").StandardScaler().fit(x, sample_weight=w)
        kind, found = import_module("sklearn.linear_model").LogisticRegression, []
        for inverse in PENALTIES if check is not None else PENALTIES[1:2]:
            model = kind(C=inverse, max_iter=1000, tol=1e-3).fit(scaler.transform(x), y, w)
            weights = model.coef_[0] / scaler.scale_
            intercept = model.intercept_ - weights @ scaler.mean_
            made = cls([(weights[:, None], intercept)], True, 0)
            found.append((0.0 if check is None else log_loss(made, check), made))
        return min(found, key=lambda pair: pair[0])[1]

    @classmethod
    def mlp(cls, own: OirlSettings, fit: Lessons, check: Lessons | None, seed: int) -> Layers:
        """Passes over the pairs until the log-loss of ``check`` gets no better."""
        x, y, w = fit.weighted()
        model = import_module("sklearn.neural_network").MLPClassifier(
            (HIDDEN,),
            batch_size=min(MINIBATCH, len(x)),
            random_state=seed % 2**32,
            learning_rate_init=own.eta / 50,
        )
        best, since = (np.inf, cls([], False, 0)), 0
        for done in range(1, own.rounds + 1):
            model.partial_fit(x, y, classes=np.array([0.0, 1.0]), sample_weight=w)
            layers = [
                (weights.copy(), biases.copy())
                for weights, biases in zip(model.coefs_, model.intercepts_, strict=True)
            ]
            made = cls(layers, False, done)
            loss = -float(done) if check is None else log_loss(made, check)
            since = 0 if loss < best[0] else since + 1
            best = min(best, (loss, made), key=lambda pair: pair[0])
            if own.patience and since >= own.patience:
                break
        return best[1]

    def _chances(self, features: Vectors) -> NDArray[Any]:
        hidden: NDArray[Any] = features.astype(np.float64)
        for weights, biases in self.layers[:-1]:
            hidden = np.maximum(hidden @ weights + biases, 0)
        weights, biases = self.layers[-1]
        return sigmoid((hidden @ weights + biases)[:, 0])

    def to_bytes(self) -> bytes:
        arrays: dict[str, NDArray[Any]] = {"products": np.array(self.products)}
        for number, (weights, biases) in enumerate(self.layers):
            arrays |= {f"weights{number}": weights, f"biases{number}": biases}
        return npz(arrays)

    @classmethod
    def load(cls, data: bytes, rounds: int) -> Layers:
        arrays = arrays_of(data)
        count = (len(arrays) - 1) // 2
        layers = [(arrays[f"weights{n}"], arrays[f"biases{n}"]) for n in range(count)]
        return cls(layers, bool(arrays["products"]), rounds)


class Neighbours:
    """The rates of the most similar questions; a new prompt stands in for the most similar one."""

    rounds = 0

    def __init__(self, lessons: Lessons, count: int) -> None:
        self.lessons = lessons
        self.count = min(count, len(lessons.questions))
        near = import_module("sklearn.neighbors").NearestNeighbors(
            n_neighbors=self.count, algorithm="brute"
        )
        self.near = near.fit(lessons.questions)

    @classmethod
    def fit(cls, own: OirlSettings, fit: Lessons, check: Lessons | None, seed: int) -> Neighbours:
        return cls(fit, own.neighbours)

    def scores(self, questions: Vectors, prompts: Vectors) -> Floats:
        own = self.lessons
        near = self.near.kneighbors(questions, return_distance=False)
        right, draws = own.right[near].sum(1), own.draws[near].sum(1)
        # Two neighbours' worth of the prompt's mean, so that nothing is divided by zero.
        means = own.right.sum(0) / np.maximum(own.draws.sum(0), 1)
        rates: Floats = (right + 2 * means) / (draws + 2)
        found: Floats = rates[:, (prompts @ own.prompts.T).argmax(1)]
        return found

    def to_bytes(self) -> bytes:
        return npz({**vars(self.lessons), "count": np.array(self.count)})

    @classmethod
    def load(cls, data: bytes, rounds: int) -> Neighbours:
        arrays = arrays_of(data)
        count = int(arrays.pop("count"))
        return cls(Lessons(**arrays), count)


FITS: dict[str, Any] = {
    "lightgbm": LightGBM.fit,
    "xgboost": XGBoost.fit,
    "logistic": Layers.logistic,
    "mlp": Layers.mlp,
    "knn": Neighbours.fit,
}
LOADS: dict[str, Any] = {
    "lightgbm": LightGBM.load,
    "xgboost": XGBoost.load,
    "logistic": Layers.load,
    "mlp": Layers.load,
    "knn": Neighbours.load,
}


def log_loss(model: Estimator, lessons: Lessons) -> float:
    """The mean negative log-likelihood of the answers, in nats."""
    rows, columns = lessons.tried
    chances = model.scores(lessons.questions, lessons.prompts)[rows, columns]
    chances = np.clip(chances, SMALLEST, 1 - SMALLEST)
    right, draws = lessons.right[rows, columns], lessons.draws[rows, columns]
    total = right * np.log(chances) + (draws - right) * np.log(1 - chances)
    return float(-total.sum() / draws.sum())


def sigmoid(x: NDArray[Any]) -> Floats:
    found: Floats = 1 / (1 + np.exp(-np.clip(x, -500, 500)))
    return found


def logit(chances: Floats) -> Floats:
    clipped = np.clip(chances, SMALLEST, 1 - SMALLEST)
    found: Floats = np.log(clipped / (1 - clipped))
    return found


def _sets(
    own: OirlSettings, fit: Lessons, check: Lessons | None
) -> list[tuple[Vectors, Floats, Floats]]:
    """What is fitted and, where fitting may stop early, what tells when."""
    stops = check is not None and own.patience
    return [each.weighted() for each in ((fit, check) if stops else (fit,)) if each is not None]
