"""What the writer is asked, in our own words."""

from __future__ import annotations

from prompt_optimization.optimizers.text.metaprompt import MetaPrompt

ANALYSE = MetaPrompt(
    """\
An instruction is given to a language model together with a question. The instruction decides how \
well the question is answered. You improve an instruction in two steps: first you examine what the \
model wrote under it, then you write a better one. This is the first step.

The instruction:

{prompt}

The model reads this, where <question> stands for the question. Then it reasons and answers.

{template}

What the model wrote under it:

{examples}

The right answers can be trusted; the instruction may be at fault. Go through the examples one by \
one. For each of them say:
- whether the model's answer is right, and where its reasoning went wrong if it is not;
- whether the model did what the instruction says;
- whether the instruction describes what the right answer is an answer to;
- whether the instruction has to be changed for it, and how.
Do not write a new instruction yet.""",
    slots=("prompt", "template", "examples"),
)

REWRITE = MetaPrompt(
    """\
An instruction is given to a language model together with a question. The instruction decides how \
well the question is answered. You improve an instruction in two steps: first you examine what the \
model wrote under it, then you write a better one. This is the second step.

The instruction:

{prompt}

The model reads this, where <question> stands for the question. Then it reasons and answers.

{template}

What the model wrote under it:

{examples}

What you found in the first step:

{analysis}{history}

Write a better instruction in {length}. It must suit all questions of this kind, not only those \
above. Write it between <prompt> and </prompt>, and write nothing else.""",
    slots=("prompt", "template", "examples", "analysis", "history", "length"),
)

SUMMARISE = MetaPrompt(
    """\
An instruction for a language model was changed.

Before:

{before}

After:

{after}

Say in one sentence what was changed. Write nothing else.""",
    slots=("before", "after"),
)
