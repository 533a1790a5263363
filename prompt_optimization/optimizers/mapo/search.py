"""MAPO (Chen et al., Findings of EMNLP 2023): prompts are rewritten for one model.

Each original is a step: a writer paraphrases it, and the candidates race. Then each stage of
training is a step, for each model that the prompt is optimised for: fine-tuning on the winners,
preferences, and reinforcement where it is asked for. The last step measures what the policies
rewrite, each on every model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

import numpy as np

from prompt_optimization.errors import InputError
from prompt_optimization.models.layout import Layout
from prompt_optimization.optimizers.base import Optimizer, Step, Tools
from prompt_optimization.optimizers.mapo.race import Raced, kind_of
from prompt_optimization.optimizers.mapo.settings import PROMPTS, MapoSettings
from prompt_optimization.optimizers.mapo.training import Training, request_of
from prompt_optimization.optimizers.text.compete import run_race
from prompt_optimization.optimizers.text.optimizer import Proposal, TextOptimizer
from prompt_optimization.optimizers.text.parse import cleaned, without_thinking
from prompt_optimization.optimizers.text.racing import least
from prompt_optimization.optimizers.trained.policy import Policy, check_policy
from prompt_optimization.optimizers.trained.train import Reward
from prompt_optimization.scoring.finalists import Finalist, Text
from prompt_optimization.scoring.scorer import Row, Scored, Scorer
from prompt_optimization.scoring.statistics import in_points, paired_difference

# Candidates of one original have to differ.
TEMPERATURE = 1.0

# The reward of a text that cannot be a prompt: less than that of any prompt.
UNUSABLE = -1.0


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
    baseline = "raced best"

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
        names = self._training.stages()
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
            proposals, scores, self.accept(scores), [_said(each, original) for each in told],
            stage="race", original=original, candidates=list(texts), races=told,
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

    @property
    def _training(self) -> Training:
        return Training(
            self.settings, self.tools.artifacts, [self._named(each) for each in self._targets],
            self.seed, self.originals, self.races, self._reward,
        )  # fmt: skip

    def _stage(self, name: str) -> Step:
        """Train a policy, and let it rewrite every prompt."""
        kind, _, number = name.partition(" ")
        target = int(number)
        training = self._training
        if kind not in training.kinds(target):
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
                told += self._write(training.policy(target), f"before {target}")
            weights, details = training.trained(kind, target)
            policy = training.policy(target)
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

    def _named(self, target: int) -> str:
        return self.scorer.models[target].info.name

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
        trained = [target for target in self._targets if self._training.kinds(target)]
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
            f"the rewrites of the {each['of']} ({each['count']}) gain {in_points(each)} over them "
            f"on {each['n']} fresh rows of {each['target']}"
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
            last = [kind] == self._training.kinds(int(own))[-1:]
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
        return self.rewrites[f"{self._training.kinds(target)[-1]} {target}"][: len(self.originals)]

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


def _said(race: dict[str, Any], original: str) -> str:
    """What came out of a race, in words; ``race`` is what the log holds of it."""
    candidates = len(race["costs"]) - 1
    if race["winner"] == original:
        return f"none of {candidates} candidates did better than the original on {race['model']}"
    return (
        f"the best of {candidates} candidates gains {in_points(race['gain_raced'])} on the rows of "
        f"its race and {in_points(race['gain_fresh'])} on fresh ones of {race['model']}"
    )


OPTIMIZER = Mapo
