"""What the writer is asked, in our own words."""

from __future__ import annotations

from prompt_optimization.optimizers.text.metaprompt import MetaPrompt

INDUCE = MetaPrompt(
    """\
Somebody was given one instruction, followed it on several questions, and gave the right answer \
each time:

{examples}

What was the instruction? It did not speak of single questions: it holds for all questions of this \
kind. Write it between <prompt> and </prompt>, and write nothing else.""",
    slots=("examples",),
)

PARAPHRASE = MetaPrompt(
    """\
This instruction tells a language model how to answer questions:

{prompt}

Write a variation of it: other words, the same meaning. Write it between <prompt> and </prompt>, \
and write nothing else.""",
    slots=("prompt",),
)
