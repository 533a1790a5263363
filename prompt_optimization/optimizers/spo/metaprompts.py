"""What the writer and the judge are asked, in our own words."""

from __future__ import annotations

from prompt_optimization.optimizers.text.metaprompt import MetaPrompt

CHALLENGE = MetaPrompt(
    """\
A language model answers questions. It reads one instruction with every question.

This is required of its answers:
{requirements}

This is the best instruction so far:
{prompt}

These are questions, and what the model answers under it:

{answers}

Find out where these answers fall short of what is required. Then change the instruction so that \
the model answers questions of this kind better. Name the change in one sentence first. Then write \
the whole new instruction between <prompt> and </prompt>.{limit}""",
    slots=("requirements", "prompt", "answers", "limit"),
)

JUDGE = MetaPrompt(
    """\
Two answers are compared.

This is required of an answer:
{requirements}

{question}

Answer A:
{first}

Answer B:
{second}

Which answer meets the requirements better? {reply}""",
    slots=("requirements", "question", "first", "second", "reply"),
)

# How the judge replies: in tags after some thought, or by its next word alone.
TAGGED = "Give the reason in one sentence. Then write A or B between <choice> and </choice>."
LETTER = "Reply with one letter, A or B."
