"""Collect answers under several prompts, train a policy on them, let it write, score, train again.

After collecting, each stage is a step: table, policy 0, and for each loop written and policy. What
is trained is an artifact; what is written and scored belongs to the state.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np

from prompt_optimization.models.layout import Layout
from prompt_optimization.optimizers.artifacts import made_from
from prompt_optimization.optimizers.base import Tools
from prompt_optimization.optimizers.oirl.arrays import Flags
from prompt_optimization.optimizers.oirl.collect import Collector
from prompt_optimization.optimizers.oirl.estimators import Lessons, Neighbours
from prompt_optimization.optimizers.oirl.features import vectors_of
from prompt_optimization.optimizers.oirl.outcomes import Outcomes
from prompt_optimization.optimizers.oirl.select import choose
from prompt_optimization.optimizers.oirl.settings import TABLE
from prompt_optimization.optimizers.qpo.returns import (
    HIGHEST,
    Levels,
    Pair,
    Returns,
    kept,
    shuffled,
)
from prompt_optimization.optimizers.qpo.settings import QpoSettings
from prompt_optimization.optimizers.trained.keep import train_once
from prompt_optimization.optimizers.trained.policy import (
    Policy,
    Weights,
    check_policy,
    of_bytes,
)
from prompt_optimization.optimizers.trained.train import Lesson, sft
from prompt_optimization.scoring.finalists import Finalist, Rule, Text
from prompt_optimization.scoring.scorer import Scorer

REQUEST = "Write an instruction for a model that answers this.\n{question}\nScore, 0 to 9: {level}"

# Counts the changes of what training or writing of the same settings gives.
VERSION = 1


def request_of(question: str, level: int) -> str:
    """What the policy is asked."""
    return REQUEST.format(question=question.strip(), level=level)


def lessons_of(pairs: Sequence[Pair]) -> list[Lesson]:
    """What the policy learns from."""
    return [Lesson(request_of(each.question, each.level), each.prompt) for each in pairs]


class Qpo(Collector):
    """Query-dependent prompt optimisation: a policy that writes a prompt for each question.

    Attributes:
        written: by loop, the prompts that the policy has written, each with the row of its
            question, the rate of its answers, and the prompt's rate on the probe.
    """

    settings: QpoSettings

    def __init__(self, settings: QpoSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.written: list[list[dict[str, Any]]] = []
        # The policy, and the loop and kind of training whose weights it has.
        self._policy: tuple[tuple[int, bool], Policy] | None = None

    @classmethod
    def check_models(cls, settings: QpoSettings, names: Sequence[str]) -> None:
        check_policy(settings.policy_model or names[0], settings)

    def _set_aside(self, table: Outcomes) -> Flags:
        """The questions that the loops write for; what comes again stays on its side."""
        keys = list(dict.fromkeys(table.keys))
        own = self.settings
        count = min(own.collect_rows, len(keys) // 2) if own.loops else 0
        chosen = {*random.Random(self.seed).sample(keys, count)}
        return np.array([key in chosen for key in table.keys])

    def _names(self) -> Sequence[str]:
        loops = range(1, self.settings.loops + 1)
        more = [name for loop in loops for name in (f"written {loop}", f"policy {loop}")]
        return (TABLE, "policy 0", *more, "shuffled")

    def _stage(self, name: str) -> tuple[list[str], dict[str, Any]]:
        kind, _, number = name.partition(" ")
        idle = self._idle
        if idle:
            return [idle] if name == TABLE else [], {}
        details: dict[str, Any] = {}
        if kind == "written":
            details = self._write(int(number))
        elif kind == "policy":
            _, details = self._trained(int(number))
        elif kind == "shuffled":
            _, details = self._trained(self.settings.loops, shuffle=True)
        return [], details

    # --- What is learnt from ---

    @cached_property
    def _all(self) -> Outcomes:
        """Every question once; read after collecting only."""
        return self._tried.merged()

    @cached_property
    def _returns(self) -> Returns:
        return Returns(self._all, ~self._all.test, self.settings)

    @cached_property
    def _pairs(self) -> list[Pair]:
        """Those of the table that are learnt from."""
        rows = np.flatnonzero(~self._all.test)
        pairs = [pair for row in rows for pair in self._returns.pairs(int(row))]
        return kept(pairs, self.settings.keep)

    @cached_property
    def _levels(self) -> Levels:
        return Levels([pair.value for pair in self._pairs])

    @property
    def _idle(self) -> str:
        """A sentence where there is nothing to learn; else empty."""
        if self._pairs and not self._levels.alike:
            return ""
        return (
            "no prompt did better than another on any question that is learnt from, so no policy "
            "is trained; the prompts stand for election as they are"
        )

    def _lessons(self, loop: int) -> list[Pair]:
        """The table's pairs and those of the first loops, with their levels."""
        least = min(pair.value for pair in self._pairs)
        found = list(self._pairs)
        for each in self.written[:loop]:
            pairs = [
                self._returns.written(one["row"], one["prompt"], one["right"], one["mean"])
                for one in each
            ]
            found += kept(pairs, self.settings.keep, least)
        return self._levels.of(found)

    # --- The policy ---

    @property
    def _model(self) -> str:
        return self.settings.policy_model or self.scorer.models[0].info.name

    def _key(self, loop: int, shuffle: bool) -> str:
        own = self.settings
        parts = [asdict(pair) for pair in self._lessons(loop)]
        trained = {
            name: getattr(own, name)
            for name in ("adapter", "rank", "epochs", "loop_epochs", "learning_rate", "loop_rate",
                         "pairs", "device")
        }  # fmt: skip
        return made_from(VERSION, REQUEST, self._model, trained, self.seed, loop, shuffle, parts)

    def _trained(self, loop: int, shuffle: bool = False) -> tuple[Weights, dict[str, Any]]:
        """The weights after a loop, and what the log says of them.

        Args:
            shuffle: of the control, whose pairs' levels are dealt anew. It begins with the model's
                own weights and sees all pairs in ``epochs`` passes.
        """

        def train() -> tuple[Weights, dict[str, Any]]:
            own, pairs = self.settings, self._lessons(loop)
            first = shuffle or not loop
            begin = None if first else self._trained(loop - 1)[0]
            seed = self.seed + loop
            made, losses = sft(
                Policy(self._model, own, seed),
                lessons_of(shuffled(pairs, self.seed) if shuffle else pairs),
                seed, begin=begin,
                epochs=own.epochs if first else own.loop_epochs,
                rate=own.learning_rate if first else own.loop_rate,
            )  # fmt: skip
            return made, {"pairs": len(pairs), "losses": losses}

        name = "shuffled" if shuffle else f"policy-{loop}"
        key = self._key(loop, shuffle)
        data, details = train_once(self.tools.artifacts, name, key, train)
        return of_bytes(data), details

    def _ready(self, loop: int, shuffle: bool = False) -> Policy:
        """The policy with the weights after a loop."""
        which = loop, shuffle
        if self._policy is None or self._policy[0] != which:
            weights, _ = self._trained(*which)
            policy = self._policy[1] if self._policy else Policy(
                self._model, self.settings, self.seed
            )  # fmt: skip
            policy.load(weights)
            self._policy = which, policy
        return self._policy[1]

    # --- A loop ---

    def _write(self, loop: int) -> dict[str, Any]:
        """Let the policy write for the questions set aside, and score what it wrote."""
        own, table = self.settings, self._all
        rows = [int(row) for row in np.flatnonzero(table.test)]
        texts = self._ready(loop - 1).write(
            [request_of(table.questions[row], HIGHEST) for row in rows], draws=own.per_query,
            temperature=own.temperature, top_p=own.top_p, seed=self.seed + loop,
        )  # fmt: skip
        wanted: dict[int, list[str]] = {}
        dropped = 0
        for row, each in zip(rows, texts, strict=True):
            usable = [one for one in map(Layout.normalise, each) if self.can_try(one)]
            wanted[row] = list(dict.fromkeys(usable))
            dropped += len(each) - len(usable)
        means = self._means([one for each in wanted.values() for one in each])
        found: list[dict[str, Any]] = []
        for done, (row, prompts) in enumerate(wanted.items()):
            self.scorer.activity.progress(done, len(wanted))
            rates = self._rates(row, prompts)
            found += [
                {"row": row, "prompt": one, "right": rates[one], "mean": means[one]}
                for one in prompts
            ]
        self.written = [*self.written, found]
        told = [one | {"question": table.questions[one["row"]]} for one in found]
        return {"written": told, "dropped": dropped}

    def _means(self, prompts: Sequence[str]) -> dict[str, float]:
        """The rates of the table's prompts, and of ``prompts`` by the probe."""
        table = self._all
        found = dict(zip(table.prompts, self._returns.means.tolist(), strict=True))
        for each in self.written:
            found |= {one["prompt"]: one["mean"] for one in each}
        new = [one for one in dict.fromkeys(prompts) if one not in found]
        if new:
            learnt = [int(row) for row in np.flatnonzero(~table.test)]
            probe = random.Random(self.seed).sample(learnt, min(self.settings.probe, len(learnt)))
            values = self.scorer.values(new, [self._places[row] for row in probe])
            found |= {one: float(np.mean(own)) for one, own in zip(new, values, strict=True)}
        return found

    def _rates(self, row: int, prompts: Sequence[str]) -> dict[str, float]:
        """The rates of right answers to a question; what the table knows is not asked again."""
        table = self._all
        known = dict(zip(table.prompts, table.rates[row].tolist(), strict=True))
        found = {one: known[one] for one in prompts if not np.isnan(known.get(one, np.nan))}
        new = [one for one in prompts if one not in found]
        if new:
            place = [self._places[row]]
            drawn = [self.scorer.values(new, place, draw) for draw in range(self.draws)]
            rates = np.array(drawn).mean((0, 2))
            found |= dict(zip(new, rates.tolist(), strict=True))
        return found

    @cached_property
    def _places(self) -> dict[int, int]:
        """The training example of each row of the table in which questions stand once."""
        first: dict[str, int] = {}
        for place, key in enumerate(self.table.keys):
            first.setdefault(key, place)
        return {row: first[key] for row, key in enumerate(self._all.keys)}

    # --- What stands for election, and beside it ---

    def _rule(self, name: str, loop: int, level: int = HIGHEST, shuffle: bool = False) -> Rule:
        """What a policy writes for a question; the best single prompt where that is no prompt."""
        place = f"wrote/{'shuffled' if shuffle else f'policy-{loop}'}-{level}.json"
        key = made_from(self._key(loop, shuffle), self.settings.length)

        def prompt_for(question: str) -> str:
            data = self.tools.artifacts.get(place, key)
            known: dict[str, str] = json.loads(data) if data else {}
            if question not in known:
                policy = self._ready(loop, shuffle)
                ((text,),) = policy.write([request_of(question, level)])
                known[question] = text
                made = json.dumps(known, indent=1, ensure_ascii=False).encode()
                self.tools.artifacts.put(place, key, made)
            prompt = Layout.normalise(known[question])
            return prompt if self.can_try(prompt) else self._ranked[0]

        return Rule(f"qpo {name}", prompt_for)

    def finalists(self) -> list[Finalist]:
        """The policies after each loop, and the prompts, best first."""
        texts: list[Finalist] = [Text(each) for each in self._ranked[: self.tools.top_prompts]]
        if self.stages < 2 or self._idle:
            return texts
        loops = range((self.stages - 2) // 2, -1, -1)
        return [*(self._rule(f"policy {loop} writes", loop) for loop in loops), *texts]

    def contenders(self) -> dict[str, Finalist]:
        """The last policy, and what it has to beat: prompts and rules of the same table, the
        policy when it is asked for the lowest return, and one that learnt from shuffled returns."""
        found: dict[str, Finalist] = {}
        best = Text(self._ranked[0])
        if not self.stages or self._idle:
            return {"best single prompt": best}
        last, pool = max(0, self.stages - 2) // 2, self.table.learnt.prompts
        if self.stages > 1:
            found["policy"] = self._rule(f"policy {last} writes", last)
            found["lowest return"] = self._rule("policy asked for the lowest return", last, level=0)
        if self.stages == len(self._names()):
            found["shuffled returns"] = self._rule("policy of shuffled returns", last, shuffle=True)

        def drawn(question: str) -> str:
            return random.Random(f"{self.seed} {question}").choice(pool)

        by_knn, nearest = self._nearest(self.settings.neighbours), self._nearest(1)
        return found | {
            "best single prompt": best,
            "oirl's choice": Rule("qpo: oirl's choice by knn", by_knn),
            "nearest question": Rule("qpo: the nearest question's best prompt", nearest),
            "random prompt": Rule("qpo: a prompt of the pool by chance", drawn),
        }

    def _nearest(self, count: int) -> Callable[[str], str]:
        """A question -> the prompt that was best on the ``count`` most similar questions."""
        embedder, artifacts = self.tools.embedder, self.tools.artifacts
        assert embedder is not None
        learnt = self._all.rows(np.flatnonzero(~self._all.test))
        vectors = vectors_of(learnt.questions, embedder, artifacts)
        prompts = vectors_of([each.strip() for each in learnt.prompts], embedder, artifacts)
        near = Neighbours(Lessons(vectors, prompts, learnt.right, learnt.draws), count)

        def prompt_for(question: str) -> str:
            scores = near.scores(embedder.embed([question]), prompts)
            best = choose("irl0", scores, learnt.heldout, self._returns.means, 0.0)
            return learnt.prompts[int(best[0])]

        return prompt_for

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"written": [[*each] for each in self.written]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.written = [[*each] for each in state["written"]]
        self._policy = None
        # Of another table, perhaps.
        for name in ("_all", "_returns", "_pairs", "_levels", "_places"):
            self.__dict__.pop(name, None)


OPTIMIZER = Qpo
