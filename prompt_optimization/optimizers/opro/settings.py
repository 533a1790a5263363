"""What the writer is shown in a step of OPRO, and how much it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from prompt_optimization.keys import key
from prompt_optimization.optimizers.opro.metaprompts import PROPOSE
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.optimizers.text.settings import TextSettings


@dataclass(frozen=True)
class OproSettings(TextSettings, group="opro"):
    """The trajectory, the exemplars and the request."""

    metaprompts: ClassVar[Mapping[str, MetaPrompt]] = {"meta_prompt": PROPOSE}

    proposals: int = key(8, "replies that a step asks for", low=1, source="paper")
    keep: int = key(20, "prompts that the writer is shown, the best ones", low=1, source="paper")
    exemplars: int = key(
        3, "training questions that the writer is shown, drawn in every step", low=0, source="paper"
    )
    exemplar_rule: str = key(
        "random",
        "random: draw them from all questions; wrong: from those whose answers under the incumbent "
        "are worth at most a half, as the mean over the models, or from all where none is",
        choices=("random", "wrong"),
        source="code",
    )
    threshold: float = key(
        None,
        "prompts with a smaller share of right answers are not shown",
        low=0.0,
        high=1.0,
        by_behaviour={"sound": 0.0, "published": 0.1},
    )
    score_scale: int = key(100, "the score of a prompt without a mistake", low=1, source="paper")
    max_characters: int = key(
        None,
        "a longer prompt is dropped; 0: max_prompt_tokens alone decides",
        low=0,
        by_behaviour={"sound": 0, "published": 500},
    )
    drop_digits: bool = key(False, "drop prompts with a digit, as the released code does for GSM8K")
    meta_prompt_file: str = key(
        "",
        "a file with a meta-prompt in place of the method's own; its slots are {trajectory} and "
        "{exemplars}",
    )


SETTINGS = OproSettings
