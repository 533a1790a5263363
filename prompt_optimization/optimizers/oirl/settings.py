"""Which prompts are tried, how their outcomes are cut, and what learns from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from prompt_optimization.errors import InputError, did_you_mean
from prompt_optimization.extras import require_package
from prompt_optimization.keys import Settings, key
from prompt_optimization.optimizers.oirl.prompts import HELD_OUT, TRAINING, prompt_key, texts_of

# The stage that keeps the answers once they are collected.
TABLE = "table"
# What a run of oirl does from then on, in order.
STAGES = (TABLE, "features", "reward", "report")
KINDS = ("lightgbm", "xgboost", "logistic", "knn", "mlp")
# The package that learns, and the module that it is imported as, beside scikit-learn.
PACKAGES = {"lightgbm": ("lightgbm",), "xgboost": ("xgboost",)}
RULES = ("irl0", "irl10", "heldout", "mixed")
# Prompts that a run keeps every answer of.
MOST = 200


@dataclass(frozen=True)
class CollectSettings(Settings):
    """Base class of the settings of a method that learns from a table of outcomes."""

    reads_answers = True
    #: Whole sentences stand after the question, and what is drawn under them is judged.
    defaults: ClassVar[Mapping[str, Any]] = {
        "objective": "answers",
        "selection_control_weight": 0.0,
        "connector": "",
        "control_init": " Let's think step by step.",
        "max_prompt_tokens": 64,
        "reasoning.temperature": 0.6,
        "reasoning.top_p": 0.9,
    }

    prompts: tuple[str, ...] = key(
        tuple(TRAINING),
        "prompts that are tried on every training question: texts, or names of the method's pool",
        variant=False,
    )
    draws: int = key(
        None,
        "answers that are drawn to a question under a prompt; at temperature 0 there is one",
        low=1,
        by_behaviour={"sound": 3, "published": 1},
    )
    batch: int = key(8, "questions whose answers a step collects, under all prompts", low=1)
    table: str = key(
        "",
        "outcomes that are known already: a table.npz of another run, or one that greater "
        "import-table made; a run collects only what it lacks",
        variant=False,
    )

    @property
    def embeds(self) -> bool:
        return True

    def check_prompts(self, heldout: tuple[str, ...] | None = None) -> None:
        """Refuse prompts that there is nothing to choose among.

        Args:
            heldout: further ones, where the method has a key for them.

        Raises:
            InputError: some have to be refused.
        """
        own = f"{self.group}.prompts"
        keys = (own,) if heldout is None else (own, f"{self.group}.heldout")
        every = [*self.prompts, *(heldout or ())]
        if len(every) < 2:
            raise InputError("there is one prompt to choose from; give at least two", key=keys)
        if not self.prompts:
            raise InputError("no prompt to learn from; give at least one", key=own)
        texts = [prompt_key(text) for text in texts_of(every).values()]
        if not all(texts):
            raise InputError("one of the prompts is empty; leave it out", key=own)
        if len({*texts}) < len(every):
            raise InputError("a prompt is given twice; leave one out", key=keys)
        if len(every) > MOST:
            raise InputError(f"{len(every)} prompts are too many; give at most {MOST}", key=keys)


@dataclass(frozen=True)
class OirlSettings(CollectSettings, group="oirl"):
    """Prompts, the split of their outcomes, the reward model, and the rules of choice."""

    behaviour: str = key(
        "sound",
        "sound, or published for the split, model and constants of the release, whose test "
        "questions may stand among those it trains on; it sets the keys below that say so, where "
        "they are not set by themselves",
        choices=("sound", "published"),
        variant=False,
        named={"published": "published behaviour"},
    )
    heldout: tuple[str, ...] = key(
        None,
        "prompts that the reward model does not learn from, and may still choose; they are tried "
        "on the table's test questions only",
        by_behaviour={"sound": (), "published": tuple(HELD_OUT)},
        variant=False,
    )
    stage: str = key(
        "report",
        "the stage after which the search ends: table (all answers are collected), features, "
        "reward, report",
        choices=STAGES,
        variant=False,
    )
    split: str = key(
        None,
        "which questions measure the reward model: question (a share that is drawn; a question "
        "that comes again stays on its side) or table (those that the table marks; of a table that "
        "marks none, the last rows)",
        choices=("question", "table"),
        by_behaviour={"sound": "question", "published": "table"},
    )
    test_share: float = key(
        0.3, "share of the questions that measure it, where they are drawn", low=0.0, high=0.9
    )
    validation: float = key(
        0.2,
        "share of the other questions that early stopping and calibration use; under split=table "
        "the last rows of the table's training part",
        low=0.0,
        high=0.9,
        source="code",
    )
    subsets: str = key(
        None,
        "the sets of prompts that a reward model is fitted for: whole, or all for every subset of "
        "prompts, as in the paper's figures",
        choices=("whole", "all"),
        by_behaviour={"sound": "whole", "published": "all"},
        variant=False,
    )
    reward: str = key(
        None,
        "the reward model",
        choices=KINDS,
        by_behaviour={"sound": "lightgbm", "published": "xgboost"},
    )
    eta: float = key(
        None,
        "learning rate of the trees",
        above=0.0,
        high=1.0,
        by_behaviour={"sound": 0.05, "published": 0.001},
    )
    rounds: int = key(
        None,
        "trees at most; of mlp, passes over the pairs",
        low=1,
        by_behaviour={"sound": 400, "published": 2000},
    )
    patience: int = key(
        None,
        "rounds without a better log-loss on the validation questions after which fitting ends; "
        "0: never",
        low=0,
        by_behaviour={"sound": 30, "published": 0},
    )
    depth: int = key(10, "depth of a tree of xgboost", low=1, source="code")
    leaves: int = key(63, "leaves of a tree of lightgbm", low=2)
    neighbours: int = key(15, "questions that knn takes the mean over", low=1)
    calibrate: bool = key(
        None,
        "scale the reward model's scores on the validation questions, so that they are chances",
        by_behaviour={"sound": True, "published": False},
    )
    rules: tuple[str, ...] = key(
        ("irl0", "irl10", "mixed"),
        "rules that stand for election on dev: irl0 (the best of prompts), irl10 (the same, or the "
        "best of heldout where no score reaches the threshold), heldout, mixed (the best of all); "
        "without heldout they are one",
        variant=False,
    )
    threshold: float = key(
        0.5, "of irl10, the score that is enough", low=0.0, high=1.0, source="code"
    )

    @property
    def warnings(self) -> list[str]:
        found = []
        if self.behaviour == "published":
            found.append(
                "oirl.behaviour=published repeats the release: its test questions may stand among "
                "the training rows, so its figures say little of new questions"
            )
        if len(self.prompts) == 1 and self.heldout:
            found.append("oirl.heldout prompts cannot be ranked by what was learnt from one prompt")
        return found

    def check(self) -> None:
        self.check_prompts(self.heldout)
        if self.subsets == "all" and len(self.prompts) > 8:
            raise InputError(
                f"{len(self.prompts)} prompts have {2 ** len(self.prompts) - 1} subsets; give at "
                "most 8, or fit the whole set only",
                key=("oirl.prompts", "oirl.subsets"),
            )
        for rule in self.rules:
            check_rule(rule, "oirl.rules")
        for package in ("sklearn", *PACKAGES.get(self.reward, ())):
            require_package(
                f"a reward model of the kind {self.reward}", "oirl", package, key="oirl.reward"
            )

    @property
    def fitting(self) -> dict[str, Any]:
        """The settings that a reward model depends on."""
        names = ("split", "test_share", "validation", "reward", "eta", "rounds", "patience",
                 "depth", "leaves", "neighbours", "calibrate")  # fmt: skip
        return {name: getattr(self, name) for name in names}


def check_rule(rule: str, key: str) -> None:
    """Refuse what is none of ``RULES``.

    Raises:
        InputError: ``rule`` is none.
    """
    if rule not in RULES:
        raise InputError(f"rule '{rule}' is unknown; {did_you_mean(rule, RULES)}", key=key)


SETTINGS = OirlSettings
