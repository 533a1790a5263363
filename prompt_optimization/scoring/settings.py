"""The settings of what a prompt is scored by."""

from __future__ import annotations

from dataclasses import dataclass

from prompt_optimization.keys import Settings, key

# What every held-out result holds beside the metric that counts: how a written answer is read, and
# how the model's first choices are.
METRICS = ("strict", "flexible", "teacher_forced")
OBJECTIVES = ("mistakes", "loss", "answers")


@dataclass(frozen=True)
class ScoringSettings(Settings, group="scoring"):
    """The objective, which every method minimises."""

    objective: str = key(
        "mistakes",
        "mistakes: the share of examples whose answer tokens are not all the model's first choice; "
        "loss: the mean cross-entropy of the answers in nats; answers: 1 less the mean that metric "
        "gives to the freely written answers, ties decided by the loss",
        flat="objective",
        choices=OBJECTIVES,
        by_method=True,
        by_task=True,
        source="code, measured",
    )
    nll_weight: float = key(
        0.02,
        "weight of the prompt's negative log-likelihood per token, which is added to the objective",
        flat="selection_control_weight",
        by_method=True,
        low=0.0,
        source="code",
    )
    must_end: bool | None = key(
        None,
        "an answer that is the model's first choice is a mistake where the model would go on and "
        "state another one, such as 20 for 2. Of the objective mistakes, and of teacher_forced",
        by_behaviour={"sound": True, "published": False},
        formerly=False,
        reading=True,
        source="measured",
    )
