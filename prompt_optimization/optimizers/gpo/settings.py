"""What a step of GPO shows its writer, how far it may go, and the presets of the paper.

The names that the authors' code has for these keys, and its values, work as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prompt_optimization.errors import InputError
from prompt_optimization.keys import key
from prompt_optimization.optimizers.gpo.metaprompts import EDIT, FEEDBACK, GENERATE, MERGE
from prompt_optimization.optimizers.gpo.schedule import DECAYS, batches
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.optimizers.text.settings import TextSettings

NONE = {"-": "none"}


def _by_variant(gpo: Any, **others: Any) -> dict[str, Any]:
    """What each preset sets, under either behaviour; those that are left out set as ``gpo``."""
    return {"by_behaviour": {"sound": gpo, "published": gpo}, "by_variant": others}


@dataclass(frozen=True)
class GpoSettings(TextSettings, group="gpo"):
    """Direction, trajectory, edit limit and refinement."""

    reads_answers = True
    metaprompts: ClassVar[Mapping[str, MetaPrompt]] = {
        "generate": GENERATE,
        "edit": EDIT,
        "feedback": FEEDBACK,
        "merge": MERGE,
    }
    chosen_on_dev: ClassVar[bool] = True
    elsewhere: ClassVar[Mapping[str, str]] = {
        "openai_api_key": "export the key in the environment variable that writer.api_key_env "
        "names",
        "gpus": "name them in devices, as in cuda:0",
        "dataset": "give the task's training file in train_data",
        "task_name": "give the task's training file in train_data",
    }

    variant: str = key(
        "gpo",
        "what the paper compares: gpo, or its own readings of ape, apo, opro, pe2 and sgdm; it "
        "sets what is not set by itself",
        choices=("gpo", "ape", "apo", "opro", "pe2", "sgdm"),
        variant=False,
        named={name: f"as {name}" for name in ("ape", "apo", "opro", "pe2", "sgdm")},
    )
    epochs: int = key(
        3,
        "passes over the training questions",
        low=1,
        source="code",
        aliases=("num_search_epochs",),
    )
    batch_size: int = key(
        8,
        "training questions of a step, in their order; the feedback is about those that the prompt "
        "gets wrong",
        low=1,
        source="code",
        aliases=("opt_batch_size",),
    )
    proposals: int = key(
        8,
        "replies that a step asks for",
        low=1,
        source="code",
        aliases=("num_generated_instructions_in_each_step",),
    )
    gradient: str = key(
        None,
        "feedback: the writer first says what is wrong with the current prompt; none: it does not",
        choices=("none", "feedback"),
        aliases=("gradient_name",),
        spellings=NONE,
        **_by_variant("none", apo="feedback", pe2="feedback"),
    )
    momentum: str = key(
        None,
        "what is shown of earlier steps: none, their prompts with scores, or their feedback",
        choices=("none", "prompts", "feedback"),
        aliases=("momentum_para_name",),
        spellings=NONE | {"para": "prompts"},
        **_by_variant("prompts", ape="none", apo="none"),
    )
    momentum_update: str = key(
        None,
        "list: show the ones that are selected; merge: the writer merges them step by step into "
        "one text, which is shown",
        choices=("none", "list", "merge"),
        aliases=("momentum_update_name",),
        spellings=NONE | {"k-list": "list", "real-time": "merge"},
        **_by_variant("list", sgdm="merge"),
    )
    momentum_selection: str = key(
        None,
        "which are selected for the list: recency: the newest ones; relevance: those most alike "
        "the current one, by the sentence encoder of embed; importance: those with the best scores",
        choices=("none", "recency", "relevance", "importance"),
        aliases=("momentum_selection_name",),
        spellings=NONE | {"relavance": "relevance"},
        **_by_variant("relevance", opro="recency", pe2="recency"),
    )
    momentum_count: int = key(
        3,
        "how many are selected",
        low=0,
        source="code",
        aliases=("momentum_selection_num",),
    )
    order: str = key(
        None,
        "how they are listed: ascending: the best, newest or most alike one last; descending: it "
        "comes first",
        choices=("ascending", "descending"),
        by_behaviour={"sound": "ascending", "published": "descending"},
    )
    learning_rate: str = key(
        None,
        "w_lr: a limit says how many words of the current prompt a step may change; wo_lr: none "
        "does",
        choices=("w_lr", "wo_lr"),
        aliases=("learning_rate_name",),
        **_by_variant("w_lr", ape="wo_lr", apo="wo_lr", opro="wo_lr", sgdm="wo_lr"),
    )
    decay: str = key(
        None,
        "how this number falls from step to step",
        choices=("none", *DECAYS),
        aliases=("decay_strategy",),
        spellings=NONE | {"consine": "cosine"},
        **_by_variant("cosine", pe2="fixed"),
    )
    initial_step_size: int = key(
        50,
        "words at the beginning",
        low=0,
        source="code",
        aliases=("initial_step_size",),
    )
    final_step_size: int = key(
        10,
        "words in the last step",
        low=0,
        source="code",
        aliases=("final_step_size",),
    )
    warmup: bool = key(
        False,
        "let the number grow to that of the beginning first",
        aliases=("use_warmup_strategy",),
    )
    warmup_steps: int = key(
        5, "steps that this takes", low=1, source="code", aliases=("warmup_steps",)
    )
    enforce: str = key(
        "advise",
        "what becomes of prompts that differ in more words: advise: nothing, the writer was only "
        "told; reject: they are dropped; retry: dropped and asked for again",
        choices=("advise", "reject", "retry"),
    )
    refine: str = key(
        None,
        "generate: write a new prompt; edit: edit the current one; both with the feedback, or "
        "without it (generate_without, edit_without)",
        choices=("generate", "edit", "generate_without", "edit_without"),
        aliases=("util_gradient_name",),
        **_by_variant("generate_without", apo="edit", pe2="generate", sgdm="edit_without"),
    )
    examples: int = key(
        3,
        "training questions that the writer is shown, drawn once",
        low=1,
        source="code",
        aliases=("format_data_num",),
    )
    select: str = key(
        None,
        "elitist: a step goes on from the best prompt so far; novel: from the best of its own new "
        "prompts, even if it is worse",
        choices=("elitist", "novel"),
        by_behaviour={"sound": "elitist", "published": "novel"},
    )
    only_evaluate: bool = key(
        False, "make no step: score the initial prompt and measure it", aliases=("only_evaluate",)
    )
    generate_file: str = key(
        "",
        "a file with a meta-prompt in place of that of refine=generate; its slots are {prompt}, "
        "{direction} (trajectory and feedback), {examples} and {limit} (of words)",
    )
    edit_file: str = key(
        "", "a file with a meta-prompt in place of that of refine=edit; its slots are the same"
    )
    feedback_file: str = key(
        "",
        "a file with a meta-prompt in place of the feedback's own; its slots are {prompt} and "
        "{errors}",
    )
    merge_file: str = key(
        "",
        "a file with a meta-prompt in place of that of momentum_update=merge; its slots are {old} "
        "and {new}",
    )

    @property
    def embeds(self) -> bool:
        return self._lists and self.momentum_selection == "relevance"

    @property
    def limited(self) -> bool:
        """Whether the words that a step may change are limited."""
        return self.learning_rate == "w_lr"

    @property
    def _lists(self) -> bool:
        return self.momentum != "none" and self.momentum_update == "list"

    def length(self, rows: int) -> int:
        """Steps of a search on ``rows`` training questions."""
        return 0 if self.only_evaluate else self.epochs * len(batches(rows, self.batch_size))

    def check_examples(self, examples: Sequence[Any]) -> None:
        length = self.length(len(examples))
        if self.limited and self.warmup and 0 < length <= self.warmup_steps:
            raise InputError(
                f"a warm-up of {self.warmup_steps} steps leaves none of the search's {length}; "
                "give fewer, or more epochs",
                key=("gpo.warmup_steps", "gpo.epochs"),
            )

    def check(self) -> None:
        super().check()
        self._check_gradient()
        self._check_momentum()
        self._check_step_sizes()

    def _check_gradient(self) -> None:
        shown = not self.refine.endswith("_without")
        if self.gradient == "none" and self.momentum == "feedback":
            raise InputError(
                "the feedback of earlier steps is to be shown, and no feedback is asked for; give "
                "gradient=feedback, or momentum=prompts",
                key=("gpo.momentum", "gpo.gradient"),
            )
        if self.gradient == "none" and shown:
            raise InputError(
                f"refine={self.refine} works with feedback, and none is asked for; give "
                f"refine={self.refine}_without, or gradient=feedback",
                key=("gpo.refine", "gpo.gradient"),
            )
        if self.gradient == "feedback" and not shown:
            raise InputError(
                f"feedback is asked for, and refine={self.refine} does not show it; give "
                f"refine={self.refine.removesuffix('_without')}, or gradient=none",
                key=("gpo.refine", "gpo.gradient"),
            )

    def _check_momentum(self) -> None:
        if self.momentum != "none" and self.momentum_update == "none":
            raise InputError(
                f"momentum={self.momentum} says nothing of how earlier steps are shown; give "
                "momentum_update=list or merge",
                key=("gpo.momentum_update", "gpo.momentum"),
            )
        if not self._lists:
            return
        if self.momentum_selection == "none":
            raise InputError(
                "nothing selects what is listed of earlier steps; give recency, relevance or "
                "importance",
                key=("gpo.momentum_selection", "gpo.momentum_update"),
            )
        if self.momentum == "feedback" and self.momentum_selection == "importance":
            raise InputError(
                "feedback has no score by which it could be selected; give recency or relevance",
                key=("gpo.momentum_selection", "gpo.momentum"),
            )
        if self.momentum_count == 0:
            raise InputError(
                f"0 of the earlier steps are selected by {self.momentum_selection}; give at least "
                "1, or momentum=none",
                key=("gpo.momentum_count", "gpo.momentum"),
            )

    def _check_step_sizes(self) -> None:
        initial, final = self.initial_step_size, self.final_step_size
        if not self.limited:
            return
        if self.decay == "none":
            raise InputError(
                "a limit of words is set, and nothing says how it falls; give fixed, linear or "
                "cosine, or learning_rate=wo_lr",
                key=("gpo.decay", "gpo.learning_rate"),
            )
        if initial == 0:
            raise InputError(
                "a step that may change 0 words changes nothing; give at least 1",
                key="gpo.initial_step_size",
            )
        if self.decay != "fixed" and not 1 <= final <= initial:
            raise InputError(
                f"the limit is to fall from {initial} to {final} words; give a final number from 1 "
                "to the initial one",
                key=("gpo.final_step_size", "gpo.initial_step_size"),
            )


SETTINGS = GpoSettings
