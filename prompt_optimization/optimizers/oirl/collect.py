"""Answers to the training questions under several prompts: the table that methods learn from.

A step collects the answers to a few questions under all prompts. Then each stage of the method is a
step.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.layout import Layout
from prompt_optimization.optimizers.base import Entry, Optimizer, Step, Tools, Tried
from prompt_optimization.optimizers.oirl.arrays import Flags
from prompt_optimization.optimizers.oirl.outcomes import Outcomes, keep_table, read_outcomes
from prompt_optimization.optimizers.oirl.prompts import prompt_key, texts_of
from prompt_optimization.optimizers.oirl.settings import TABLE, CollectSettings
from prompt_optimization.paths import user_path
from prompt_optimization.scoring.scorer import Scored, Scorer


class Collector(Optimizer):
    """Base class of methods that learn from a table of outcomes.

    Attributes:
        table: what became of the training questions under every prompt, so far.
        stages: how many of the method's are done.
        seed: of whatever the method draws.
    """

    settings: CollectSettings
    table: Outcomes

    def __init__(self, settings: CollectSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.stages = 0
        self.seed = 0
        # Greedy answers are all the same.
        self.draws = settings.draws if scorer.decoding.sampling else 1

    def _heldout(self) -> Sequence[str]:
        """Prompts that are tried on the questions set aside only."""
        return ()

    @abstractmethod
    def _set_aside(self, table: Outcomes) -> Flags:
        """[questions]: those that the method sets aside.

        Args:
            table: without outcomes.
        """

    @abstractmethod
    def _names(self) -> Sequence[str]:
        """The stages after collecting, in order; ``TABLE`` is the first."""

    @abstractmethod
    def _stage(self, name: str) -> tuple[list[str], dict[str, Any]]:
        """Carry out a stage; the table is kept already.

        Returns:
            what happened, in words, and what the log says of it.
        """

    def start(self, prompt: str) -> Scored:
        scored = super().start(prompt)
        self.seed = self.tools.rng.getrandbits(31)
        trained, heldout = (texts_of(each) for each in (self.settings.prompts, self._heldout()))
        texts = {name: Layout.normalise(text) for name, text in (trained | heldout).items()}
        for name, text in texts.items():
            if problem := self.scorer.problem(text):
                key = f"{self.settings.group}.{'heldout' if name in heldout else 'prompts'}"
                raise InputError(f"prompt '{name}' cannot be scored: {problem}", key=key)
        examples = self.scorer.examples
        empty = Outcomes(
            tuple(example.question for example in examples),
            tuple(example.answer for example in examples),
            tuple(texts.values()),
            tuple(texts),
            heldout=np.array([name in heldout for name in texts]),
            test=np.zeros(len(examples), bool),
            right=np.zeros((len(examples), len(texts))),
            draws=np.zeros((len(examples), len(texts)), np.int64),
            source={"kind": "collected", "model": self.scorer.models[0].info.name},
        )
        self.table = replace(empty, test=self._set_aside(empty))
        self._take_known()
        return scored

    def _take_known(self) -> None:
        """Fill in what the settings' table knows of the training questions and the prompts."""
        if not self.settings.table:
            return
        group = self.settings.group
        known = read_outcomes(user_path(self.settings.table), f"{group}.table").merged()
        rows = {key: row for row, key in enumerate(known.keys)}
        columns = {prompt_key(text): column for column, text in enumerate(known.prompts)}
        pairs = [
            (row, column, rows[key], columns[text])
            for row, key in enumerate(self.table.keys)
            for column, text in enumerate(map(prompt_key, self.table.prompts))
            if key in rows and text in columns
        ]
        if not pairs:
            raise InputError(
                f"table '{self.settings.table}' has none of the training questions under any of "
                "the prompts; give another one, or the questions and prompts that it is of",
                key=(f"{group}.table", f"{group}.prompts"),
            )
        right, draws = self.table.right.copy(), self.table.draws.copy()
        for row, column, there, prompt in pairs:
            right[row, column] = known.right[there, prompt]
            draws[row, column] = known.draws[there, prompt]
        self.table = replace(self.table, right=right, draws=draws)

    def _step(self) -> Step | None:
        if rows := self._wanted():
            return self._collect(rows[: self.settings.batch])
        names = self._names()
        if self.stages == len(names):
            return None
        name = names[self.stages]
        self.stages += 1
        before = self.incumbent
        with self.scorer.activity.phase(name):
            if name == TABLE:
                keep_table(self._tried, self.tools.artifacts)
                self._rank()
            events, details = self._stage(name)
        return self._made(name, events, accepted=self.incumbent is not before, **details)

    def _wanted(self) -> list[int]:
        """The training questions that a prompt lacks an answer to."""
        return [int(row) for row in np.flatnonzero(self._missing().any(1))]

    def _missing(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[questions, prompts]: held-out prompts are tried on test questions only."""
        table = self.table
        found: np.ndarray[Any, np.dtype[np.bool_]] = table.draws == 0
        found[np.ix_(~table.test, table.heldout)] = False
        return found

    def _collect(self, rows: list[int]) -> Step:
        """Draw the answers to some questions under every prompt that lacks them."""
        missing = self._missing()
        right, draws = self.table.right.copy(), self.table.draws.copy()
        with self.scorer.activity.phase("collect"):
            for draw in range(self.draws):
                # Prompts that lack the same questions go out together.
                groups: dict[tuple[int, ...], list[int]] = {}
                for column in range(len(self.table.prompts)):
                    lacking = tuple(row for row in rows if missing[row, column])
                    if lacking:
                        groups.setdefault(lacking, []).append(column)
                for lacking, columns in groups.items():
                    prompts = [self.table.prompts[column] for column in columns]
                    values = np.array(self.scorer.values(prompts, lacking, draw))
                    place = np.ix_(lacking, columns)
                    right[place] += values.T
                    draws[place] += 1
        before = self.table
        self.table = replace(before, right=right, draws=draws)
        asked = int(draws.sum() - before.draws.sum())
        return self._made(
            "collect",
            answers=asked,
            right=float(right.sum() - before.right.sum()) / asked,
            left=len(self._wanted()),
        )

    def _rank(self) -> None:
        """Put the prompts that were tried on every training question on the leaderboard."""
        if self.settings.table:  # What others have scored, the scorer does not know.
            return
        scores = self.scorer.score(self.table.learnt.prompts)
        self.leaderboard.add(Entry(each, self.steps) for each in scores)
        self.incumbent = self.leaderboard.best

    def _made(
        self, stage: str, events: Sequence[str] = (), accepted: bool = False, **details: Any
    ) -> Step:
        tried = []
        if stage == TABLE:
            tried = [
                Tried(self.table.names[self.table.prompts.index(entry.text)], entry.scored)
                for entry in self.leaderboard.entries
                if entry.text in self.table.prompts
            ]
        return Step(
            tried=tuple(tried),
            incumbent=self.incumbent,
            accepted=accepted,
            events=tuple(events),
            details={"stage": stage, **details},
        )

    @property
    def _tried(self) -> Outcomes:
        """The questions that some prompt was tried on: a budget may end the search with others."""
        return self.table.rows(np.flatnonzero(self.table.draws.any(1)))

    @property
    def _ranked(self) -> list[str]:
        """The prompts that are learnt from, best first by the table."""
        learnt = self.table.learnt
        return [learnt.prompts[column] for column in np.argsort(-learnt.means, kind="stable")]

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "stages": self.stages,
            "seed": self.seed,
            "test": torch.from_numpy(self.table.test.copy()),
            "right": torch.from_numpy(self.table.right.copy()),
            "draws": torch.from_numpy(self.table.draws.copy()),
            "prompts": list(self.table.prompts),
            "names": list(self.table.names),
            "heldout": [bool(each) for each in self.table.heldout],
            "source": dict(self.table.source),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.stages, self.seed = state["stages"], state["seed"]
        examples = self.scorer.examples
        self.table = Outcomes(
            tuple(example.question for example in examples),
            tuple(example.answer for example in examples),
            tuple(state["prompts"]),
            tuple(state["names"]),
            heldout=np.array(state["heldout"]),
            test=state["test"].numpy().copy(),
            right=state["right"].numpy().copy(),
            draws=state["draws"].numpy().copy(),
            source=dict(state["source"]),
        )
