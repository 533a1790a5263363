"""What the writer is asked, in our own words."""

from __future__ import annotations

from prompt_optimization.optimizers.text.metaprompt import MetaPrompt

PROPOSE = MetaPrompt(
    """\
A language model answers questions. It reads one instruction with every question. Below are \
instructions that were tried, each with its score: the higher the score, the better the questions \
were answered. The best instruction comes last.

{trajectory}

This is how questions are asked, and what the right answers are. <instruction> shows where the \
instruction is written.

{exemplars}

Write one new instruction that will score higher than all of these. It must differ from each of \
them, suit all questions of this kind, and be short. Write it between <prompt> and </prompt>, and \
write nothing else.""",
    slots=("trajectory", "exemplars"),
)
