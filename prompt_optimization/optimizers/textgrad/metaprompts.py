"""What the writer is asked, in our own words."""

from __future__ import annotations

from prompt_optimization.optimizers.text.metaprompt import MetaPrompt

ANSWER_FEEDBACK = MetaPrompt(
    """\
A language model was asked a question. You give feedback on its answer, so that it can be improved.

{example}

{verdict}

Say which parts of the reasoning and of the answer led to this result, and what should have been \
done differently. Be critical and concrete. Do not write a new answer.""",
    slots=("example", "verdict"),
)

PROMPT_FEEDBACK = MetaPrompt(
    """\
A language model answers questions. It reads this instruction with every question. You give \
feedback on the instruction, so that it can be improved.

{prompt}

With it, a question was answered like this:

{example}

Feedback on the answer:

{feedback}

Say how the instruction has to change for the answer to become better, and what of it should \
stay. It has to suit all questions of this kind. Be critical and concrete. Do not write a new \
instruction.""",
    slots=("prompt", "example", "feedback"),
)

UPDATE = MetaPrompt(
    """\
A language model answers questions. It reads this instruction with every question:

{prompt}

It got this feedback:

{feedback}{memory}

Write a better instruction that follows the feedback. It must suit all questions of this kind, not \
only those above. Write it between <prompt> and </prompt>, and write nothing else.""",
    slots=("prompt", "feedback", "memory"),
)
