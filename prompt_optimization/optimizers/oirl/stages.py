"""The stages after collecting, each kept by the hash of what it depends on.

    table.npz -> embeddings.npz -> reward/<prompts> -> report.json, report.csv, recommender.json

A stage asks for what is kept first. So a killed run continues after its last stage, and another
rule or threshold fits nothing anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from prompt_optimization.models.embedder import Embedder
from prompt_optimization.optimizers.artifacts import Artifacts, made_from
from prompt_optimization.optimizers.oirl.estimators import Lessons, Neighbours
from prompt_optimization.optimizers.oirl.features import Vectors, encoder_key, vectors_of
from prompt_optimization.optimizers.oirl.measure import lookup, of_choices, of_rewards
from prompt_optimization.optimizers.oirl.outcomes import Outcomes
from prompt_optimization.optimizers.oirl.report import to_csv
from prompt_optimization.optimizers.oirl.reward import RewardModel, fit_reward
from prompt_optimization.optimizers.oirl.settings import OirlSettings
from prompt_optimization.optimizers.oirl.split import Parts, parts_of

REPORT, CSV = "report.json", "report.csv"
RECOMMENDER = "recommender.json"
# Counts the changes of what a fit or a report of the same settings gives.
VERSION = 1

Subset = tuple[int, ...]


@dataclass(frozen=True)
class Stages:
    """What can be learnt from a table.

    Attributes:
        table: as it was collected or imported.
        seed: of the split and of fitting.
        artifacts: what earlier stages have made.
        progress: called with the sets of prompts done and their number.
    """

    settings: OirlSettings
    table: Outcomes
    embedder: Embedder
    artifacts: Artifacts
    seed: int
    progress: Callable[[int, int], None] = lambda done, of: None

    @cached_property
    def parts(self) -> Parts:
        """The table's questions, cut.

        Raises:
            InputError: see ``parts_of``.
        """
        return parts_of(self.table, self.settings, self.seed)

    @cached_property
    def questions(self) -> Vectors:
        """[rows of the cut table, width]"""
        return vectors_of(self.parts.table.questions, self.embedder, self.artifacts)

    @cached_property
    def prompts(self) -> Vectors:
        """[prompts, width]"""
        texts = [prompt.strip() for prompt in self.table.prompts]
        return vectors_of(texts, self.embedder, self.artifacts)

    def encode(self) -> tuple[Vectors, Vectors]:
        """Encode questions and prompts; both as above."""
        return self.questions, self.prompts

    @cached_property
    def trained(self) -> Subset:
        """The prompts that are learnt from, by column."""
        return tuple(int(column) for column in np.flatnonzero(~self.table.heldout))

    @property
    def subsets(self) -> list[Subset]:
        """The sets of prompts that a reward model is fitted for, the whole one last."""
        if self.settings.subsets == "whole":
            return [self.trained]
        sizes = range(1, len(self.trained) + 1)
        return [subset for size in sizes for subset in combinations(self.trained, size)]

    def reward(self, subset: Subset) -> RewardModel:
        """The reward model for a set of prompts."""
        name, key = f"reward/{'-'.join(map(str, subset))}", self._reward_key(subset)
        data = self.artifacts.get(name, key)
        if data is None:
            fit = self._lessons(self.parts.fit, subset)
            check = self._lessons(self.parts.validation, subset)
            data = fit_reward(self.settings, fit, check, self.seed).to_bytes()
            self.artifacts.put(name, key, data)
        return RewardModel.of_bytes(data)

    def rewards(self) -> None:
        """Fit the reward models of all sets of prompts."""
        for done, subset in enumerate(self.subsets):
            self.progress(done, len(self.subsets))
            self.reward(subset)

    def report(self) -> dict[str, Any]:
        """Measure all of them, and keep what ``recommend`` needs."""
        own, parts = self.settings, self.parts
        rules = [list(own.rules), own.threshold, own.behaviour]
        key = made_from(VERSION, rules, *map(self._reward_key, self.subsets))
        data = self.artifacts.get(REPORT, key)
        if data is None:
            sets = [self._measured(subset) for subset in self.subsets]
            made = {
                "behaviour": own.behaviour,
                "source": self.table.source,
                "split": {
                    "by": own.split,
                    "fit": len(parts.fit),
                    "validation": len(parts.validation),
                    "test": len(parts.test),
                    "repeated": parts.repeated,
                    "table_rows": len(self.table.questions),
                    "table_repeats": self.table.repeats,
                    "own_test": parts.own_test,
                    "own_repeated": parts.own_repeated,
                },
                "warnings": self._warnings(),
                "prompts": dict(zip(self.table.names, self.table.prompts, strict=True)),
                "sets": sets,
            }
            data = json.dumps(made, indent=1, ensure_ascii=False).encode()
            self.artifacts.put(CSV, key, to_csv(sets).encode())
            self.artifacts.put(RECOMMENDER, key, self._recommender(sets[-1]))
            self.artifacts.put(REPORT, key, data)  # last: where it stands, so do the others
        found: dict[str, Any] = json.loads(data)
        return found

    @cached_property
    def means(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """[prompts]: over the training questions; not a number for held-out prompts."""
        means = np.full(len(self.table.prompts), np.nan)
        means[list(self.trained)] = self.parts.learnt.means
        return means

    def _lessons(self, rows: np.ndarray[Any, Any], subset: Subset) -> Lessons:
        """Every question once: what comes again counts as further draws."""
        table = self.parts.table.rows(rows).columns(subset).merged()
        vectors = dict(zip(self.parts.table.questions, self.questions, strict=True))
        return Lessons(
            np.stack([vectors[question] for question in table.questions])
            if table.questions
            else self.questions[:0],
            self.prompts[list(subset)],
            table.right,
            table.draws,
        )

    def _reward_key(self, subset: Subset) -> str:
        encoder = encoder_key(self.embedder)
        return made_from(
            VERSION, self.settings.fitting, self.seed, subset, encoder, self._table_key
        )

    @cached_property
    def _table_key(self) -> str:
        return made_from(self.table.to_bytes())

    def _measured(self, subset: Subset) -> dict[str, Any]:
        """A reward model and the rules on the test questions."""
        parts, model = self.parts, self.reward(subset)
        heldout = np.flatnonzero(self.table.heldout)
        columns = [*subset, *(int(column) for column in heldout)]
        asked = parts.table.rows(parts.test).columns(columns)
        learnt = parts.learnt.columns([self.trained.index(column) for column in subset])
        questions = self.questions[parts.test]
        scores = np.zeros((len(questions), len(columns)))
        choices: dict[str, Any] = {}
        if len(questions):
            scores = model.scores(questions, self.prompts[columns])
            others = {"lookup": _widened(lookup(learnt, asked), len(columns))}
            if subset == self.trained:  # Of one set of prompts, because it takes its time.
                lessons = self._lessons(parts.learnt_rows, subset)
                near = Neighbours(lessons, self.settings.neighbours)
                others["neighbours"] = near.scores(questions, self.prompts[columns])
            choices = of_choices(asked, scores, self.means[columns], others, self.settings)
        count = len(subset)
        return {
            "prompts": [self.table.names[column] for column in subset],
            "kind": model.kind,
            "rounds": model.estimator.rounds,
            "seen": of_rewards(asked.columns(range(count)), scores[:, :count]),
            "heldout": of_rewards(asked.columns(range(count, len(columns))), scores[:, count:]),
            "means": [float(self.means[column]) for column in subset],
            "choices": choices,
        }

    def _recommender(self, whole: dict[str, Any]) -> bytes:
        chosen = whole["choices"].get("irl0", {})
        made = {
            "encoder": self.embedder.name,
            "reward": f"reward/{'-'.join(map(str, self.trained))}",
            "prompts": list(self.table.prompts),
            "heldout": [bool(each) for each in self.table.heldout],
            "means": [None if np.isnan(each) else float(each) for each in self.means],
            "threshold": self.settings.threshold,
            "auc": whole["seen"].get("auc"),
            "gain": chosen.get("gain"),
        }
        return json.dumps(made, indent=1, ensure_ascii=False).encode()

    def _warnings(self) -> list[str]:
        found = list(self.settings.warnings)
        repeated, test = self.parts.repeated, len(self.parts.test)
        if repeated:
            found.append(
                f"{repeated} of {test} test questions are also learnt from; the figures say little "
                "of new questions"
            )
        smallest = min(map(len, self.subsets))
        if smallest == 1 and self.table.heldout.any() and not self._warned_of_one:
            found.append(
                "what is learnt from one prompt does not rank held-out prompts; the figures of one "
                "training prompt with held-out ones are chance"
            )
        return found

    @property
    def _warned_of_one(self) -> bool:
        return len(self.settings.prompts) == 1 and bool(self.settings.heldout)


def _widened(scores: np.ndarray[Any, Any], columns: int) -> np.ndarray[Any, Any]:
    """The same with columns for prompts that nothing is known of."""
    wide = np.full((len(scores), columns), -np.inf)
    wide[:, : scores.shape[1]] = scores
    return wide
