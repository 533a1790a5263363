"""Recommend a prompt for each question by what a run of the method oirl has learnt.

Asks no language model: a sentence encoder and a reward model answer in milliseconds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from prompt_optimization.commands.arguments import Arguments, refused
from prompt_optimization.errors import InputError, check_characters
from prompt_optimization.garbage import uncollected


def main(arguments: Sequence[str], program: str) -> int:
    parser = Arguments(
        program, description="Recommend a prompt for each question, without a language model."
    )
    parser.add_argument(
        "--from", dest="run", required=True, metavar="RUN",
        help="a run of the method oirl: its log, its result_prefix, or what greater oirl wrote",
    )  # fmt: skip
    parser.add_argument(
        "question",
        nargs="*",
        help="where none is given, the standard input is read, a question a line",
    )
    parser.add_argument("--rule", default="irl0", help="irl0, irl10, heldout or mixed")
    parser.add_argument("--json", action="store_true", help="a JSON object a question")
    given = parser.parse_args(arguments)
    try:
        recommend(given.run, given.question or sys.stdin, given.rule, given.json)
    except InputError as error:
        return refused(error)
    return 0


def recommend(run: str, questions: Iterable[str], rule: str, as_json: bool) -> None:
    """Print a recommendation for each of ``questions``.

    Raises:
        InputError: the run cannot be used, there is no such rule, or a question is empty.
    """
    # Not at the top, so that --help loads no numpy.
    from prompt_optimization.optimizers.oirl.settings import check_rule

    check_rule(rule, "rule")
    asked = [question.strip() for question in questions]
    for question in asked:
        if not question:
            raise InputError("a question is empty; write one, or leave the line out")
        check_characters(question, "a question")
    # Only now, because these load torch.
    with uncollected():
        from transformers.utils import logging

        from prompt_optimization.runs.recommend import open_recommender

    logging.disable_progress_bar()
    recommender = open_recommender(run)
    for question in asked:
        found = recommender.recommend(question, rule)
        if as_json:
            print(json.dumps(asdict(found) | recommender.measured, ensure_ascii=False))
            continue
        print(found.prompt.strip())
        if found.prompt == found.single:
            print(f"  right with chance {found.chance:.2f}; the best prompt for all questions")
        else:
            print(
                f"  right with chance {found.chance:.2f}; the best prompt for all questions: "
                f"{found.single_chance:.2f}"
            )
        print(f"  chosen in {1000 * found.seconds:.1f} ms")
    if not as_json:
        print(sure(recommender.measured))


def sure(measured: dict[str, Any]) -> str:
    """What was measured of the choices, in a line."""
    gain, auc = measured["gain"], measured["auc"]
    if gain is None:
        return "how good such choices are was not measured: the run set no questions aside"
    # Not at the top, as above.
    from prompt_optimization.scoring.statistics import in_points

    open_, harms = "; whether choosing helps is open", "; it harms"
    verdict = "" if gain["low"] > 0 else open_ if gain["high"] > 0 else harms
    told = "" if auc is None else f" (AUC {auc:.3f})"
    return (
        f"on {gain['n']} questions that were not learnt from, choosing gained {in_points(gain)} "
        f"over the best prompt for all questions{told}{verdict}"
    )
