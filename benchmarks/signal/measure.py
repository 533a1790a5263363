"""One position measured, phase by phase; what a killed command has finished is not done again."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.signal.edits import candidates
from benchmarks.signal.linear import score_gradients
from benchmarks.signal.record import DIGITS, SIDES, Record
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.memory import RowBudget
from prompt_optimization.models.reread import reread
from prompt_optimization.models.sampling import Sampling
from prompt_optimization.models.worker import GRADIENT_ROWS
from prompt_optimization.optimizers.greater.differentiate import LossWeights, token_gradients
from prompt_optimization.optimizers.greater.likelihood_ratio import advantages

# The truth is drawn with other seeds than the signals.
TRUTH_SEED = 1_000_000


class Position:
    """A position and the examples that it is measured on.

    Attributes:
        same, other: the questions whose reasonings the signals see, and those of nobody.
    """

    def __init__(
        self,
        engine: Engine,
        same: CachedExamples,
        other: CachedExamples,
        record: Record,
        path: Path,
        prompts: Path | None,
    ) -> None:
        self.engine = engine
        self.model = engine.model
        self.same, self.other = same, other
        self.record, self.path = record, path
        self.prompts = prompts
        s = record.settings
        self.decoding = Decoding(s["new_tokens"], sampling=Sampling(s["temperature"]))
        self.gradient_rows = GRADIENT_ROWS.get(self.model.device.type, 2)

    def work(self, truth_draws: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """What is left to do, in order: its name, and what does it and saves it."""
        record = self.record
        if not record.candidates:
            yield "candidates", self._propose
        if not record.drawn:
            yield "draw", self._draw
        while len(record.read["loss"]) < len(record.candidates):
            yield f"read candidate {len(record.read['loss'])}", self._read
        if record.settings["edit"] == "token":
            for name, work in (
                ("gradient", self._gradient),
                ("pathwise", self._pathwise),
                ("score_function", self._score_function),
            ):
                if name not in record.signals:
                    yield name, work
        if "greedy_loss" not in record.signals:
            yield "greedy", self._greedy
        for draw in range(truth_draws):
            for side in SIDES:
                if len(record.truth[side]) <= draw:
                    yield f"truth {side} {draw + 1}", self._truth_of(side, draw)

    @property
    def _ids(self) -> list[Ids]:
        return [self.same.prompt_ids(each["text"]) for each in self.record.candidates]

    def _propose(self) -> None:
        s = self.record.settings
        found = candidates(
            self.same,
            s["prompt"],
            s["edit"],
            s["position"],
            s["candidates"],
            s["seed"],
            self.prompts,
        )
        self.record.candidates = [
            {"text": each.text, "words": each.words, "log_prob": each.log_prob} for each in found
        ]
        rng = random.Random(s["seed"])
        self.record.signals["random"] = [rng.random() for _ in found]
        if found[0].log_prob is not None:
            self.record.signals["proposal"] = [-(each.log_prob or 0.0) for each in found]
        self._save()

    def _draw(self) -> None:
        s = self.record.settings
        incumbent = self._ids[0]
        with self._counted("draw"):
            drawn = [
                self.engine.run(self.same, [incumbent], self._drawing(s["seed"] + k))[0]
                for k in range(s["draws"])
            ]
        self.record.drawn = [[list(each.reasoning) for each in q] for q in zip(*drawn, strict=True)]
        self._save()

    def _read(self) -> None:
        """The drawn reasonings after the next candidate."""
        asked = [(q, [tuple(own) for own in owns]) for q, owns in enumerate(self.record.drawn)]
        ids = self._ids[len(self.record.read["loss"])]
        with self._counted("read"):
            found = reread(self.engine, self.same, asked, [ids], self.decoding, answers=True)
        by_question = [by_prompt[0] for by_prompt in found]
        for name, values in {
            "log_probs": [[_rounded(e.log_probs) for e in q] for q in by_question],
            "loss": [_rounded([e.loss for e in q]) for q in by_question],
            "mistake": [[int(e.mistake) for e in q] for q in by_question],
        }.items():
            self.record.read[name].append(values)
        # What the answers took is known from their lengths, and not all signals need them.
        answers = sum(
            len(self.same.ending(q, own))
            + len(self.same.targets[q].extractor)
            + len(self.same.targets[q].answer)
            for q, owns in asked
            for own in owns
        )
        tokens = self.record.tokens
        tokens["read"]["prefilled"] -= answers
        tokens["answers"] = dict(Counter(tokens.get("answers", {})) + Counter(prefilled=answers))
        self._save()

    def _gradient(self) -> None:
        """The paper's gradient, along one greedy reasoning a question."""
        with self._counted("greedy incumbent"):
            greedy = self.engine.run(self.same, self._ids[:1], self._greedy_decoding)[0]
        rows = [(q, each.reasoning) for q, each in enumerate(greedy)]
        with self._counted("gradient"):
            self.record.signals["gradient"] = self._differentiated(rows, LossWeights())
        self._save()

    def _pathwise(self) -> None:
        """The gradient of the answer's loss along the drawn reasonings."""
        weights = LossWeights(nll=0.0, temperature=1.0)
        with self._counted("pathwise"):
            self.record.signals["pathwise"] = self._differentiated(self._draws, weights)
        self._save()

    def _score_function(self) -> None:
        """The score-function part at the same place, and both parts together."""
        s, signals = self.record.settings, self.record.signals
        losses = np.array(self.record.read["loss"][0], dtype=float)
        rows = [
            (q, own, float(advantage) / losses.size)
            for (q, own), advantage in zip(self._draws, advantages(losses).ravel(), strict=True)
        ]
        with self._counted("score function"):
            signals["score_function"] = score_gradients(
                self.same,
                rows,
                self._ids[0],
                s["position"],
                self._tokens,
                s["temperature"],
                RowBudget(self.gradient_rows),
            ).tolist()
        pairs = zip(signals["pathwise"], signals["score_function"], strict=True)
        signals["both_linear"] = [one + other for one, other in pairs]
        self._save()

    def _differentiated(self, rows: list[tuple[int, Ids]], weights: LossWeights) -> list[float]:
        samples, reasonings = zip(*rows, strict=True)
        found = token_gradients(
            self.model,
            self.same,
            samples,
            self._ids[0],
            self.record.settings["position"],
            self._tokens,
            reasonings,
            weights,
            RowBudget(self.gradient_rows),
        )
        values: list[float] = found.mean(0).tolist()
        return values

    @property
    def _tokens(self) -> list[int]:
        """What the candidates have at the position."""
        return [ids[self.record.settings["position"]] for ids in self._ids]

    @property
    def _draws(self) -> list[tuple[int, Ids]]:
        return [(q, tuple(own)) for q, owns in enumerate(self.record.drawn) for own in owns]

    def _greedy(self) -> None:
        with self._counted("greedy"):
            found = self.engine.run(self.same, self._ids, self._greedy_decoding)
        for name, value in (("mistakes", "mistake"), ("loss", "loss")):
            self.record.signals[f"greedy_{name}"] = [
                sum(float(getattr(each, value)) for each in of) / len(of) for of in found
            ]
        self.record.signals["prompt_nll"] = [sum(each.nll for each in of) / len(of) for of in found]
        self._save()

    def _truth_of(self, side: str, draw: int) -> Callable[[], None]:
        def work() -> None:
            examples = self.same if side == "same" else self.other
            seed = TRUTH_SEED + self.record.settings["seed"] + draw
            with self._counted(f"truth {side}"):
                found = self.engine.run(examples, self._ids, self._drawing(seed))
            self.record.truth[side].append(
                {
                    "loss": [_rounded([each.loss for each in of]) for of in found],
                    "mistake": [[int(each.mistake) for each in of] for of in found],
                }
            )
            self._save()

        return work

    @property
    def _greedy_decoding(self) -> Decoding:
        return replace(self.decoding, sampling=None)

    def _drawing(self, seed: int) -> Decoding:
        return replace(
            self.decoding, sampling=Sampling(self.record.settings["temperature"], seed=seed)
        )

    @contextmanager
    def _counted(self, phase: str) -> Iterator[None]:
        """Within, the model's tokens count for ``phase``. Every phase finds the prefix cached up to
        the position, so that it is the same whether others ran before it or not."""
        for examples in (self.same, self.other):
            examples.prefix.reach(self._ids[0][: self.record.settings["position"]])
        before = Counter(self.model.counts)
        yield
        spent = Counter(self.model.counts) - before
        tokens = self.record.tokens
        tokens[phase] = dict(Counter(tokens.get(phase, {})) + spent)

    def _save(self) -> None:
        self.record.save(self.path)


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(value, DIGITS) for value in values]
