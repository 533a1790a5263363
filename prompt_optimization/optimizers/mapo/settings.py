"""Which prompts are rewritten, how candidates are raced, and how the policy is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prompt_optimization.errors import InputError
from prompt_optimization.keys import key
from prompt_optimization.optimizers.text.induction import PARAPHRASE
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.optimizers.text.racing import MEANING, MOST, RACES
from prompt_optimization.optimizers.text.settings import TextSettings
from prompt_optimization.optimizers.trained.settings import PolicySettings, check_training
from prompt_optimization.tasks.texts import different_lines


@dataclass(frozen=True)
class MapoSettings(PolicySettings, TextSettings, group="mapo"):
    """The originals, their candidates, the race, and the stages of training."""

    metaprompts: ClassVar[Mapping[str, MetaPrompt]] = {"paraphrase": PARAPHRASE}

    behaviour: str = key(
        "sound", "sound; no code of MAPO was released, so there is no other", choices=("sound",),
        variant=False,
    )  # fmt: skip
    originals: tuple[str, ...] = key(
        (), "prompts, besides the initial one, whose rewrites are raced and learnt from",
        variant=False,
    )  # fmt: skip
    unseen: tuple[str, ...] = key(
        (),
        "prompts that nothing is learnt from; the policy rewrites them to show what it does with "
        "new ones",
        variant=False,
    )
    candidates: int = key(32, "rewrites of each original that the writer is asked for", low=1)
    pool: str = key(
        "",
        "a text file with rewrites, one a line, in place of those that are written; every original "
        "is raced against all of them",
    )
    race: str = key(
        "halving",
        f"{MEANING}; halving: all on 8 questions, the best quarter on 16 more, the best of these "
        "on all",
        choices=("halving", *RACES),
    )
    fresh: float = key(
        0.25,
        "share of the training questions that no race sees; winners and rewrites are measured on "
        "them",
        above=0.0,
        high=0.9,
    )
    top: int = key(
        4,
        "rewrites of an original that the policy learns to write: the best of those that did "
        "better than it",
        low=1,
    )
    epochs: int = key(3, "passes over these", low=1)
    learning_rate: float = key(3e-4, "of AdamW, falling linearly to 0", above=0.0)
    prefer: str = key(
        "dpo",
        "what follows: dpo (direct preference optimisation on pairs of candidates that differ "
        "beyond chance on the questions that both ran on) or none",
        choices=("dpo", "none"),
    )
    preferences: int = key(16, "pairs of an original at most: those that differ most", low=1)
    prefer_epochs: int = key(1, "passes over the pairs", low=1)
    prefer_rate: float = key(5e-5, "learning rate of the same", above=0.0)
    beta: float = key(
        0.1, "how closely dpo stays to the policy that was fine-tuned", above=0.0, source="code"
    )
    rl: str = key(
        "none",
        "what follows then: none, or grpo (group relative policy optimisation; the reward of a "
        "rewrite is what it gains over its original when the model answers)",
        choices=("none", "grpo"),
    )
    rl_steps: int = key(10, "updates of grpo, each on the rewrites of one original", low=1)
    rl_group: int = key(8, "rewrites of an update", low=2)
    rl_rows: int = key(16, "training questions of an update, drawn anew for each", low=1)
    rl_rate: float = key(5e-5, "learning rate of grpo", above=0.0)
    kl: float = key(
        0.05, "weight of grpo's divergence from the policy that it begins with", low=0.0
    )
    paraphrase_file: str = key(
        "", "a file with a meta-prompt in place of the method's own; its slot is {prompt}"
    )

    @property
    def warnings(self) -> list[str]:
        found = super().warnings
        if self.pool:
            found += self.idle("with mapo.pool", "candidates")
        if self.prefer == "none":
            names = ["preferences", "prefer_epochs", "prefer_rate", "beta"]
            found += self.idle("with mapo.prefer=none", *names)
        if self.rl == "none":
            names = ["rl_steps", "rl_group", "rl_rows", "rl_rate", "kl"]
            found += self.idle("with mapo.rl=none", *names)
        return found

    def check(self) -> None:
        super().check()
        texts = {name: [text.strip() for text in getattr(self, name)] for name in PROMPTS}
        for name, own in texts.items():
            if not all(own):
                raise InputError("one of the prompts is empty; leave it out", key=f"mapo.{name}")
        every = [text for own in texts.values() for text in own]
        if len({*every}) < len(every):
            raise InputError(
                "a prompt is given twice; leave one out",
                key=tuple(f"mapo.{name}" for name, own in texts.items() if own),
            )
        if (racing := 1 + self.offered) > MOST:
            raise InputError(
                f"{racing} prompts would race for an original; offer at most {MOST - 1} rewrites",
                key="mapo.pool" if self.pool else "mapo.candidates",
            )
        if self.rl == "grpo" and self.adapter == "full" and self.kl:
            raise InputError(
                "grpo measures its divergence from a copy that only a LoRA keeps; train a LoRA, or "
                "give the divergence no weight",
                key=("mapo.adapter", "mapo.kl"),
            )
        check_training("mapo")

    def check_examples(self, examples: Sequence[Any]) -> None:
        if len(examples) < 2:
            raise InputError(
                "one training question is raced on, so none is left to measure on; give more",
                key="n_train_data",
            )

    @property
    def offered(self) -> int:
        """Rewrites of each original that may race."""
        return len(self.given()) or self.candidates

    def given(self) -> list[str]:
        """The pool's prompts, each once; none without a pool.

        Raises:
            InputError: the file cannot be read.
        """
        return different_lines(self.pool, "mapo.pool")

    def held_back(self, examples: int) -> int:
        """How many of ``examples`` training questions no race sees."""
        return min(examples - 1, max(1, round(self.fresh * examples)))


# The keys that hold prompts.
PROMPTS = ("originals", "unseen")

SETTINGS = MapoSettings
