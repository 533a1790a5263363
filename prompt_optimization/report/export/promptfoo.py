"""A run's prompt as a configuration of promptfoo, beside the initial prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence

from prompt_optimization.report.export.rows import measured_rows, plain_name, quoted
from prompt_optimization.report.found import Found
from prompt_optimization.report.verdict import verdict_of
from prompt_optimization.tasks.examples import Example

CONFIG = "promptfooconfig.yaml"
SCHEMA = "https://promptfoo.dev/config-schema.json"

# What opens a slot, a statement or a comment in promptfoo's templates.
_OPENING = re.compile(r"\{[{%#]")


def files(run: Found) -> tuple[dict[str, str], list[str]]:
    """The configuration and the prompts, by name, and what they do not carry, a sentence each.

    Raises:
        InputError: the run has no prompt that is a text, or its rows are gone.
    """
    params, examples = run.log["params"], measured_rows(run)
    prompts = {"found": run.chosen}
    if run.initial.strip() != run.chosen.strip():
        prompts["initial"] = run.initial
    written = {f"{name}.json": f"{quoted(_chat(run, each))}\n" for name, each in prompts.items()}
    tokens = params["max_new_tokens"] + params["answer_tokens"]
    provider = {
        "id": f"openai:chat:{run.log['environment']['model']}",
        "config": {
            "apiBaseUrl": "http://localhost:8000/v1",
            "temperature": 0,
            "max_tokens": tokens,
        },
    }
    config = [
        f"# yaml-language-server: $schema={SCHEMA}",
        f"description: {quoted(f'{plain_name(run)}: {verdict_of(run.log).sentence}')}",
        "prompts:",
        *(f"  - {quoted({'id': f'file://{name}.json', 'label': name})}" for name in prompts),
        "# Any provider will do; this one is an OpenAI-compatible server such as vLLM.",
        "providers:",
        f"  - {quoted(provider)}",
        "tests:",
        *_tests(examples),
    ]
    notes = ["an answer is right here where it holds a reference, wherever that stands"]
    if params["extractor_text"].strip():
        notes.append("promptfoo asks once, so the extractor is not written after the reasoning")
    notes.append("figures that are measured there are not those of the log")
    return {CONFIG: "\n".join(config) + "\n"} | written, notes


def _chat(run: Found, prompt: str) -> list[dict[str, str]]:
    return [
        {"role": turn.role, "content": escaped(turn.content).replace("{question}", "{{question}}")}
        for turn in run.turns(prompt)
    ]


def _tests(examples: Sequence[Example]) -> list[str]:
    tests = [
        {"vars": {"question": escaped(example.question)}, "assert": [_right(example)]}
        for example in examples
    ]
    return [f"  - {quoted(test)}" for test in tests]


def _right(example: Example) -> dict[str, object]:
    references = [escaped(reference) for reference in example.references]
    return {"type": "icontains-any", "value": references, "weight": example.weight}


def escaped(text: str) -> str:
    """``text`` as promptfoo's templates write it to the letter."""
    return _OPENING.sub(lambda found: f"{{{{ '{found[0]}' }}}}", text)
