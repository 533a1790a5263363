"""What the first prompts are asked for with: an instruction guessed from questions and answers, and
variations of one. The meta-prompts of APE, from which other methods begin too."""

from __future__ import annotations

import random
from collections.abc import Sequence

from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.tasks.examples import Example

# The temperature of APE's code.
TEMPERATURE = 0.9

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


# What the settings say that put files in the place of both.
INDUCTION_FILE = "a file with a meta-prompt in place of the induction's own; its slot is {examples}"
PARAPHRASE_FILE = "a file with a meta-prompt in place of the paraphrase's own; its slot is {prompt}"


def demonstrations(examples: Sequence[Example], count: int, rng: random.Random) -> str:
    """``count`` of ``examples``, drawn without replacement, in the words of ``INDUCE``."""
    chosen = rng.sample(list(examples), min(count, len(examples)))
    return "\n\n".join(
        f"Question: {example.question}\nAnswer: {example.answer}" for example in chosen
    )
