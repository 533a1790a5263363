"""How much of a candidate's reasoning does the incumbent's predict?

A one-token edit may leave the reasoning as it was. If so, the incumbent's reasoning could be read
as a draft of the candidate's, in one go, up to the first token that differs. This runs a real
search and measures how long that common beginning is: what a draft could save at most.

    python -m benchmarks.drafts --data data/BBH/one_step_arithmetic.json --new-tokens 32
"""

from __future__ import annotations

import argparse
import statistics

from rich.console import Console

from benchmarks.workload import (
    build_model,
    build_search,
    command,
    parser,
    read_examples,
)
from prompt_optimization.models.chat import resolve_chat_format
from prompt_optimization.models.encoded import common_length
from prompt_optimization.models.model import Model
from prompt_optimization.models.worker import Worker


def options() -> argparse.Namespace:
    made = parser("Common beginning of the incumbent's and the candidates' reasoning.")
    made.add_argument("--samples", type=int, default=24)
    made.add_argument("--new-tokens", type=int, default=64)
    made.add_argument("--steps", type=int, default=12)
    made.add_argument("--dtype", default="auto")
    return made.parse_args()


def main() -> int:
    given = options()
    model = build_model(given, given.dtype)
    chat = resolve_chat_format(model.tokenizer)
    answerer = Model.in_process(Worker(model, chat, given.max_rows, given.gradient_rows))
    examples = read_examples(given.data, given.samples)
    search = build_search(answerer, examples, given.steps, given.new_tokens)
    incumbent = search.incumbent.scored
    shares, whole = [], []
    for _ in range(given.steps):
        step = search.step()
        assert step is not None
        for tried in step.tried:
            for draft, reasoning in zip(incumbent.reasonings, tried.scored.reasonings, strict=True):
                shares.append(common_length(draft, reasoning) / max(1, len(reasoning)))
                whole.append(draft == reasoning)
        incumbent = step.incumbent.scored
    quarters = statistics.quantiles(shares, n=4)
    Console(highlight=False, width=100).print(
        f"{model.name}, {given.samples} samples, {given.new_tokens} new tokens, "
        f"{len(shares)} candidate reasonings in {given.steps} steps: the incumbent's predicts "
        f"{100 * statistics.mean(shares):.0f} % of the tokens on average "
        f"(quartiles {', '.join(f'{100 * q:.0f}' for q in quarters)} %); "
        f"{100 * statistics.mean(whole):.0f} % are the same to the end"
    )
    return 0


if __name__ == "__main__":
    command(main)
