"""How APO criticises and edits prompts, and how many it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from prompt_optimization.errors import InputError
from prompt_optimization.keys import key
from prompt_optimization.optimizers.apo.metaprompts import EDIT, REASON
from prompt_optimization.optimizers.text.induction import PARAPHRASE, PARAPHRASE_FILE
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.optimizers.text.racing import EXPLORATION, MEANING, MOST, RACES
from prompt_optimization.optimizers.text.settings import TextSettings


@dataclass(frozen=True)
class ApoSettings(TextSettings, group="apo"):
    """The beam, the expansion of its prompts, and the race."""

    reads_answers = True
    metaprompts: ClassVar[Mapping[str, MetaPrompt]] = {
        "reason": REASON,
        "edit": EDIT,
        "paraphrase": PARAPHRASE,
    }

    variant: str = key(
        "protegi",
        "protegi: the paper's APO; pe2: the one of PE2's code, which stands in GReaTer's Table 1: "
        "several reasons in one reply, one edit for them, no paraphrases",
        choices=("protegi", "pe2"),
        variant=False,
        named={"pe2": "PE2's"},
    )
    rounds: int = key(
        None,
        "steps of the search",
        free=True,
        low=1,
        by_behaviour={"sound": 6, "published": 6},
        by_variant={"pe2": 3},
    )
    beam: int = key(4, "prompts that a step expands, the best ones", low=1, source="code")
    minibatch: int = key(
        None,
        "training questions, drawn in every step, whose wrong answers are criticised; 0: all",
        low=0,
        by_behaviour={"sound": 0, "published": 64},
        by_variant={"pe2": 0},
    )
    reasons: int = key(
        4, "requests that criticise a prompt, each for other wrong answers", low=1, source="code"
    )
    reasons_each: int = key(
        None,
        "reasons that such a request asks for",
        low=1,
        by_behaviour={"sound": 1, "published": 1},
        by_variant={"pe2": 5},
    )
    errors: int = key(
        None,
        "wrong answers that such a request shows, and the request for the edit too",
        low=1,
        by_behaviour={"sound": 4, "published": 4},
        by_variant={"pe2": 2},
    )
    edits: int = key(1, "new prompts for each criticism", low=1, source="code")
    edit_temperature: float = key(
        None,
        "temperature at which they are written",
        low=0.0,
        by_behaviour={"sound": 0.7, "published": 0.7},
        by_variant={"pe2": 0.0},
    )
    max_words: int = key(
        None,
        "words that they are asked to have at most",
        low=0,
        limit=True,
        by_behaviour={"sound": 0, "published": 0},
        by_variant={"pe2": 50},
    )
    paraphrases: int = key(
        None,
        "paraphrases of each new prompt, and of a prompt of the beam that got nothing wrong",
        low=0,
        by_behaviour={"sound": 1, "published": 2},
        by_variant={"pe2": 0},
    )
    paraphrase_beam: bool = key(
        None,
        "paraphrase every prompt of the beam",
        by_behaviour={"sound": False, "published": True},
        by_variant={"pe2": False},
    )
    expansion: int = key(
        8,
        "new prompts of each prompt of the beam that are scored; of more, chance takes these",
        low=1,
        source="code",
    )
    race: str = key(
        None,
        MEANING,
        choices=tuple(RACES),
        by_behaviour={"sound": "full", "published": "ucb"},
        by_variant={"pe2": "full"},
    )
    race_rows: int = key(
        None,
        "rows that race=rejects or ucb spends in a step; 0: half of what the full race costs",
        low=0,
        by_behaviour={"sound": 0, "published": 2048},
    )
    exploration: float = key(
        None,
        "how much race=ucb favours prompts that ran on few rows",
        low=0.0,
        by_behaviour={"sound": EXPLORATION, "published": 1.0},
    )
    reason_file: str = key(
        "",
        "a file with a meta-prompt in place of the criticism's own; its slots are {prompt}, "
        "{errors} and {reasons} (how many)",
    )
    edit_file: str = key(
        "",
        "a file with a meta-prompt in place of the edit's own; its slots are {prompt}, {errors}, "
        "{reason} and {length} (how many words)",
    )
    paraphrase_file: str = key("", PARAPHRASE_FILE)

    def check(self) -> None:
        super().check()
        racing = self.beam * (1 + self.expansion)
        if racing > MOST:
            raise InputError(
                f"{racing} prompts would race in a step; ask for at most {MOST}",
                key=("apo.beam", "apo.expansion"),
            )


SETTINGS = ApoSettings
