"""What the writer is asked, in our own words."""

from __future__ import annotations

from prompt_optimization.optimizers.text.metaprompt import MetaPrompt

REASON = MetaPrompt(
    """\
A language model answers questions. It reads this instruction with every question:

{prompt}

With it, the model did not get these questions right:

{errors}

Give {reasons} why the instruction may have led to these answers. Say what it lacks or what in it \
misleads. Do not write a new instruction.""",
    slots=("prompt", "errors", "reasons"),
)

EDIT = MetaPrompt(
    """\
A language model answers questions. It reads this instruction with every question:

{prompt}

With it, the model did not get these questions right:

{errors}

What is wrong with the instruction:

{reason}

Write a better instruction that takes this into account. It must suit all questions of this kind, \
not only those above, and may have {length}. Write it between <prompt> and </prompt>, and write \
nothing else.""",
    slots=("prompt", "errors", "reason", "length"),
)
