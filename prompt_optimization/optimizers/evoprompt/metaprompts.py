"""What the writer is asked, in our own words. The steps are the paper's; the examples are ours."""

from __future__ import annotations

from prompt_optimization.optimizers.text.metaprompt import MetaPrompt

GA = MetaPrompt(
    """\
Here are two instructions for a language model. Make one new instruction of them, step by step:

1. Cross the two: write one instruction that has parts of each.
2. Mutate the result: change some of its words, so that it works better or says more.
3. Write the final instruction between <prompt> and </prompt>.

An example:

Instruction A: Say whether the reviewer liked the film.
Instruction B: Read the text and choose good or bad.
1. Read the review and choose whether the reviewer found the film good or bad.
2. Read the whole review, weigh praise against blame, and choose good or bad.
3. <prompt>Read the whole review, weigh praise against blame, and choose good or bad.</prompt>

Now your instructions:

Instruction A: {first}
Instruction B: {second}

Go through the steps. Write the final instruction between <prompt> and </prompt>.""",
    slots=("first", "second"),
)

DE = MetaPrompt(
    """\
Here are four instructions for a language model. Make one new instruction of them, step by step:

1. Find the parts in which instructions A and B differ.
2. Mutate these parts: say them in another way, or replace them by something more useful.
3. Combine the mutated parts with the best instruction, each where it fits.
4. Cross the result with the old instruction: take some parts from one and some from the other. \
Write the final instruction between <prompt> and </prompt>.

An example:

Instruction A: Say whether the reviewer liked the film.
Instruction B: Read the text and choose good or bad.
Best instruction: Does the review praise the film? Answer good or bad.
Old instruction: Judge the film by what is written about it.
1. "the reviewer liked the film" against "read the text"; "say whether" against "choose".
2. "what the reviewer enjoyed"; "read all of it first"; "decide".
3. Read all of the review first. Does it praise the film and say what the reviewer enjoyed? Answer \
good or bad.
4. <prompt>Read all of the review first, judge the film by what the reviewer enjoyed, and answer \
good or bad.</prompt>

Now your instructions:

Instruction A: {first}
Instruction B: {second}
Best instruction: {best}
Old instruction: {old}

Go through the steps. Write the final instruction between <prompt> and </prompt>.""",
    slots=("first", "second", "best", "old"),
)
