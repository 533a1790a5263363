"""The prompt that a run has found, and nothing else, so that it can be piped."""

from __future__ import annotations

import json
from collections.abc import Sequence

from prompt_optimization.commands.arguments import Arguments, refused
from prompt_optimization.errors import InputError
from prompt_optimization.report.found import Found, find
from prompt_optimization.report.record import prompt_record

FORMS = ("text", "template", "chat", "json")


def main(arguments: Sequence[str], program: str) -> int:
    parser = Arguments(
        program,
        description="The prompt that a run has found: what dev has elected, or the best one so "
        "far. A run is a log's file, its result_prefix, its name as 'greater list' shows it, or "
        "the beginning of its id.",
    )
    parser.add_argument("run", help="a log, or a run's name")
    parser.add_argument(
        "--as", dest="form", choices=FORMS, default="text",
        help="text: as it is pasted; template: all that the model reads, with {question}; chat: "
        "the same as messages in JSON; json: the prompt with its messages, extractor and figures",
    )  # fmt: skip
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--initial", action="store_true", help="the initial prompt instead")
    which.add_argument("--rank", type=int, metavar="K", help="the K-th best on train instead")
    given = parser.parse_args(arguments)
    try:
        run = find(given.run)
        if given.initial:
            prompt = run.initial
        else:
            prompt = run.chosen if given.rank is None else run.ranked(given.rank)
        print(shown(run, prompt, given.form))
    except InputError as error:
        return refused(error)
    return 0


def shown(run: Found, prompt: str, form: str) -> str:
    """``prompt`` of ``run`` in one of ``FORMS``."""
    if form == "text":
        return prompt.strip()
    if form == "template":
        return run.whole(prompt)
    if form == "chat":
        return json.dumps(run.messages(prompt), ensure_ascii=False, indent=1)
    return json.dumps(prompt_record(run, prompt), ensure_ascii=False, indent=1)
