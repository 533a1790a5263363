"""A step draws prompts from the policy, scores them, and updates the policy by their rewards."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.loading import load_config, load_tokenizer, network_kind
from prompt_optimization.models.memory import is_out_of_memory
from prompt_optimization.models.placement import resolve_devices
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.optimizers.base import Entry, Optimizer, Step, Tools, Tried
from prompt_optimization.optimizers.own_model import worded_for
from prompt_optimization.optimizers.rlprompt.losses import (
    entropy,
    move_towards,
    normalised,
    policy_gradient,
    soft_q,
)
from prompt_optimization.optimizers.rlprompt.policy import Adapter, PromptPolicy
from prompt_optimization.optimizers.rlprompt.rewards import Reward
from prompt_optimization.optimizers.rlprompt.settings import RlpromptSettings
from prompt_optimization.optimizers.rlprompt.spelling import Draw, Spelling
from prompt_optimization.scoring.finalists import Finalist, Text
from prompt_optimization.scoring.scorer import Scored, Scorer

# Prompts whose rewards are remembered; the one that was drawn least recently is forgotten first.
REMEMBERED = 4096

# Largest z-score of rewards that differ by rounding alone.
ALIKE = 1e-6


class RlPrompt(Optimizer):
    """Reinforcement learning of discrete prompts.

    Attributes:
        seed: of the policy's first weights.
        skipped: steps whose prompts all had the same reward.
        best_control: the best prompt of the control's draws; None before the first.
    """

    settings: RlpromptSettings

    def __init__(self, settings: RlpromptSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.seed = 0
        self.skipped = 0
        self.best_control: Scored | None = None
        # By prompt, its reward on each row.
        self._rewards: OrderedDict[str, list[float]] = OrderedDict()
        self._learner: Learner | None = None

    @classmethod
    def check_models(cls, settings: RlpromptSettings, names: Sequence[str]) -> None:
        name = settings.policy_model or names[0]
        with worded():
            resolve_devices(settings.device)
            network_kind(ModelSettings(name), load_config(ModelSettings(name)))
            tokenizer, _ = load_tokenizer(ModelSettings(name))
            Spelling(name, tokenizer)

    def start(self, prompt: str) -> Scored:
        """As ``Optimizer.start``.

        Raises:
            InputError: the policy cannot be loaded, nothing that it draws can be scored, or the
                reward cannot distinguish the answers.
        """
        self._check_answers()
        own, most = self.settings, self.tools.max_prompt_tokens
        if own.length > most:
            raise InputError(
                f"prompts of {own.length} tokens are longer than the longest that is allowed, "
                f"{most}; shorten them or raise it",
                key=("rlprompt.length", "max_prompt_tokens"),
            )
        self.seed = self.tools.rng.getrandbits(31)
        name, context = self.learner.policy.name, self.learner.policy.language.context
        if context is not None and own.length >= context:
            raise InputError(
                f"the policy '{name}' reads {context} tokens, too few for prompts of {own.length}; "
                "shorten them or choose another policy",
                key=("rlprompt.length", "rlprompt.policy_model"),
            )
        if not self._drawn():
            raise InputError(
                f"nothing that the policy '{name}' draws can be a prompt of "
                f"{own.length} tokens; choose another policy or length",
                key=("rlprompt.policy_model", "rlprompt.length"),
            )
        scored = super().start(prompt)
        self._rewards[scored.text] = self._reward(scored, self.scorer.rows())
        return scored

    @property
    def learner(self) -> Learner:
        """The policy with what updates it; loaded when it is first needed."""
        if self._learner is None:
            name = self.settings.policy_model or self.scorer.models[0].info.name
            self._learner = Learner(name, self.settings, self.seed)
        return self._learner

    @cached_property
    def _first(self) -> Adapter:
        """The policy as it was at first."""
        return self.learner.policy.untrained()

    def _step(self) -> Step | None:
        own = self.settings
        with self.scorer.activity.phase("draw"):
            draws = self._drawn(top_k=own.top_k)
        before = self.incumbent
        spent = self.scorer.ledger.evaluations
        scores = self._score(list(dict.fromkeys(draw.text for draw in draws)))
        spent = self.scorer.ledger.evaluations - spent
        events = []
        if len(draws) < own.prompts_per_step:
            events.append(f"{own.prompts_per_step - len(draws)} draws could not be a prompt")
        details: dict[str, Any] = {"drawn": [draw.text.strip() for draw in draws]}
        if draws:
            with self.scorer.activity.phase("learn"):
                details |= self._learn(draws)
            if not details["learnt"]:
                self.skipped += 1
                events.append("every draw had the same reward, so nothing was learnt")
        if own.control != "none" and spent:
            details["control"] = self._draw_control(spent // len(self.scorer.rows()))
        self.incumbent = self.leaderboard.best
        return Step(
            tried=tuple(Tried(each.text.strip(), each) for each in scores),
            incumbent=self.incumbent,
            accepted=self.incumbent.text != before.text,
            events=tuple(events),
            details=details | {"skipped": self.skipped},
        )

    def _drawn(self, **more: Any) -> list[Draw]:
        """Prompts that the policy draws and the scorer can score."""
        own = self.settings
        seed = self.tools.rng.getrandbits(62)
        with worded():
            drawn = self.learner.policy.draw(own.prompts_per_step, own.length, seed, **more)
        return [draw for draw in drawn if self.can_try(draw.text)]

    def _score(self, texts: Sequence[str]) -> list[Scored]:
        """Those of ``texts`` whose rewards are not known, scored; they join the leaderboard."""
        for text in texts:
            if text in self._rewards:
                self._rewards.move_to_end(text)
        new = [text for text in texts if text not in self._rewards]
        if not new:
            return []
        with self.scorer.activity.phase("score"):
            scores = self.scorer.score(new)
        reward = self._reward
        for each in scores:
            self._rewards[each.text] = reward(each, self.scorer.rows())
        while len(self._rewards) > REMEMBERED:
            self._rewards.popitem(last=False)
        self.leaderboard.add(Entry(each, self.steps) for each in scores)
        return scores

    @property
    def _reward(self) -> Reward:
        own = self.settings
        return Reward(self.scorer, own.reward, correct=own.correct, incorrect=own.incorrect)

    def _learn(self, draws: Sequence[Draw]) -> dict[str, Any]:
        """Update the policy; what the log says of it."""
        weights = torch.tensor(self.scorer.weights(self.scorer.rows()), dtype=torch.float64)
        values = torch.tensor([self._rewards[each.text] for each in draws], dtype=torch.float64)
        rewards = values @ (weights / weights.sum())
        z = normalised(values, weights, self.settings.normalise == "input")
        details = {
            "rewards": rewards.tolist(),
            "mean_reward": float(rewards.mean()),
            "z": z.tolist(),
        }
        if bool((z.abs() < ALIKE).all()):
            return details | {"learnt": False}
        with worded():
            details |= self.learner.update(draws, z.float())
        greedy = self.learner.policy.greedy(self.settings.length)
        return details | {"learnt": True, "greedy": greedy}

    def _draw_control(self, count: int) -> dict[str, Any]:
        """Score ``count`` prompts of the control, none of which the policy has drawn."""
        uniform, found = self.settings.control == "uniform", list[str]()
        # As many as the policy's own, or fewer where nothing new is drawn any more.
        for _ in range(4):
            drawn = self._drawn(adapter=self._first, uniform=uniform)
            found += [draw.text for draw in drawn if draw.text not in self._rewards]
            found = list(dict.fromkeys(found))[:count]
            if len(found) == count:
                break
        scores = []
        if found:
            with self.scorer.activity.phase("control"):
                scores = self.scorer.score(found)
        best = [self.best_control, *scores] if self.best_control else scores
        reward, rows = self._reward, self.scorer.rows()
        self.best_control = max(
            best, key=lambda each: self._worth(reward(each, rows)), default=None
        )
        return {"drawn": [each.text.strip() for each in scores]} | (
            {"best": self.best_control.record()} if self.best_control else {}
        )

    def finalists(self) -> Sequence[Finalist]:
        """The prompts with the largest rewards, best first."""
        ranked = sorted(self._rewards, key=lambda text: (-self._worth(self._rewards[text]), text))
        return [Text(text) for text in ranked[: self.tools.top_prompts]]

    def _worth(self, values: Sequence[float]) -> float:
        """The sum of the rewards ``values``, weighed as their rows are."""
        weights = self.scorer.weights(self.scorer.rows())
        return sum(weight * value for weight, value in zip(weights, values, strict=True))

    def contenders(self) -> dict[str, Finalist]:
        """The best draw by chance, at as many evaluations as the policy's draws took."""
        return {"best of random draws": Text(self.best_control.text)} if self.best_control else {}

    def _check_answers(self) -> None:
        """Refuse answers that the gap cannot distinguish."""
        if self.settings.reward != "gap":
            return
        first: dict[int, str] = {}
        encoded = self.scorer.encoded
        for target, example in zip(encoded.targets, encoded.examples, strict=True):
            if not target.answer:
                continue
            other = first.setdefault(target.answer[0], example.answer)
            if other != example.answer:
                raise InputError(
                    f"the gap compares the first tokens of answers, and '{other}' and "
                    f"'{example.answer}' begin with the same; take hit or hit_minus_loss",
                    key="rlprompt.reward",
                )
        if len(first) < 2:
            raise InputError(
                "the gap compares the right answer after the extractor with others, and there is "
                "none; take the reward hit",
                key=("rlprompt.reward", "extractor_text"),
            )

    def state_dict(self) -> dict[str, Any]:
        texts = list(self._rewards)
        return super().state_dict() | {
            "seed": self.seed,
            "skipped": self.skipped,
            "control": self.best_control,
            "rewarded": texts,
            "rewards": torch.tensor([self._rewards[text] for text in texts], dtype=torch.float64),
            "learner": self.learner.state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.seed, self.skipped = state["seed"], state["skipped"]
        self.best_control = state["control"]
        rewards = state["rewards"].tolist()
        self._rewards = OrderedDict(zip(state["rewarded"], rewards, strict=True))
        self.learner.load_state(state["learner"])


class Learner:
    """The policy, its target copy and its optimizer."""

    def __init__(self, name: str, own: RlpromptSettings, seed: int) -> None:
        """
        Args:
            name: of the policy's model.
            seed: of its first weights.

        Raises:
            InputError: it cannot be loaded.
        """
        self.own = own
        with worded():
            self.policy = PromptPolicy(
                name, own.device, hidden=own.hidden, residual=own.start == "lm",
                fluent=own.fluent_top_k, seed=seed,
            )  # fmt: skip
        self.target = self.policy.untrained()
        self.adam = torch.optim.Adam(self.policy.adapter.parameters(), lr=own.learning_rate)

    def update(self, draws: Sequence[Draw], z: torch.Tensor) -> dict[str, Any]:
        """One update by the z-scores ``z`` [draws] of the rewards; what the log says of it."""
        own, policy, device = self.own, self.policy, self.policy.device
        tokens = torch.tensor([draw.ids for draw in draws], device=device)
        states = policy.states([draw.ids for draw in draws])[:, :-1]
        logits, z = policy.logits(states), z.to(device)
        if own.algorithm == "soft_q":
            move_towards(self.target, policy.adapter, own.target_rate)
            with torch.no_grad():
                target = policy.logits(states, self.target)
            parts = soft_q(logits, target, tokens, own.scale * z, tuple(own.parts.split("+")))
            loss = torch.stack([*parts.values()]).mean()
        else:
            parts = policy_gradient(logits, tokens, z, own.entropy)
            loss = torch.stack([*parts.values()]).sum()
        self.adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(policy.adapter.parameters(), own.clip)
        self.adam.step()
        return {
            "losses": {name: part.item() for name, part in parts.items()},
            "gradient_norm": float(norm),
            "entropy": float(entropy(logits.detach())),
        }

    def state(self) -> dict[str, Any]:
        """A copy of all that updates change."""
        moments = self.adam.state_dict()["state"]
        return {
            "policy": self.policy.state(),
            "target": {name: each.clone().cpu() for name, each in self.target.state_dict().items()},
            "moments": {
                str(number): {name: each.clone().cpu() for name, each in own.items()}
                for number, own in moments.items()
            },
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken."""
        self.policy.load_state(state["policy"])
        self.target.load_state_dict(state["target"])
        adam = self.adam.state_dict()
        adam["state"] = {int(number): dict(own) for number, own in state["moments"].items()}
        self.adam.load_state_dict(adam)


@contextmanager
def worded() -> Iterator[None]:
    """Refusals of the policy name the keys of this method, and so does a lack of memory."""
    try:
        with worded_for("rlprompt"):
            yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            "memory does not hold what the policy draws in a step; draw fewer prompts, or choose a "
            "smaller policy",
            key=("rlprompt.prompts_per_step", "rlprompt.policy_model"),
        ) from None


OPTIMIZER = RlPrompt
