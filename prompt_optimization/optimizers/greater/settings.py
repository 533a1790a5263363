"""Everything that steers the search, with the two named behaviours.

``published`` repeats the search rules of the authors' released code, accidents included; ``sound``
is what we do instead. A behaviour sets the keys that are not set by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prompt_optimization.errors import InputError, check_names
from prompt_optimization.keys import Settings, key

# Rules of a shortlist that ask what the edits would do; a log calls the answer the same. Those that
# read drawn reasonings can rank edits of every kind.
READ = ("likelihood_ratio", "fixed_reasoning")
SIGNALS = ("gradient", *READ)

# The edit of the paper: another token.
TOKEN = "token"

# All kinds of edits.
EDITS = (TOKEN, "insert", "delete", "span")


def _by(sound: object, published: object) -> dict[str, object]:
    return {"sound": sound, "published": published}


@dataclass(frozen=True)
class GreaterSettings(Settings, group="greater"):
    """The search: propose, reason, differentiate, select."""

    topk: int = key(
        10,
        "tokens that each example proposes",
        flat="topk",
        library="candidates_topk",
        low=1,
        high=1_000_000,
        source="paper",
    )
    topq: int = key(
        6,
        "random groups of examples whose intersections are united",
        flat="topq",
        low=1,
        high=10_000,
        source="code",
    )
    group_size: int = key(
        5, "examples in a group", flat="intersect_q", low=1, high=10_000, source="paper"
    )
    min_proposals: int = key(
        6,
        "topk grows by 2 and the groups are drawn again while fewer proposals come out",
        flat="min_proposals",
        low=1,
        source="code",
    )
    allow_non_ascii: bool = key(
        False,
        "propose tokens other than ASCII words, '.', ',' and ' '",
        flat="allow_non_ascii",
    )
    reasoning_gradient: bool = key(
        True,
        "differentiate through the reasoning; otherwise the answer stands right after the prompt",
        flat="reasoning_gradient",
        source="paper",
        variant=False,
        named={False: "no reasoning gradient"},
    )
    shortlist: str = key(
        "gradient",
        "which proposals are tried: those with the most negative gradient; by reasonings that are "
        "drawn of the incumbent (docs/signal.md), those that make the ones with a low loss "
        "likelier, or those after which the answers to them are best; or, to compare with, random "
        "ones or the likeliest ones",
        flat="shortlist",
        choices=(*SIGNALS, "random", "proposal"),
        source="paper",
        variant=False,
        named={
            "likelihood_ratio": "likelihood ratio",
            "fixed_reasoning": "fixed reasoning",
            "random": "random shortlist",
            "proposal": "likeliest proposals",
        },
    )
    draws: int = key(
        4,
        "reasonings that are drawn of every example for shortlist=likelihood_ratio and "
        "fixed_reasoning, once for each accepted prompt; each counts as an evaluation",
        low=2,
        high=1000,
    )
    draw_temperature: float = key(
        0.7, "divides the logits of drawn reasonings", above=0.0, high=100.0
    )
    ratio_clip: float = key(
        5.0,
        "bounds the change of a drawn reasoning's log-likelihood under shortlist=likelihood_ratio, "
        "in nats",
        above=0.0,
    )
    reuse_draws: float = key(
        1.0,
        "least mean effective sample size, as a share of the draws, at which the reasonings of an "
        "earlier prompt are used again, with importance weights, and none are drawn of the "
        "accepted one; 1: never",
        low=0.0,
        high=1.0,
    )
    prefilter: int = key(
        0,
        "tokens with the most negative gradient that shortlist=likelihood_ratio or fixed_reasoning "
        "reads; larger edits are read all the same. 0: all proposals are read and no gradient is "
        "taken",
        low=0,
        high=1_000_000,
    )
    edits: tuple[str, ...] = key(
        (TOKEN,),
        "what is changed at a position: token puts another one there, insert one more before it, "
        "delete takes it out, span puts two to four tokens that the model writes in the place of "
        "as many. likelihood_ratio and fixed_reasoning rank all of them; otherwise those other "
        "than token are raced with the shortlisted tokens on a growing part of the rows",
    )
    edit_proposals: int = key(
        4, "insertions, and spans, that are proposed at a position", low=1, high=1000
    )
    shortlist_size: int = key(
        3, "tokens tried in a step", flat="shortlist_size", low=1, high=10_000, source="paper"
    )
    sample_chunk: int = key(
        0,
        "try candidates on this many examples at a time, the hardest first, and give up those that "
        "can no longer be accepted nor be among the best; 0: on all at once. The search goes the "
        "same way up to rounding. Only under accept=improve, once there are top_prompts prompts",
        flat="sample_chunk",
        low=0,
        source="measured",
    )
    answer_weight: float = key(
        1.0,
        "weight of the answer's cross-entropy in the differentiated loss",
        flat="target_weight",
        source="code",
    )
    nll_weight: float = key(
        0.2,
        "weight of the prompt's negative log-likelihood in the differentiated loss",
        flat="control_weight",
        library="perplexity_lambda",
        source="paper",
    )
    answer_temperature: float = key(
        0.2,
        "divides the logits of the answer in the differentiated loss",
        flat="answer_temperature",
        above=0.0,
        source="code",
    )
    behaviour: str = key(
        "sound",
        "sound, or published to repeat the released code's search rules with their accidents; it "
        "sets those of accept, period_rule, placeholder, current_in_shortlist, ties, "
        "progressive_group, restart_when_solved and scoring.must_end that are not set by "
        "themselves",
        flat="behaviour",
        choices=("sound", "published"),
        variant=False,
        named={"published": "published behaviour"},
    )
    anneal: bool = key(
        False,
        "accept what is worse by delta with probability exp(-delta / T), T = 1 - (k + 1) / n_steps",
        flat="anneal",
        source="paper",
    )
    anneal_noise: float = key(
        0.0,
        "T of accept=anneal in units of the noise, which is the standard error of the difference "
        "of two prompts on the rows in use as this search has measured it so far: T = anneal_noise "
        "* noise * (1 - (k + 1) / n_steps). 0: T as anneal says",
        low=0.0,
        high=1000.0,
    )
    accept: str | None = key(
        None,
        "improve: accept only what is better; anneal: see there; always: even what is worse",
        flat="accept",
        choices=("anneal", "improve", "always"),
        by_behaviour=_by("improve", "always"),
    )
    period_rule: str | None = key(
        None,
        "published: a '.' in the second half of the prompt wins at once, whatever its objective",
        flat="period_rule",
        choices=("off", "published"),
        by_behaviour=_by("off", "published"),
    )
    placeholder: str | None = key(
        None,
        "what stands in an appended slot under the gradient: the likeliest proposal, or an "
        "underscore",
        flat="placeholder",
        choices=("proposal", "underscore"),
        by_behaviour=_by("proposal", "underscore"),
    )
    current_in_shortlist: bool | None = key(
        None,
        "the current token may take a place in the shortlist",
        flat="current_in_shortlist",
        by_behaviour=_by(False, True),
    )
    ties: str | None = key(
        None,
        "which of equal candidates is chosen",
        flat="ties",
        choices=("first", "last"),
        by_behaviour=_by("first", "last"),
    )
    progressive_group: int | None = key(
        None,
        "examples in a group under progressive_goals",
        flat="progressive_group",
        low=1,
        by_behaviour=_by(10, 100),
    )
    restart_when_solved: bool | None = key(
        None,
        "return to the first position whenever the objective is below loss_threshold",
        flat="restart_when_solved",
        by_behaviour=_by(False, True),
    )
    progressive_goals: bool = key(
        False,
        "begin with one group of examples; add the next one when the objective falls below "
        "loss_threshold or early_stopping_steps pass without a better prompt",
        flat="progressive_goals",
        source="llm-attacks",
    )
    progressive_models: bool = key(
        False,
        "begin with one model; add another whenever examples would be added and none are left",
        flat="progressive_models",
        source="llm-attacks",
    )
    rows_per_step: int = key(
        0,
        "training rows that a step sees; the next step sees others, until all were seen. The "
        "incumbent is scored again on the rows of each step, and in the end the incumbents that "
        "stood longest are scored on all rows, top_prompts at most. 0: every step sees all rows",
        low=0,
    )
    restart_after: int = key(
        0,
        "steps without an accepted candidate after which the search goes on from another prompt; "
        "0: never",
        low=0,
    )
    restart_from: str = key(
        "best",
        "the prompt that a restart goes on from: the best one on all training rows, which is the "
        "incumbent itself under accept=improve without rows_per_step, or the initial one",
        choices=("best", "initial"),
    )
    loss_threshold: float = key(
        0.12, "objective below which a group is solved", flat="loss_threshold", source="code"
    )
    early_stopping_steps: int = key(
        150,
        "steps without a better prompt after which a group is added, or else the position returns "
        "to the front",
        flat="early_stopping_steps",
        low=1,
        source="code",
    )

    @classmethod
    def of(cls, values: dict[str, object]) -> GreaterSettings:  # type: ignore[override]
        annealed = values["anneal"] and values["behaviour"] == "sound"
        if annealed and values["accept"] is None:
            values = {**values, "accept": "anneal"}
        return super().of(values)

    def check(self) -> None:
        if self.topk < self.shortlist_size:
            raise InputError(
                f"topk={self.topk} proposes fewer tokens than shortlist_size="
                f"{self.shortlist_size} tries; raise topk",
                key=("topk", "shortlist_size"),
            )

        if 0 < self.prefilter < self.shortlist_size and self.shortlist in READ:
            raise InputError(
                f"prefilter={self.prefilter} leaves fewer tokens than shortlist_size="
                f"{self.shortlist_size} tries; raise prefilter, or leave it out",
                key=("greater.prefilter", "shortlist_size"),
            )
        check_names(self.edits, EDITS, "edit", "greater.edits")
        if set(self.edits) != {TOKEN} and self.period_rule == "published":
            raise InputError(
                f"edits={','.join(self.edits)} and period_rule=published do not go together, "
                "because that rule looks at single tokens; leave one of them out",
                key=("greater.edits", "period_rule"),
            )
        growing = [
            name for name in ("progressive_goals", "progressive_models") if getattr(self, name)
        ]
        if self.rows_per_step and growing:
            raise InputError(
                f"rows_per_step={self.rows_per_step} draws the rows of every step, and "
                f"{growing[0]} adds rows as the search goes; choose one of them",
                key=("greater.rows_per_step", growing[0]),
            )

    def check_examples(self, examples: Sequence[Any]) -> None:
        if self.rows_per_step >= max(1, len(examples)):
            raise InputError(
                f"rows_per_step={self.rows_per_step} is to be fewer than the training rows, and "
                f"there are {len(examples)}; give more rows, or fewer a step",
                key=("greater.rows_per_step", "n_train_data"),
            )

    @property
    def warnings(self) -> list[str]:
        found = []
        if self.anneal and self.accept != "anneal":
            found.append(f"anneal has no effect under accept={self.accept}")
        if self.anneal_noise and self.accept != "anneal":
            found.append(f"anneal_noise has no effect under accept={self.accept}")
        if self.shortlist not in READ:
            found += self.idle(f"under shortlist={self.shortlist}", "reuse_draws", "prefilter")
        if self.restart_from != "best" and not self.restart_after:
            found.append(f"restart_from={self.restart_from} has no effect without restart_after")
        if self.sample_chunk and (self.accept != "improve" or self.period_rule != "off"):
            found.append(
                f"sample_chunk gives up no candidate under accept={self.accept}, "
                f"period_rule={self.period_rule}"
            )
        return found

    @property
    def fixed(self) -> frozenset[str]:
        """Keys of other groups that a resumed run may not change under these settings."""
        # Annealing looks ahead to the last step.
        return frozenset({"n_steps"}) if self.accept == "anneal" else frozenset()


SETTINGS = GreaterSettings
