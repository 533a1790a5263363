"""What the writer is asked, in our own words."""

from __future__ import annotations

from prompt_optimization.optimizers.text.metaprompt import MetaPrompt

_TASK = """\
A language model answers questions. It reads one instruction with every question. Find the \
instruction with which it answers best."""

_EXAMPLES = """\
This is how questions are asked, and what the right answers are. <instruction> shows where the \
instruction is written.

{examples}"""

_DEMAND = """\
It must suit all questions of this kind, in the place of <instruction>.{limit} Write it between \
<prompt> and </prompt>, and write nothing else."""

# ``direction`` is empty or ends with an empty line; ``limit`` is empty or begins with a space.
_SLOTS = ("prompt", "direction", "examples", "limit")

GENERATE = MetaPrompt(
    f"""\
{_TASK}

{_EXAMPLES}

The current instruction:

{{prompt}}

{{direction}}Write a new instruction that is better than the current one. {_DEMAND}""",
    slots=_SLOTS,
)

EDIT = MetaPrompt(
    f"""\
{_TASK}

The current instruction:

{{prompt}}

{{direction}}{_EXAMPLES}

Edit the current instruction: keep what is good in it and change what is not. {_DEMAND}""",
    slots=_SLOTS,
)

FEEDBACK = MetaPrompt(
    """\
A language model answers questions. It reads this instruction with every question:

{prompt}

With it, the model did not get these questions right:

{errors}

Say in a few sentences why this instruction may have led to these answers. Do not write a new \
instruction.""",
    slots=("prompt", "errors"),
)

MERGE = MetaPrompt(
    """\
Two texts come from one after the other step of a search for a good instruction to a language \
model. The first one sums up all the steps before.

First text:

{old}

Second text:

{new}

Merge them into one text of the same kind, no longer than the longer one, that keeps what is \
useful in both. Write that text, and write nothing else.""",
    slots=("old", "new"),
)

# What stands before the earlier steps, by momentum and its update.
HEADINGS = {
    ("prompts", "list"): "Instructions of this search, each with its score from 0 to 100; the "
    "higher the score, the better the questions were answered:",
    ("prompts", "merge"): "The instructions of all steps of this search, merged into one text:",
    ("feedback", "list"): "What was wrong with instructions of this search:",
    ("feedback", "merge"): "What was wrong with the instructions of all steps of this search, "
    "merged into one text:",
}
PROBLEMS = "What is wrong with the current instruction:"

# The sentence about the edit limit, by how prompts are refined.
LIMITS = {
    "generate": " It may differ from the current instruction in at most {} words.",
    "edit": " Change at most {} words.",
}
