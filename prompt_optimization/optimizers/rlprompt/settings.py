"""How the policy writes, what it is rewarded with, and how it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prompt_optimization.errors import InputError
from prompt_optimization.keys import Settings, key

PARTS = ("single+multi", "single", "multi")


@dataclass(frozen=True)
class RlpromptSettings(Settings, group="rlprompt"):
    """The policy, its draws, its reward and its updates."""

    takes_masked: ClassVar[bool] = True

    behaviour: str = key(
        "sound",
        "sound, or published for the reward, the start and the constants of the release; it sets "
        "the keys below that say so, where they are not set by themselves",
        choices=("sound", "published"),
        variant=False,
        named={"published": "published behaviour"},
    )
    policy_model: str = key(
        "",
        "the frozen causal model under the policy, named as in model_paths; empty: a second copy "
        "of the model that the prompt is optimised for",
    )
    device: str = key("auto", "where the policy is: cpu, cuda:0, ..., or auto")
    hidden: int = key(2048, "width of the small network that is trained", low=1, source="code")
    start: str = key(
        None,
        "what the first draws are: lm (the policy's model's own words) or uniform (all tokens are "
        "about equally likely)",
        choices=("lm", "uniform"),
        by_behaviour={"sound": "lm", "published": "uniform"},
    )
    fluent_top_k: int = key(
        0, "draw only among that many tokens that the policy's model itself finds likeliest; 0: "
        "among all", low=0,
    )  # fmt: skip
    top_k: int = key(
        None,
        "draw among that many tokens that the policy finds likeliest; 0: among all",
        low=0,
        by_behaviour={"sound": 0, "published": 256},
    )
    length: int = key(5, "of a prompt, in the policy's tokens", low=1, source="paper")
    prompts_per_step: int = key(
        None,
        "prompts that a step draws",
        low=2,
        by_behaviour={"sound": 8, "published": 16},
    )
    reward: str = key(
        None,
        "of a prompt on a row: gap (the probability of the right answer less that of the "
        "likeliest other answer), hit (whether it is right, as the objective says) or "
        "hit_minus_loss (that, less the loss)",
        choices=("gap", "hit", "hit_minus_loss"),
        by_behaviour={"sound": "hit_minus_loss", "published": "gap"},
    )
    correct: float = key(200.0, "of reward=gap: weight of positive gaps", above=0.0, source="code")
    incorrect: float = key(180.0, "the same of negative gaps", above=0.0, source="code")
    normalise: str = key(
        "step",
        "z-scores of a step's prompts: step (of their means over rows) or input (within each row; "
        "then the mean over rows)",
        choices=("step", "input"),
        source="code",
    )
    algorithm: str = key(
        "soft_q",
        "how the policy learns: soft_q (soft Q-learning) or policy_gradient",
        choices=("soft_q", "policy_gradient"),
        source="paper",
    )
    parts: str = key(
        "single+multi",
        "of soft_q: consistency over single steps, over all steps to the end, or the mean of both",
        choices=PARTS,
        source="code",
    )
    scale: float = key(5.0, "of soft_q: factor of the z-scores", above=0.0, source="code")
    target_rate: float = key(
        0.001,
        "of soft_q: part of the way that the target copy moves towards the policy before an update",
        above=0.0,
        high=1.0,
        source="code",
    )
    entropy: float = key(0.0, "of policy_gradient: weight of the entropy of the draws", low=0.0)
    learning_rate: float = key(
        None,
        "of Adam",
        above=0.0,
        by_behaviour={"sound": 1e-4, "published": 5e-5},
    )
    clip: float = key(5.0, "largest norm of the gradient", above=0.0, source="code")
    control: str = key(
        "none",
        "draws beside each step's, on as many evaluations, that nothing is learnt from: policy "
        "(the policy as it was at first) or uniform (any tokens). Test measures the best of them",
        choices=("none", "policy", "uniform"),
    )

    @property
    def margins(self) -> bool:
        return self.reward == "gap"

    @property
    def warnings(self) -> list[str]:
        soft = self.algorithm == "soft_q"
        unused = {
            "parts": not soft and self.parts != "single+multi",
            "scale": not soft and self.scale != 5.0,
            "target_rate": not soft and self.target_rate != 0.001,
            "entropy": soft and self.entropy != 0.0,
        }
        found = [
            f"rlprompt.{name} has no effect with rlprompt.algorithm={self.algorithm}"
            for name, given in unused.items()
            if given
        ]
        found += [
            f"rlprompt.{name} has no effect with rlprompt.reward={self.reward}"
            for name, default in (("correct", 200.0), ("incorrect", 180.0))
            if self.reward != "gap" and getattr(self, name) != default
        ]
        if self.start == "uniform" and self.top_k:
            found.append(
                "rlprompt.top_k cuts draws that are almost uniform at first, so most tokens are "
                "never drawn"
            )
        return found

    def check_masked(self) -> None:
        if not self.policy_model:
            raise InputError(
                "the policy writes prompts, and a masked model writes nothing; name a causal "
                "model, such as distilgpt2",
                key="rlprompt.policy_model",
            )

    def check_examples(self, examples: Sequence[Any]) -> None:
        if self.reward == "gap" and len({example.answer for example in examples}) < 2:
            raise InputError(
                "the gap compares the right answer with others, and all training rows have the "
                "same; take hit or hit_minus_loss",
                key="rlprompt.reward",
            )


SETTINGS = RlpromptSettings
