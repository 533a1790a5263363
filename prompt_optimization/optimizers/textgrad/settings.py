"""What TextGrad gives feedback on, and when it keeps an updated prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from prompt_optimization.keys import key
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.optimizers.text.settings import TextSettings
from prompt_optimization.optimizers.textgrad.metaprompts import (
    ANSWER_FEEDBACK,
    PROMPT_FEEDBACK,
    UPDATE,
)


@dataclass(frozen=True)
class TextGradSettings(TextSettings, group="textgrad"):
    """The batches, the feedback and the acceptance."""

    reads_answers = True
    metaprompts: ClassVar[Mapping[str, MetaPrompt]] = {
        "answer_feedback": ANSWER_FEEDBACK,
        "prompt_feedback": PROMPT_FEEDBACK,
        "update": UPDATE,
    }
    chosen_on_dev: ClassVar[bool] = True

    steps: int = key(12, "steps of the search", low=1, source="code")
    batch: int = key(3, "training questions of a step", low=1, source="code")
    epoch: int = key(
        None,
        "batches after which the questions are shuffled anew; 0: they are shuffled once, and every "
        "epoch goes through all of them in this order",
        low=0,
        by_behaviour={"sound": 0, "published": 4},
    )
    feedback_on: str = key(
        None,
        "wrong: give feedback on wrong answers, and skip batches without any; all: on right ones "
        "too",
        choices=("wrong", "all"),
        by_behaviour={"sound": "wrong", "published": "all"},
    )
    hops: int = key(
        2,
        "2: feedback on each answer first, which the feedback on the prompt sees; 1: on the prompt "
        "at once",
        low=1,
        high=2,
        source="code",
    )
    memory: int = key(0, "earlier steps whose feedback the update sees too", low=0, source="code")
    accept: str = key(
        None,
        "better: keep an updated prompt that is better; equal: one that is not worse, too, when "
        "the loss would decide",
        choices=("better", "equal"),
        by_behaviour={"sound": "better", "published": "equal"},
    )
    answer_feedback_file: str = key(
        "",
        "a file with a meta-prompt in place of the answer feedback's own; its slots are {example} "
        "and {verdict}",
    )
    prompt_feedback_file: str = key(
        "",
        "a file with a meta-prompt in place of the prompt feedback's own; its slots are {prompt}, "
        "{example} and {feedback}",
    )
    update_file: str = key(
        "",
        "a file with a meta-prompt in place of the update's own; its slots are {prompt}, "
        "{feedback} and {memory} (earlier feedback)",
    )


SETTINGS = TextGradSettings
