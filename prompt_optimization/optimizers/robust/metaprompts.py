"""What the writer is asked beside APE's induction, in our own words."""

from __future__ import annotations

from prompt_optimization.optimizers.text.metaprompt import MetaPrompt

INPUTS = MetaPrompt(
    """\
Somebody was given one instruction, followed it on several questions, and gave the right answer \
each time:

{examples}

The same instruction was followed on these questions too. Their answers are not known:

{inputs}

What was the instruction? It did not speak of single questions: it holds for all questions of both \
kinds. Write it between <prompt> and </prompt>, and write nothing else.""",
    slots=("examples", "inputs"),
)
