"""The tasks of the paper and of GPO: in what form each one's answer is asked for, and how it is
split.

An extractor ends in the middle of the answer's form, so that the answer's own tokens come next.
Two styles, because models were taught to mark answers differently: ``$`` in front, or ``**`` round
about.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prompt_optimization.tasks.hub import is_hub_name
from prompt_optimization.tasks.splits import ALL, USUAL

STYLES = ("dollar", "stars")

# What stands for the answer in each form, and what is said about it.
_FORMS = {
    "integer": ("NUMBER", "where NUMBER is an integer, with a minus sign if it is negative"),
    "number": ("NUMBER", "where NUMBER is a number, with a minus sign if it is negative"),
    "count": ("NUMBER", "where NUMBER is a positive integer"),
    "letter": ("A", "where A is the letter of the right option"),
    "brackets": ("] ) }", "only the brackets that are missing, with a space between them"),
    "words": ("first second third", "only the sorted words, with a space between them"),
    "phrase": ("ANSWER", "where ANSWER is the answer alone"),
}
# Forms whose answer begins with a word, which has a token with the space before it.
_SPACED = ("brackets", "words", "phrase")
_WORDS = {
    "True/False": ("True", "False"),
    "Yes/No": ("Yes", "No"),
    "yes/no": ("yes", "no"),
    "valid/invalid": ("valid", "invalid"),
    "True/False/Uncertain": ("True", "False", "Uncertain"),
}


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: as in its file's name.
        benchmark: as ``fetch-data`` calls it; ``ours`` is the demo's.
        answer: the form of its answers; ``plain`` says nothing about it, ``text`` is free text.
        train, dev, test: rows per split (paper, section 4.1), or ``ALL`` of its file.
        dev_file, test_file: beside the training file, where the authors publish a split of their
            own.
        few_shot_file: beside the training file: questions that are shown with their answers.
        defaults: of settings that are ``by_task``, by name.
    """

    name: str
    benchmark: str
    answer: str
    train: int = USUAL["train"]
    dev: int = USUAL["dev"]
    test: int = USUAL["test"]
    dev_file: str = ""
    test_file: str = ""
    few_shot_file: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def extractor(self, style: str) -> str:
        """The text after the reasoning that asks for the answer; empty for free text, which is the
        answer itself.

        Args:
            style: one of ``STYLES``.
        """
        return extractor(self.answer, style)


def extractor(answer: str, style: str, labels: Sequence[str] = ()) -> str:
    """The text after the reasoning that asks for an answer of a form; empty for free text, which
    is the answer itself.

    Args:
        answer: the form, as ``Task.answer``; ``labels`` is one of some words.
        style: one of ``STYLES``.
        labels: the words.
    """
    assert style in STYLES, style
    if answer == "text":
        return ""
    before, after = ("$", "$") if style == "dollar" else ("**", "**")
    if answer == "plain":
        return f"Therefore, the final answer is {before}"
    if words := labels or _WORDS.get(answer, ()):
        # A word begins a token with the space before it.
        gap = " " if style == "dollar" else ""
        shown = " or ".join(f"{before}{gap}{word}{'' if gap else after}" for word in words)
        asked, opening = f"exactly {shown}", before + gap
    else:
        placeholder, rule = _FORMS[answer]
        gap = " " if answer in _SPACED and style == "dollar" else ""
        asked = f"exactly this format: {before}{gap}{placeholder}{gap}{after}, {rule}"
        opening = before + gap
    return f"Therefore, the final answer (use {asked}) is {opening}"


def in_order(labels: Collection[str]) -> tuple[str, ...]:
    """Labels in the order in which the tasks name them, or else in that of the alphabet."""
    known = (words for words in _WORDS.values() if set(words) == set(labels))
    return next(known, tuple(sorted(labels)))


_BBH = {
    "boolean_expressions": "True/False",
    "causal_judgement": "Yes/No",
    "date_understanding": "letter",
    "disambiguation_qa": "letter",
    "dyck_languages": "brackets",
    "formal_fallacies": "valid/invalid",
    "geometric_shapes": "letter",
    "hyperbaton": "letter",
    "logical_deduction_five_objects": "letter",
    "logical_deduction_seven_objects": "letter",
    "logical_deduction_three_objects": "letter",
    "movie_recommendation": "letter",
    "multistep_arithmetic_two": "integer",
    "navigate": "Yes/No",
    "object_counting": "count",
    "penguins_in_a_table": "letter",
    "reasoning_about_colored_objects": "letter",
    "ruin_names": "letter",
    "salient_translation_error_detection": "letter",
    "snarks": "letter",
    "sports_understanding": "yes/no",
    "temporal_sequences": "letter",
    "tracking_shuffled_objects_five_objects": "letter",
    "tracking_shuffled_objects_seven_objects": "letter",
    "tracking_shuffled_objects_three_objects": "letter",
    "web_of_lies": "Yes/No",
    "word_sorting": "words",
}

# Not among the 21 of the paper's first table.
_LEFT_OUT = {
    "dyck_languages",
    "logical_deduction_seven_objects",
    "logical_deduction_three_objects",
    "tracking_shuffled_objects_seven_objects",
    "tracking_shuffled_objects_three_objects",
    "word_sorting",
}

_MMLU = """
    abstract_algebra anatomy astronomy business_ethics clinical_knowledge college_biology
    college_chemistry college_computer_science college_mathematics college_medicine college_physics
    computer_security conceptual_physics econometrics electrical_engineering elementary_mathematics
    formal_logic global_facts high_school_biology high_school_chemistry
    high_school_computer_science high_school_european_history high_school_geography
    high_school_government_and_politics high_school_macroeconomics high_school_mathematics
    high_school_microeconomics high_school_physics high_school_psychology high_school_statistics
    high_school_us_history high_school_world_history human_aging human_sexuality international_law
    jurisprudence logical_fallacies machine_learning management marketing medical_genetics
    miscellaneous moral_disputes moral_scenarios nutrition philosophy prehistory
    professional_accounting professional_law professional_medicine professional_psychology
    public_relations security_studies sociology us_foreign_policy virology world_religions
""".split()


def _of_gpo(name: str, benchmark: str, answer: str, **defaults: Any) -> Task:
    """A task that GPO's authors cut into three files, each of which is a whole split."""
    dev, test, few_shot = (f"{name}_{split}.jsonl" for split in ("dev", "test", "few_shot"))
    return Task(name, benchmark, answer, ALL, ALL, ALL, dev, test, few_shot, defaults)


# Free text as GPO's authors score it: nothing stands before it, and all references count alike.
_FREE = {"metric": "rouge_l", "task.over_references": "mean", "objective": "answers"}


_GPO = (
    *(_of_gpo(f"gpo_bbh_{name}", "gpo_bbh", answer) for name, answer in _BBH.items()),
    *(_of_gpo(f"mmlu_{name}", "mmlu", "letter") for name in _MMLU),
    _of_gpo("gpo_gsm8k", "gpo_gsm8k", "integer"),
    _of_gpo("webnlg", "webnlg", "text", **_FREE),
    _of_gpo("wsc", "wsc", "letter"),
)

TASKS: dict[str, Task] = {
    **{name: Task(name, "bbh", answer) for name, answer in _BBH.items()},
    # 146 rows in all.
    "penguins_in_a_table": Task("penguins_in_a_table", "bbh", "letter", dev=24, test=72),
    "gsm8k": Task("gsm8k", "gsm8k", "integer", train=100, test=1319, test_file="gsm8k_test.json"),
    # A longer extractor only confuses a model this small (docs/lab_notes.md).
    "one_step_arithmetic": Task("one_step_arithmetic", "ours", "plain"),
    "folio": Task("folio", "folio", "True/False/Uncertain", test=204, test_file="folio_test.json"),
    **{task.name: task for task in _GPO},
}

TABLE_1_BBH: tuple[str, ...] = tuple(name for name in _BBH if name not in _LEFT_OUT)


def task_of(data: str | Path) -> Task | None:
    """The task that a file's name stands for: ``gsm8k_train.json`` is ``gsm8k``. Data sets of a hub
    are cut otherwise, so that their names stand for none."""
    if is_hub_name(data):
        return None
    file_stem = Path(data).stem
    for suffix in ("", "_train", "_dev", "_test"):
        if file_stem.endswith(suffix) and (task := TASKS.get(file_stem.removesuffix(suffix))):
            return task
    return None
