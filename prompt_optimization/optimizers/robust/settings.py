"""Which groups, how inputs of the target are labelled, and what is minimised over both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prompt_optimization.errors import InputError, did_you_mean
from prompt_optimization.keys import key
from prompt_optimization.optimizers.robust.metaprompts import INPUTS
from prompt_optimization.optimizers.text.induction import INDUCE
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.optimizers.text.settings import TextSettings
from prompt_optimization.tasks.groups import SOURCE, TARGET
from prompt_optimization.tasks.texts import different_lines


@dataclass(frozen=True)
class RobustSettings(TextSettings, group="robust"):
    """The groups, the vote and the objective over both."""

    reads_answers = True
    unlabelled: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("answers",)
    metaprompts: ClassVar[Mapping[str, MetaPrompt]] = {"induction": INDUCE, "inputs": INPUTS}
    elsewhere: ClassVar[Mapping[str, str]] = {
        "robust.target_data": "target_data names the file, for every method"
    }

    source: str = key("", "the group of the training rows with answers, as the column group has it")
    target: str = key("", "the group that the prompt has to hold on; its answers are not read")
    prompts: int = key(6, "prompts that are written from each kind of rows", low=1, source="paper")
    demos: int = key(6, "rows that a request shows", low=1, source="paper")
    pool: str = key("", "a text file with prompts, one a line, in place of those that are written")
    threshold: float = key(
        0.8,
        "the share of the prompts that have to give one answer to make it a row's label",
        above=0.0,
        high=1.0,
    )
    min_rows: int = key(
        None,
        "with fewer labelled rows than this the source alone decides",
        low=1,
        by_behaviour={"sound": 8, "published": 1},
    )
    balance: str = key(
        None,
        "how labelled rows weigh as much as the source's: weight: all alike; repeat: some count "
        "once more than others, as copies do",
        choices=("weight", "repeat"),
        by_behaviour={"sound": "weight", "published": "repeat"},
    )
    select: str = key(
        "mean",
        "what is minimised, and by what dev elects: mean: over both groups; worst: of the group "
        "that is worse",
        choices=("mean", "worst"),
    )
    test: str = key(
        "both",
        "what stands for election: top1: single prompts; ensemble: the vote of the prompts that "
        "are written last; both",
        choices=("top1", "ensemble", "both"),
    )
    bound: bool = key(
        False,
        "measure an upper bound, too: a prompt that is written and chosen with the target's right "
        "answers; it cannot be elected",
        variant=False,
    )
    induction_file: str = key(
        "", "a file with a meta-prompt in place of APE's induction; its slot is {examples}"
    )
    inputs_file: str = key(
        "",
        "a file with a meta-prompt in place of that which shows inputs of the target too; its "
        "slots are {examples} and {inputs}",
    )

    @classmethod
    def brings(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        own = {"robust.source": SOURCE, "robust.target": TARGET}
        return own if values["target_data"] else {}

    def check(self) -> None:
        super().check()
        self.given()
        for name in ("source", "target"):
            if not getattr(self, name).strip():
                raise InputError(
                    f"no {name} group; name one of those in the column 'group' of the task file, "
                    "or give the target a file of its own",
                    key=(f"robust.{name}", "target_data"),
                )
        if self.source == self.target:
            raise InputError(
                f"source and target are both '{self.source}'; name two groups",
                key=("robust.source", "robust.target"),
            )

    def check_examples(self, examples: Sequence[Any]) -> None:
        groups = list(dict.fromkeys(each.group for each in examples if each.group))
        if not groups:
            raise InputError(
                "the training rows have no column 'group'; add one that says which rows are the "
                "source's and which the target's, or give the target a file of its own",
                key=("robust.source", "robust.target", "target_data"),
            )
        for name in ("source", "target"):
            if (wanted := getattr(self, name)) not in groups:
                raise InputError(
                    f"none of the {len(examples)} training rows is in the group '{wanted}'; "
                    f"{did_you_mean(wanted, groups)}",
                    key=f"robust.{name}",
                )
        for each in examples:
            if each.group == self.source and not each.labelled:
                raise InputError(
                    f"row {each.row} of the source '{self.source}' has no answer; fill it in",
                    key="robust.source",
                )
        if self.bound and not any(each.group == self.target and each.labelled for each in examples):
            raise InputError(
                f"no row of the target '{self.target}' has an answer, so nothing bounds what a "
                "prompt could gain there; give answers, or measure no bound",
                key="robust.bound",
            )
        rows = sum(each.group == self.target for each in examples)
        if self.min_rows > rows:
            raise InputError(
                f"{self.min_rows} labelled rows are demanded and the target '{self.target}' has "
                f"{rows} training rows; give more, or demand fewer",
                key=("robust.min_rows", "n_train_data"),
            )

    def given(self) -> list[str]:
        """The pool's prompts, each once; none without a pool.

        Raises:
            InputError: the file cannot be read.
        """
        return different_lines(self.pool, "robust.pool")


SETTINGS = RobustSettings
