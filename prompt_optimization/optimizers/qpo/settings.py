"""Which prompts are tried, what a prompt is worth on a question, and how the policy is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.keys import key
from prompt_optimization.optimizers.oirl.settings import CollectSettings
from prompt_optimization.optimizers.trained.settings import PolicySettings, check_training


@dataclass(frozen=True)
class QpoSettings(CollectSettings, PolicySettings, group="qpo"):
    """The table, the returns, the policy and its loops."""

    behaviour: str = key(
        "sound",
        "sound, or published for the returns, the choice of pairs and the constants of the "
        "release; it sets the keys below that say so, where they are not set by themselves",
        choices=("sound", "published"),
        variant=False,
        named={"published": "published behaviour"},
    )
    adapter: str = key(
        None,
        "the policy's weights that are trained: lora, or full for all of them",
        choices=("lora", "full"),
        by_behaviour={"sound": "lora", "published": "full"},
    )
    returns: str = key(
        None,
        "what the policy is asked for: advantage (the return less its mean over the prompts of "
        "that question) or raw (the return itself, which says most of how easy the question is)",
        choices=("advantage", "raw"),
        by_behaviour={"sound": "advantage", "published": "raw"},
    )
    correct: float = key(
        10.0, "weight of the question's own rate in its return", low=0.0, source="code"
    )
    prompt_mean: float = key(
        10.0, "weight of the prompt's rate over all questions in the return", low=0.0, source="code"
    )
    keep: str = key(
        None,
        "pairs that are learnt from: all, or above (those with a right answer, and of written "
        "prompts those with a higher return than the lowest of these)",
        choices=("all", "above"),
        by_behaviour={"sound": "all", "published": "above"},
    )
    epochs: int = key(
        None,
        "passes over the table's pairs",
        low=1,
        by_behaviour={"sound": 3, "published": 100},
    )
    loop_epochs: int = key(
        None,
        "passes over all pairs after each loop",
        low=1,
        by_behaviour={"sound": 1, "published": 20},
    )
    learning_rate: float = key(
        None,
        "of AdamW, falling linearly to 0",
        above=0.0,
        by_behaviour={"sound": 3e-4, "published": 1e-3},
    )
    loop_rate: float = key(1e-4, "the same after each loop", above=0.0, source="code")
    pairs: int = key(
        None,
        "pairs of one update",
        low=1,
        by_behaviour={"sound": 8, "published": 128},
    )
    loops: int = key(
        1, "times that the policy writes prompts, these are scored, and it is trained on", low=0
    )
    collect_rows: int = key(
        40,
        "training questions, at most half of them, that the loops write prompts for; the policy "
        "learns their outcomes in the loops only",
        low=1,
    )
    per_query: int = key(2, "prompts that a loop draws for a question", low=1)
    probe: int = key(
        8, "training questions that a written prompt's rate over all questions is measured on",
        low=1,
    )  # fmt: skip
    temperature: float = key(1.0, "of the prompts that a loop draws", above=0.0, high=10.0)
    top_p: float = key(0.9, "of the same", above=0.0, high=1.0, source="code")
    neighbours: int = key(15, "questions that the control by nearest neighbours looks at", low=1)

    @property
    def warnings(self) -> list[str]:
        found = super().warnings
        if self.behaviour == "published":
            found.append(
                "qpo.behaviour=published asks for a raw return and learns from successes only, so "
                "the policy learns little of which prompt suits which question"
            )
        if not self.loops:
            found += self.idle("without qpo.loops", "per_query", "probe", "temperature")
        return found

    def check(self) -> None:
        self.check_prompts()
        if not self.correct + self.prompt_mean:
            raise InputError(
                "both weights are 0, so every return is; set one",
                key=("qpo.correct", "qpo.prompt_mean"),
            )
        if not self.correct and self.returns == "advantage":
            raise InputError(
                "without the question's own rate every question has the same best prompt; set it",
                key="qpo.correct",
            )
        check_training("qpo")
        require_package("the method qpo", "oirl", "sklearn", key="method")

    def check_examples(self, examples: Sequence[Any]) -> None:
        if len(examples) < 2:
            raise InputError(
                "one training question is not enough to learn from; give more", key="n_train_data"
            )


SETTINGS = QpoSettings
