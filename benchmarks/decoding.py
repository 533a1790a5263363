"""Greedy decoding of one pool of rows: transformers' own ways against the engine's loop.

All get the same prompts (candidates x samples) and the same limit. Every way runs once to warm up,
then interleaved; medians are printed, with the share of rows whose tokens equal the first way's.

    python -m benchmarks.decoding --dtype bfloat16 --samples 24 --candidates 3 --new-tokens 64
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.table import Table
from transformers import CompileConfig, GenerationConfig

from benchmarks.workload import (
    PROMPT,
    build_model,
    build_samples,
    build_work,
    command,
    interleaved,
    machine,
    parser,
    read_examples,
    read_rows,
    rows_of,
)
from prompt_optimization.models.decode import decode
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.language_model import LanguageModel, pad_left
from prompt_optimization.models.layout import Ids

Way = Callable[[], list[Ids]]


def options() -> argparse.Namespace:
    made = parser("transformers' decoding against the engine's.")
    made.add_argument("--samples", type=int, default=24)
    made.add_argument("--candidates", type=int, default=3)
    made.add_argument("--new-tokens", type=int, default=64)
    made.add_argument("--dtype", default="auto")
    made.add_argument("--ways", default="", help="by semicolons; all when left out")
    return made.parse_args()


def main() -> int:
    given = options()
    model = build_model(given, given.dtype)
    samples = build_samples(model, read_examples(given.data, given.samples))
    work = build_work(samples, PROMPT, 3, given.candidates, given.new_tokens)
    rows = rows_of(samples, work)
    limit = given.new_tokens

    def prefixed() -> list[Ids]:
        engine = Engine(model, given.max_rows)
        outcomes = engine.run(samples, work.candidates, Decoding(limit))
        return [outcome.reasoning for some in outcomes for outcome in some]

    ways: dict[str, Way] = {
        "generate, batches of 9": lambda: [
            ids
            for start in range(0, len(rows), 9)
            for ids in generate(model, rows[start : start + 9], limit)
        ],
        "generate, one batch": lambda: generate(model, rows, limit),
        "generate, static cache": lambda: generate(
            model, rows, limit, cache_implementation="static", disable_compile=True
        ),
        "generate, static cache, compiled": lambda: generate(
            model, rows, limit, cache_implementation="static", compile_config=compilation()
        ),
        "generate_batch": lambda: generate_batch(model, rows, limit),
        "pooled loop": lambda: pooled(model, rows, limit),
        "engine (prefix cached, answers scored too)": prefixed,
    }
    if given.ways:
        ways = {name: way for name, way in ways.items() if name in given.ways.split(";")}

    console = Console(highlight=False, width=100)
    console.print(
        f"{model.name}, {str(model.model.dtype).removeprefix('torch.')}; {len(rows)} rows of "
        f"{sum(map(len, rows)) / len(rows):.0f} tokens, {limit} new; "
        f"median of {given.repeats}; {machine(model.device)}"
    )
    seconds, written = interleaved(ways, given.repeats, model.device)

    table = Table()
    for column in ("way", "first, s", "then, s", "tokens/s", "same rows"):
        table.add_column(column, justify="left" if column == "way" else "right")
    reference = next(iter(written.values()))
    for name, (first, *later) in seconds.items():
        median = statistics.median(later)
        tokens = sum(map(len, written[name]))
        same = sum(a == b for a, b in zip(reference, written[name], strict=True))
        table.add_row(
            name, f"{first:.1f}", f"{median:.1f}", f"{tokens / median:.0f}", f"{same}/{len(rows)}"
        )
    console.print(table)
    return 0


def compilation() -> CompileConfig:
    made = CompileConfig(fullgraph=False, dynamic=False, mode="default")
    made._compile_all_devices = True  # transformers compiles on accelerators only, unless told
    return made


@torch.no_grad()
def generate(
    model: LanguageModel, rows: Sequence[Ids], limit: int, **arguments: object
) -> list[Ids]:
    ids, mask = pad_left(rows, model.filler, model.device)
    output = model.model.generate(
        ids,
        attention_mask=mask.long(),
        max_new_tokens=limit,
        do_sample=False,
        eos_token_id=sorted(model.stop_ids) or None,
        pad_token_id=model.filler,
        **arguments,
    )
    return [_until_stop(model, row) for row in output[:, ids.shape[1] :].tolist()]


@torch.no_grad()
def generate_batch(model: LanguageModel, rows: Sequence[Ids], limit: int) -> list[Ids]:
    results = model.model.generate_batch(
        [list(row) for row in rows],
        generation_config=GenerationConfig(
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=sorted(model.stop_ids) or None,
            pad_token_id=model.filler,
        ),
    )
    return [_until_stop(model, result.generated_tokens) for result in results.values()]


@torch.no_grad()
def pooled(model: LanguageModel, rows: Sequence[Ids], limit: int) -> list[Ids]:
    kv, logits = read_rows(model, rows, limit)
    return decode(model, kv, logits, limit)


def _until_stop(model: LanguageModel, ids: Sequence[int]) -> Ids:
    end = next((i for i, token in enumerate(ids) if token in model.stop_ids), len(ids))
    return tuple(ids[:end])


if __name__ == "__main__":
    command(main)
