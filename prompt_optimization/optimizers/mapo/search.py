"""MAPO (Chen et al., Findings of EMNLP 2023): prompts are rewritten for one model.

Each original is a step: a writer paraphrases it, and the candidates race. Then each stage of
training is a step, for each model that the prompt is optimised for: fine-tuning on the winners,
preferences, and reinforcement where it is asked for. The last step measures what the policies
rewrite, each on every model.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

import numpy as np

from prompt_optimization.errors import InputError
from prompt_optimization.models.layout import Layout
from prompt_optimization.optimizers.artifacts import made_from
from prompt_optimization.optimizers.base import Optimizer, Step, Tools
from prompt_optimization.optimizers.mapo.race import Raced, kind_of
from prompt_optimization.optimizers.mapo.settings import PROMPTS, MapoSettings
from prompt_optimization.optimizers.text.compete import run_race
from prompt_optimization.optimizers.text.optimizer import Proposal, TextOptimizer
from prompt_optimization.optimizers.text.parse import cleaned, without_thinking
from prompt_optimization.optimizers.text.racing import least
from prompt_optimization.optimizers.trained.policy import (
    Policy,
    Weights,
    check_policy,
    of_bytes,
    to_bytes,
)
from prompt_optimization.optimizers.trained.train import Lesson, Made, Reward, dpo, grpo, sft
from prompt_optimization.scoring.finalists import Finalist, Text
from prompt_optimization.scoring.scorer import Row, Scored, Scorer
from prompt_optimization.scoring.statistics import paired_difference

REQUEST = "Rewrite this instruction, so that a language model follows it better:\n\n{prompt}"

# Candidates of one original have to differ.
TEMPERATURE = 1.0

# The reward of a text that cannot be a prompt: less than that of any prompt.
UNUSABLE = -1.0

# Counts the changes of what training or writing of the same settings gives.
VERSION = 1

# The settings that the weights after a stage depend on, beside those of the stages before it.
OF_POLICY = ("adapter", "rank", "pairs", "device")
OF_STAGE = {
    "sft": ("epochs", "learning_rate"),
    "dpo": ("prefer_epochs", "prefer_rate", "beta"),
    "grpo": ("rl_steps", "rl_group", "rl_rows", "rl_rate", "kl", "length"),
}


def request_of(prompt: str) -> str:
    """What the policy is asked."""
    return REQUEST.format(prompt=prompt.strip())


class Mapo(TextOptimizer):
    """Model-adaptive prompt optimisation: a policy learns to rewrite prompts.

    Attributes:
        fresh: numbers of the training examples that no race sees.
        originals: the prompts that are learnt from, the initial one first.
        unseen: prompts that are rewritten and not learnt from.
        races: by original and model.
        stages: how many are done after the races.
        rewrites: what a policy made of ``originals`` and ``unseen``, by stage and model, such as
            ``sft 0``; ``before 0`` is before training. What cannot be a prompt is the original.
        winner: the best prompt that came out of a race.
    """

    settings: MapoSettings

    def __init__(self, settings: MapoSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.pool = [Layout.normalise(text) for text in settings.given()]
        self.seed = 0
        self.fresh: list[int] = []
        self.originals: list[str] = []
        self.unseen: list[str] = []
        self.races: list[list[Raced]] = []
        self.stages = 0
        self.rewrites: dict[str, list[str]] = {}
        self.winner: Scored | None = None

    @classmethod
    def check_models(cls, settings: MapoSettings, names: Sequence[str]) -> None:
        for name in dict.fromkeys(settings.policy_model or each for each in names):
            check_policy(name, settings)

    @classmethod
    def first_round(cls, settings: MapoSettings, examples: int, models: int) -> int:
        """Those of the initial prompt, of its race for each model, and of each winner on the rows
        that its race did not see."""
        raced = examples - settings.held_back(examples)
        race = least(kind_of(settings.race), 1 + settings.offered, raced, keep=settings.top)
        rows = examples * models
        return rows + models * (race + rows - raced)

    def start(self, prompt: str) -> Scored:
        given = {
            name: [Layout.normalise(text) for text in getattr(self.settings, name)]
            for name in PROMPTS
        }
        for name, texts in given.items():
            for text in texts:
                if problem := self.scorer.problem(text):
                    raise InputError(
                        f"prompt '{text.strip()}' cannot be scored: {problem}", key=f"mapo.{name}"
                    )
        if prompt in given["unseen"]:
            raise InputError(
                f"prompt '{prompt.strip()}' is the initial one, which is learnt from; leave it out",
                key="mapo.unseen",
            )
        scored = super().start(prompt)
        rng, count = self.tools.rng, len(self.scorer.examples)
        self.seed = rng.getrandbits(31)
        self.fresh = sorted(rng.sample(range(count), self.settings.held_back(count)))
        self.originals = list(dict.fromkeys([prompt, *given["originals"]]))
        self.unseen = given["unseen"]
        self.known.update(dict.fromkeys([*self.originals, *self.unseen]))
        return scored

    def step(self) -> Step | None:
        """As ``TextOptimizer.step`` where the writer is asked."""
        if len(self.races) < len(self.originals) and not (self.settings.pool and self.races):
            return super().step()
        self._begin()
        return Optimizer.step(self)

    def _step(self) -> Step | None:
        if len(self.races) < len(self.originals):
            return self._race()
        names = self._stages()
        if self.stages == len(names):
            return None
        name = names[self.stages]
        self.stages += 1
        return self._report() if name == "report" else self._stage(name)

    # --- Races ---

    @property
    def raced(self) -> list[int]:
        """Numbers of the training examples that races run on."""
        return [i for i in range(len(self.scorer.examples)) if i not in self.fresh]

    @property
    def _targets(self) -> range:
        """The models that prompts are rewritten for, by number."""
        return range(len(self.scorer.models))

    def _race(self) -> Step:
        """Let an original's candidates race for each model."""
        original = self.originals[len(self.races)]
        proposals = self._candidates(original)
        texts = self.pool if self.settings.pool else [each.text for each in proposals]
        races = []
        for target in self._targets:
            rows = [(target, number) for number in self.raced]
            self.tools.rng.shuffle(rows)
            racers, kind = [original, *texts], kind_of(self.settings.race)
            with self.scorer.activity.phase("race"):
                ranked, race = run_race(self.scorer, racers, rows, kind, keep=self.settings.top)
            costs = tuple(tuple(each) for each in race.costs)
            races.append(Raced(tuple(racers), costs, tuple(ranked)))
        self.known.update(dict.fromkeys(texts))
        scores = self.score(list(dict.fromkeys([original, *(each.winner for each in races)])))
        self.winner = min([*([self.winner] if self.winner else []), *scores], key=lambda s: s.order)
        self.races = [*self.races, races]
        told = [
            {
                "model": self._named(target),
                "costs": [list(costs) for costs in race.costs],
                "winner": race.winner,
                "gain_raced": self._gain([original], [race.winner], target, self.raced),
                "gain_fresh": self._gain([original], [race.winner], target, self.fresh),
            }
            for target, race in enumerate(races)
        ]
        return self.made(
            proposals, scores, self.accept(scores), stage="race", original=original,
            candidates=list(texts), races=told,
        )  # fmt: skip

    def _candidates(self, original: str) -> list[Proposal]:
        """What is new: of a pool, once; of the writer, for each original."""
        if not self.settings.pool:
            slots = {"prompt": original.strip()}
            ask = self.ask(
                "paraphrase", (original,), slots, draws=self.settings.candidates,
                temperature=TEMPERATURE,
            )  # fmt: skip
            return self.propose([ask])
        if self.races:
            return []
        found = [each for text in self.pool if (each := self.propose_given(text))]
        self.pool = [each.text for each in found]
        return found

    # --- Training ---

    def _lessons(self, kind: str, target: int) -> list[Lesson]:
        """What a stage learns from: of ``sft`` the winners, of ``dpo`` pairs, of ``grpo`` the
        originals."""
        own, found = self.settings, []
        for original, races in zip(self.originals, self.races, strict=True):
            request, race = request_of(original), races[target]
            if kind == "sft":
                found += [Lesson(request, text.strip()) for text in race.better(own.top)]
            elif kind == "dpo":
                pairs = race.preferences(own.preferences)
                found += [Lesson(request, one.strip(), other.strip()) for one, other in pairs]
            else:
                found.append(Lesson(request, ""))
        return found

    def _kinds(self, target: int) -> list[str]:
        """The stages that train the policy of a model, in order; none where it learns nothing."""
        own = self.settings
        wanted = ["sft", *([own.prefer] if own.prefer != "none" else [])]
        found = [kind for kind in wanted if self._lessons(kind, target)]
        if "sft" not in found:
            return []
        return [*found, own.rl] if own.rl != "none" else found

    def _stages(self) -> list[str]:
        found = []
        for target in self._targets:
            kinds = self._kinds(target)
            # A stage that has nothing to learn from says so.
            said = ["sft", *(["dpo"] if kinds and self.settings.prefer == "dpo" else [])]
            found += [f"{kind} {target}" for kind in dict.fromkeys([*said, *kinds])]
        return [*found, "report"] if any(map(self._kinds, self._targets)) else found

    def _stage(self, name: str) -> Step:
        """Train a policy, and let it rewrite every prompt."""
        kind, _, number = name.partition(" ")
        target = int(number)
        if kind not in self._kinds(target):
            said = {
                "sft": "no candidate did better than its original on all rows of its race, so no "
                f"policy is trained for {self._named(target)}",
                "dpo": "no two candidates of an original differ beyond chance, so there is nothing "
                f"to prefer for {self._named(target)}",
            }[kind]
            return self.made([], [], False, [said], stage=name)
        with self.scorer.activity.phase(kind):
            told = []
            if kind == "sft":
                policy = Policy(self._model(target), self.settings, self.seed)
                told += self._write(policy, f"before {target}")
            weights, details = self._trained(kind, target)
            policy = Policy(self._model(target), self.settings, self.seed)
            policy.load(weights)
            told += self._write(policy, name)
        return self.made([], [], False, stage=name, rewrites=told, **details)

    def _write(self, policy: Policy, stage: str) -> list[dict[str, Any]]:
        """Let a policy rewrite every prompt; what it wrote, for the log."""
        asked = [*self.originals, *self.unseen]
        told, made = [], []
        for original, (text,) in zip(
            asked, policy.write([request_of(each) for each in asked]), strict=True
        ):
            prompt = self._usable(text)
            made.append(prompt or original)
            told.append({"by": stage, "original": original, "wrote": text, "used": bool(prompt)})
        self.rewrites = {**self.rewrites, stage: made}
        return told

    def _usable(self, text: str) -> str:
        """The prompt that a policy wrote; empty where it can be none."""
        prompt = Layout.normalise(cleaned(without_thinking(text)))
        return "" if self.problem(prompt) else prompt

    def _model(self, target: int) -> str:
        return self.settings.policy_model or self._named(target)

    def _named(self, target: int) -> str:
        return self.scorer.models[target].info.name

    def _key(self, kind: str, target: int) -> str:
        """Of the weights after a stage."""
        before, own = self._before(kind, target), self.settings
        if before:
            begun = self._key(before, target)
        else:
            of_policy = {name: getattr(own, name) for name in OF_POLICY}
            begun = made_from(VERSION, REQUEST, self._model(target), of_policy, self.seed)
        of_stage = {name: getattr(own, name) for name in OF_STAGE[kind]}
        lessons = [asdict(each) for each in self._lessons(kind, target)]
        return made_from(begun, kind, of_stage, lessons)

    def _before(self, kind: str, target: int) -> str:
        """The stage whose weights a stage begins with; empty for the policy's own."""
        kinds = self._kinds(target)
        return ["", *kinds][kinds.index(kind)]

    def _trained(self, kind: str, target: int) -> tuple[Weights, dict[str, Any]]:
        """The weights after a stage, and what the log says of them."""
        name, key, artifacts = f"{kind}-{target}", self._key(kind, target), self.tools.artifacts
        # What asks the model is never taken from a session before: the ledger counts it.
        known = kind != "grpo"
        data = artifacts.get(f"{name}.safetensors", key) if known else None
        about = artifacts.get(f"{name}.json", key) if known else None
        if data is None or about is None:
            weights, figures = self._train(kind, target)
            data = to_bytes(weights)
            figure = "rewards" if kind == "grpo" else "losses"
            lessons = len(self._lessons(kind, target))
            about = json.dumps({"lessons": lessons, figure: figures}).encode()
            artifacts.put(f"{name}.safetensors", key, data)
            artifacts.put(f"{name}.json", key, about)
        details: dict[str, Any] = json.loads(about)
        return of_bytes(data), details | {"sha256": hashlib.sha256(data).hexdigest()}

    def _train(self, kind: str, target: int) -> Made:
        own, seed, before = self.settings, self.seed, self._before(kind, target)
        begin = self._trained(before, target)[0] if before else None
        policy, lessons = Policy(self._model(target), own, seed), self._lessons(kind, target)
        if kind == "sft":
            return sft(policy, lessons, seed, epochs=own.epochs, rate=own.learning_rate)
        if kind == "dpo":
            return dpo(
                policy, lessons, seed, begin=begin, epochs=own.prefer_epochs, rate=own.prefer_rate,
                beta=own.beta,
            )  # fmt: skip
        return grpo(
            policy, [each.request for each in lessons], self._reward(target), seed, begin=begin,
            updates=own.rl_steps, group=own.rl_group, rate=own.rl_rate, beta=own.kl,
        )  # fmt: skip

    def _reward(self, target: int) -> Reward:
        """What rewrites gain over their original on some rows, which each update draws."""
        asked = {request_of(original): original for original in self.originals}

        def reward(request: str, texts: Sequence[str], update: int) -> list[float]:
            self.scorer.activity.progress(update, self.settings.rl_steps)
            rng = random.Random(f"{self.seed} {target} {update}")
            numbers = rng.sample(self.raced, min(self.settings.rl_rows, len(self.raced)))
            rows = [(target, number) for number in numbers]
            original, prompts = asked[request], [self._usable(text) for text in texts]
            running = list(dict.fromkeys([original, *filter(None, prompts)]))
            self.scorer.score(running, rows)  # Side by side; what follows is known then.
            total = sum(self.scorer.weights(rows))
            costs = {text: sum(self.costs(text, rows)) / total for text in running}
            return [costs[original] - costs[each] if each else UNUSABLE for each in prompts]

        return reward

    # --- What came of it ---

    def _report(self) -> Step:
        """Score the last rewrites on all rows, and measure those of every stage on the fresh
        ones."""
        trained = [target for target in self._targets if self._kinds(target)]
        scores = self.score(list(dict.fromkeys(t for each in trained for t in self._last(each))))
        with self.scorer.activity.phase("report"):
            gains = self._gains()
            adapted = [
                {"target": self._named(target), "other": self._named(other)}
                | self._gain(self._last(other), self._last(target), target, self.fresh)
                for target, other in product(trained, trained)
                if target != other
            ]
        said = [
            f"the rewrites of {each['count']} {each['of']} gain {100 * each['value']:.1f} points "
            f"[{100 * each['low']:.1f}, {100 * each['high']:.1f}] over them on {each['n']} fresh "
            f"rows of {each['target']}"
            for each in gains
            if each["last"] and each["policy"] == each["target"]
        ]
        return self.made(
            [], scores, self.accept(scores), said, stage="report", gains=gains, adapted=adapted
        )

    def _gains(self) -> list[dict[str, Any]]:
        """What the prompts of every stage gain over their originals on the fresh rows, by the
        model that they were made for and the model that answers."""
        made = {f"race {own}": [each[own].winner for each in self.races] for own in self._targets}
        found = []
        for (name, texts), target in product((made | self.rewrites).items(), self._targets):
            kind, _, own = name.partition(" ")
            last = [kind] == self._kinds(int(own))[-1:]
            for of, before, after in (
                ("originals", self.originals, texts[: len(self.originals)]),
                ("unseen prompts", self.unseen, texts[len(self.originals) :]),
            ):
                if after:
                    found.append(
                        {
                            "stage": kind,
                            "policy": self._named(int(own)),
                            "target": self._named(target),
                            "of": of,
                            "count": len(after),
                            "last": last,
                        }
                        | self._gain(before, after, target, self.fresh)
                    )
        return found

    def _last(self, target: int) -> list[str]:
        """What the policy of a model made of the originals in the end."""
        return self.rewrites[f"{self._kinds(target)[-1]} {target}"][: len(self.originals)]

    def _gain(
        self, before: Sequence[str], after: Sequence[str], target: int, numbers: Sequence[int]
    ) -> dict[str, Any]:
        """What prompts gain in the mean over those that they replace, on examples as a model
        answers them."""
        rows: list[Row] = [(target, number) for number in numbers]
        self.scorer.score(list(dict.fromkeys([*before, *after])), rows)

        def values(texts: Sequence[str]) -> list[float]:
            costs = [self.scorer.costs(text, rows) for text in texts]
            return [1 - float(np.mean(row)) for row in zip(*costs, strict=True)]

        weights = self.scorer.weights(rows)
        return asdict(paired_difference(values(before), values(after), weights))

    def contenders(self) -> dict[str, Finalist]:
        """The best prompt of the races, which had the same budget; the initial prompt as a policy
        rewrites it before and after training; unseen prompts, and what became of them."""
        if self.winner is None:
            return {}
        found: dict[str, Finalist] = {"raced best": Text(self.winner.text)}
        before, done = self.rewrites.get("before 0"), [*self.rewrites]
        last = [name for name in done if name.endswith(" 0")]
        if before is None:
            return found
        after = self.rewrites[last[-1]]
        found |= {"before training": Text(before[0]), "rewritten": Text(after[0])}
        for number, text in enumerate(self.unseen, 1):
            place = len(self.originals) + number - 1
            found |= {
                f"unseen {number}": Text(text),
                f"unseen {number} rewritten": Text(after[place]),
            }
        return found

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "pool": list(self.pool),
            "seed": self.seed,
            "fresh": list(self.fresh),
            "originals": list(self.originals),
            "unseen": list(self.unseen),
            "races": [[asdict(race) for race in races] for races in self.races],
            "stages": self.stages,
            "rewrites": {stage: list(texts) for stage, texts in self.rewrites.items()},
            "winner": self.winner,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.pool, self.seed = list(state["pool"]), state["seed"]
        self.fresh, self.stages = list(state["fresh"]), state["stages"]
        self.originals, self.unseen = list(state["originals"]), list(state["unseen"])
        self.races = [[Raced.of_state(race) for race in races] for races in state["races"]]
        self.rewrites = {stage: list(texts) for stage, texts in state["rewrites"].items()}
        self.winner = state["winner"]


OPTIMIZER = Mapo
