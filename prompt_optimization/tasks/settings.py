"""The settings of what is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from prompt_optimization.errors import InputError
from prompt_optimization.keys import Settings, key
from prompt_optimization.tasks.columns import Columns
from prompt_optimization.tasks.metrics.metric import OVER_REFERENCES
from prompt_optimization.tasks.metrics.registry import METRICS
from prompt_optimization.tasks.registry import STYLES
from prompt_optimization.tasks.templates import CONNECTORS, END
from prompt_optimization.tasks.texts import lacking_words

# What GPO's code calls the presets.
POSITIONS = {"Q_end": "end", "Q_begin": "begin", "before_Q": "before", "A_begin": "answer"}

ROWS = "-1: as many as the paper took for the task that the file is named after, else"


@dataclass(frozen=True)
class TaskSettings(Settings, group="task"):
    """Data, splits, the texts around the question, and the initial prompt."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        "data": "the flag --data sets train_data",
        "prompt": "the flag --prompt sets control_init",
        "extractor": "the flag --extractor sets extractor_text",
    }

    train_data: str = key(
        "",
        "task file, or hf:OWNER/NAME/CONFIG@SPLIT for a data set on the Hugging Face Hub; dev and "
        "test rows are cut from it after the training rows unless dev_data or "
        "test_data is given",
        flat="train_data",
        variant=False,
        of_task=True,
    )
    dev_data: str = key(
        "", "task file of the dev rows", flat="dev_data", variant=False, of_task=True
    )
    test_data: str = key(
        "", "task file of the test rows", flat="test_data", variant=False, of_task=True
    )
    target_data: str = key(
        "",
        "task file of a second group of questions, the group 'target', whose rows are read in turn "
        "with those of train_data, the group 'source'; none: a column 'group' may name the groups",
        flat="target_data",
        variant=False,
        of_task=True,
    )
    question_column: tuple[str, ...] = key(
        (),
        "column of the questions, in every task file; of several names the last is asked, with the "
        "others before it; none: one of the usual names",
        library="question_column",
        variant=False,
        of_task=True,
    )
    answer_column: tuple[str, ...] = key(
        (),
        "column of the answers; of several names the first is the answer, and the others hold "
        "further ones that are as right",
        library="answer_column",
        variant=False,
        of_task=True,
    )
    data_offset: int = key(
        0, "first training row", flat="data_offset", low=0, variant=False, of_task=True
    )
    n_train_data: int = key(
        -1, f"training rows; {ROWS} 50", flat="n_train_data", low=-1, source="paper", of_task=True
    )
    n_dev_data: int = key(
        -1,
        f"rows that elect the best prompt; {ROWS} 100; fewer where the task has too few",
        flat="n_dev_data",
        low=-1,
        source="paper",
        variant=False,
        of_task=True,
    )
    n_test_data: int = key(
        -1,
        f"rows that measure it in the end; {ROWS} 100",
        flat="n_test_data",
        low=-1,
        source="paper",
        variant=False,
        of_task=True,
    )
    extractor_text: str = key(
        "",
        "text after the reasoning that makes the model state its answer in the form of the answer "
        "column; empty: that of the paper's task that the file is named after, or else none, so "
        "that the reasoning is the answer, where the metric reads whole texts",
        flat="extractor_text",
        library="p_extractor",
        variant=False,
    )
    extractor_style: str = key(
        "dollar",
        "how the extractors of the paper's tasks mark the answer: after a dollar sign or between "
        "stars (published for Llama-3 and for Gemma-2)",
        flat="extractor_style",
        choices=STYLES,
        variant=False,
    )
    extractor_separator: str = key(
        " ",
        "text between reasoning and extractor",
        flat="extractor_separator",
        source="code",
        variant=False,
        reading=True,
    )
    template: str = key(
        END,
        "where the prompt stands: end (after the question), begin (before it), before (before it, "
        "in a paragraph of its own), system (in the system turn), answer (where the answer "
        "begins), a file, or a chat as JSON text; "
        "docs/harness.md explains it",
        flat="template",
        variant=False,
        of_task=True,
        aliases=("instruction_pos",),
        spellings=POSITIONS,
    )
    include_qa: bool = key(
        False,
        "write Q: before the question and A: at the end; the log has it in its template",
        variant=False,
        of_task=True,
        aliases=("include_qa",),
    )
    few_shot: bool = key(
        False,
        "ask solved questions before each question, each with the prompt in its place and with its "
        "answer as the model's reply; the log has them in its template",
        variant=False,
        of_task=True,
        aliases=("evaluate_generated_ins_on_few_shot",),
    )
    few_shot_number: int = key(
        5,
        "of few_shot: how many, the first ones of their file",
        low=1,
        source="code",
        variant=False,
        of_task=True,
        aliases=("few_shot_number",),
    )
    few_shot_data: str = key(
        "",
        "of few_shot: the file of solved questions; GPO's tasks have one beside the training file",
        variant=False,
        of_task=True,
    )
    fold_system: bool = key(
        False,
        "put the system turn at the beginning of the user's where the model has no system turn",
        variant=False,
        reading=True,
    )
    metric: str = key(
        "strict",
        "what a written answer is worth, for dev, test, evaluations and objective=answers: strict "
        "and flexible read what it states; choice an option's letter; number one within tolerance; "
        "math an expression; contains finds a reference in it; regex what pattern matches; "
        "json_field the value of field; f1 and rouge_l count shared words. The task webnlg "
        "brings rouge_l with over_references=mean",
        flat="metric",
        choices=tuple(METRICS),
        by_task=True,
        of_task=True,
    )
    pattern: str = key(
        "",
        "of metric=regex: a regular expression of Python; its last match counts, and of that the "
        "first group where there is one",
        of_task=True,
    )
    tolerance: float = key(
        0.0,
        "of metric=number: how far from the reference a number is still right",
        low=0.0,
        of_task=True,
    )
    field: str = key(
        "",
        "of metric=json_field: the name of a field, or names with dots between, such as answer or "
        "result.0.name",
        of_task=True,
    )
    over_references: str = key(
        "best",
        "of metric=rouge_l: what counts where an answer has several references: the best of their "
        "values, or the mean",
        choices=tuple(OVER_REFERENCES),
        by_task=True,
        of_task=True,
    )
    connector: str = key(
        ". Use",
        "text between question and prompt under template=end; under a template whose prompt stands "
        "first, only greater reads it, for its proposals",
        flat="connector",
        by_method=True,
        source="paper",
        variant=False,
        of_task=True,
    )
    prompt: str = key(
        " proper logical reasoning and think step by step. Finally give the actual correct answer.",
        "the prompt to begin with; llm-attacks calls it the control",
        flat="control_init",
        aliases=("initial_instruction",),
        library="the prompt",
        by_method=True,
        source="paper",
        variant=False,
        of_task=True,
    )

    keep: tuple[str, ...] = key(
        (), "words that have to stay in the prompt as they are", flat="keep"
    )
    max_prompt_tokens: int = key(
        64,
        "the prompt does not grow beyond this",
        flat="max_prompt_tokens",
        low=2,
        by_method=True,
    )

    @property
    def columns(self) -> Columns:
        """The columns that are named."""
        return Columns(self.question_column, self.answer_column)

    @property
    def warnings(self) -> list[str]:
        found = []
        if self.template != END and self.connector not in CONNECTORS:
            found.append(
                "connector stands in no prompt that is scored under another template than "
                f"'{END}'; write the words into the template"
            )
        if self.few_shot_data and not self.few_shot:
            found.append("few_shot_data has no effect without few_shot")
        return found

    def check(self) -> None:
        if not self.train_data:
            raise InputError("no training data; give a task file", key="train_data")
        if not self.prompt.strip():
            raise InputError("the initial prompt is empty; give one", key="control_init")
        for words in self.keep:
            if not words.strip():
                raise InputError("keep has a text without a word; leave it out", key="keep")
        if lacking := lacking_words(self.prompt, self.keep):
            raise InputError(
                f"the initial prompt lacks the words '{lacking}', which are to stay; write them "
                "into it",
                key=("keep", "control_init"),
            )
