"""What the writer is asked, in our own words."""

from __future__ import annotations

from prompt_optimization.optimizers.text.metaprompt import MetaPrompt

REFLECT = MetaPrompt(
    """\
A language model answers questions. It reads this instruction with every question:

{prompt}

This is what the model made of some questions under that instruction, with feedback on each:

{examples}

Write a better instruction. Read off the questions what form they have and what is asked for. Put \
every fact about the subject that the feedback shows into the instruction, because the model will \
not see the feedback. Where the model's answers show a way of working that suits all questions of \
this kind, ask for it. Write the new instruction between <prompt> and </prompt>, and write nothing \
else.""",
    slots=("prompt", "examples"),
)
