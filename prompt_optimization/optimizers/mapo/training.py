"""The policy of each model: what it learns from, and its weights after every stage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prompt_optimization.optimizers.artifacts import Artifacts, made_from
from prompt_optimization.optimizers.mapo.race import Raced
from prompt_optimization.optimizers.mapo.settings import MapoSettings
from prompt_optimization.optimizers.trained.keep import train_once
from prompt_optimization.optimizers.trained.policy import Policy, Weights, of_bytes
from prompt_optimization.optimizers.trained.train import Lesson, Made, Reward, dpo, grpo, sft

REQUEST = "Rewrite this instruction, so that a language model follows it better:\n\n{prompt}"

# Counts the changes of what training of the same settings gives.
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


@dataclass(frozen=True)
class Training:
    """The stages that train policies.

    Attributes:
        models: names of those that policies are trained for.
        races: by original and model.
        reward: by the model's number, what rewrites are worth to it.
    """

    settings: MapoSettings
    artifacts: Artifacts
    models: Sequence[str]
    seed: int
    originals: Sequence[str]
    races: Sequence[Sequence[Raced]]
    reward: Callable[[int], Reward]

    def stages(self) -> list[str]:
        """The steps after the races, such as ``sft 0``."""
        found, targets = [], range(len(self.models))
        for target in targets:
            kinds = self.kinds(target)
            # A stage that has nothing to learn from says so.
            said = ["sft", *(["dpo"] if kinds and self.settings.prefer == "dpo" else [])]
            found += [f"{kind} {target}" for kind in dict.fromkeys([*said, *kinds])]
        return [*found, "report"] if any(map(self.kinds, targets)) else found

    def kinds(self, target: int) -> list[str]:
        """The stages that train the policy of a model, in order; none where it learns nothing."""
        own = self.settings
        wanted = ["sft", *([own.prefer] if own.prefer != "none" else [])]
        found = [kind for kind in wanted if self._lessons(kind, target)]
        if "sft" not in found:
            return []
        return [*found, own.rl] if own.rl != "none" else found

    def policy(self, target: int) -> Policy:
        """The policy of a model, before training.

        Raises:
            InputError: it cannot be loaded.
        """
        return Policy(self._model(target), self.settings, self.seed)

    def trained(self, kind: str, target: int) -> tuple[Weights, dict[str, Any]]:
        """The weights after a stage, and what the log says of them.

        Raises:
            As ``sft``, ``dpo`` and ``grpo``.
        """

        def train() -> tuple[Weights, dict[str, Any]]:
            weights, figures = self._train(kind, target)
            figure = "rewards" if kind == "grpo" else "losses"
            return weights, {"lessons": len(self._lessons(kind, target)), figure: figures}

        # What asks the model is never taken from a session before: the ledger counts it.
        data, details = train_once(
            self.artifacts, f"{kind}-{target}", self._key(kind, target), train,
            known=kind != "grpo",
        )  # fmt: skip
        return of_bytes(data), details | {"sha256": hashlib.sha256(data).hexdigest()}

    def _train(self, kind: str, target: int) -> Made:
        own, seed, before = self.settings, self.seed, self._before(kind, target)
        begin = self.trained(before, target)[0] if before else None
        policy, lessons = self.policy(target), self._lessons(kind, target)
        if kind == "sft":
            return sft(policy, lessons, seed, epochs=own.epochs, rate=own.learning_rate)
        if kind == "dpo":
            return dpo(
                policy, lessons, seed, begin=begin, epochs=own.prefer_epochs, rate=own.prefer_rate,
                beta=own.beta,
            )  # fmt: skip
        return grpo(
            policy, [each.request for each in lessons], self.reward(target), seed, begin=begin,
            updates=own.rl_steps, group=own.rl_group, rate=own.rl_rate, beta=own.kl,
        )  # fmt: skip

    def _model(self, target: int) -> str:
        return self.settings.policy_model or self.models[target]

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
        kinds = self.kinds(target)
        return ["", *kinds][kinds.index(kind)]
