"""What a GPU makes of a step: published schedule, plain loop and graphs, side by side in one run.

Models of known shapes with random weights, in bfloat16; no row ends by itself. The table says how
long a step takes, how many tokens a second are decoded, how many the memory's bandwidth allows
(every step reads all weights and the cache of all rows), and how much memory that took. vLLM
decodes the same rows where it is installed. Then the tests that work on any device run on this one.

    bash benchmarks/gpu.sh --out benchmarks/GPU.md
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.schedules import EngineSchedule, Measured, PublishedSchedule
from benchmarks.workload import (
    PROMPT,
    ROOT,
    SHAPES,
    PeakMemory,
    alike,
    build_model,
    build_samples,
    build_work,
    command,
    machine,
    parser,
    read_examples,
    read_rows,
    rows_of,
    synchronise,
)
from prompt_optimization.errors import InputError, did_you_mean
from prompt_optimization.files import write_whole
from prompt_optimization.models.decode import decode
from prompt_optimization.models.graphs import use_graphs
from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.static import StaticBuffers

GOAL = "Goal on one H200: a step of the 8B shape in at most 6 s, half of the bandwidth's tokens/s."
LOOP, GRAPHS, PUBLISHED = "plain loop", "graphs", "published schedule"
# Tests whose models may lie on any device, and what tells them on which.
TESTS = ("engine", "sampling", "static", "reread")
TEST_FILES = [f"tests/models/test_{name}.py" for name in TESTS]
DEVICE_VARIABLE = "GREATER_TEST_DEVICE"
COPIES = 10


@dataclass(frozen=True)
class Way:
    """A way to make the step, with its seconds, tokens decoded a second, and peak memory in GiB
    beyond the weights; None where it was not measured."""

    name: str
    step: float | None = None
    tokens_per_second: float | None = None
    peak: float | None = None
    remark: str = ""


def options() -> argparse.Namespace:
    made = parser("Published schedule, plain loop and graphs on a GPU.")
    made.add_argument("--shapes", default="llama3-8b,llama32-1b", help="by commas")
    made.add_argument("--samples", type=int, default=50)
    made.add_argument("--new-tokens", type=int, default=256)
    made.add_argument("--shortlist", type=int, default=3)
    made.add_argument(
        "--skip-published",
        action="store_true",
        help="leave the published schedule out, which takes minutes a step",
    )
    made.add_argument("--out", help="a Markdown file; benchmarks/GPU.md when left out")
    made.add_argument(
        "--trial",
        action="store_true",
        help="a tiny model on the CPU, to try the command itself; without --out, into the folder "
        "for temporary files",
    )
    made.set_defaults(random_weights=True, force_tokens=True, device="cuda:0", gradient_rows=8)
    given = made.parse_args()
    for shape in given.shapes.split(","):
        if shape not in SHAPES:
            raise InputError(f"there is no shape '{shape}'; {did_you_mean(shape, SHAPES)}")
    if given.trial:
        given.shapes, given.device = "tiny", "cpu"
        given.samples, given.new_tokens, given.repeats = 4, 8, 1
    elif not torch.cuda.is_available():
        raise InputError("this machine has no GPU that torch can use; run it where there is one")
    folder = Path(tempfile.gettempdir()) if given.trial else ROOT / "benchmarks"
    given.out = Path(given.out or folder / "GPU.md")
    return given


def main() -> int:
    given = options()
    device = torch.device(given.device)
    bandwidth = measured_bandwidth(device)
    parts = [
        f"# On {machine(device)}\n\n"
        f"{given.samples} samples of `{Path(given.data).name}`, {given.new_tokens} forced new "
        f"tokens, {given.shortlist} candidates, bfloat16, random weights; median of "
        f"{given.repeats} interleaved runs after one to warm up. Memory: peak beyond the weights. "
        f"Copies within the device's memory reach {bandwidth / 1e9:,.0f} GB/s.\n\n{GOAL}\n"
    ]
    write_whole(given.out, parts[0].encode())
    for shape in given.shapes.split(","):
        given.shape = shape
        parts.append(f"## {shape}\n\n{table(*measure(given, bandwidth))}")
        write_whole(given.out, "\n".join(parts).encode())
        print(parts[-1], flush=True)
    parts.append(f"## Tests on {device}\n\n{tested(device)}\n")
    write_whole(given.out, "\n".join(parts).encode())
    print(f"{parts[-1]}\nwritten to {given.out}")
    return 0


def measure(given: argparse.Namespace, bandwidth: float) -> tuple[list[Way], float]:
    """Every way, and the tokens a second that the bandwidth allows."""
    model = build_model(given, "bfloat16")
    samples = build_samples(model, read_examples(given.data, given.samples))
    work = build_work(samples, PROMPT, 3, given.shortlist, given.new_tokens)
    engine = EngineSchedule(model, samples, given.max_rows, given.gradient_rows)
    use_graphs(model, "on")
    places: dict[str, StaticBuffers | None] = {LOOP: None}
    if model.static is not None:
        places[GRAPHS] = model.static
    published = None if given.skip_published else PublishedSchedule(model, samples)
    steps: dict[str, list[Measured]] = {PUBLISHED: []} if published else {}
    steps |= {name: [] for name in places}
    peaks: dict[str, float] = {}
    for _ in range(1 + given.repeats):
        for name, model.static in places.items():
            memory = PeakMemory(model.device)
            engine.prepare(work)
            steps[name].append(engine.step(work))
            peaks.setdefault(name, memory.gib())
        if published:
            memory = PeakMemory(model.device)
            steps[PUBLISHED].append(published.step(work))
            peaks.setdefault(PUBLISHED, memory.gib())
    rows = rows_of(samples, work)
    tokens = len(rows) * given.new_tokens
    rates: dict[str, float] = {}
    for name, model.static in places.items():
        decoded_in(model, rows, given.new_tokens)  # captures
        rates[name] = tokens / decoded_in(model, rows, given.new_tokens)
        model.release_buffers()
    remarks = {}
    if GRAPHS in places:
        remarks[GRAPHS] = agreement(steps[LOOP][-1], steps[GRAPHS][-1])
    ways = [
        Way(
            name,
            statistics.median(run.total for run in runs[1:]),
            rates.get(name),
            peaks[name],
            remarks.get(name, ""),
        )
        for name, runs in steps.items()
    ]
    try:
        rate = by_vllm(model, rows, given.new_tokens)
        ways.append(Way("vLLM", None, rate, None, "" if rate else "not installed"))
    except InputError as error:
        ways.append(Way("vLLM", remark=error.problem))
    return ways, tokens / floor_seconds(model, rows, given.new_tokens, bandwidth)


def agreement(one: Measured, other: Measured) -> str:
    same, rows = alike(one.reasonings, other.reasonings)
    return f"same reasoning as by the loop: {same} of {rows}"


@torch.no_grad()
def decoded_in(model: LanguageModel, rows: Sequence[Ids], limit: int) -> float:
    """Seconds in which ``rows`` get ``limit`` tokens each, once they are read."""
    kv, logits = read_rows(model, rows, limit)
    synchronise(model.device)
    start = time.perf_counter()
    decode(model, kv, logits, limit)
    synchronise(model.device)
    return time.perf_counter() - start


def floor_seconds(model: LanguageModel, rows: Sequence[Ids], limit: int, bandwidth: float) -> float:
    """The time in which the memory could give what decoding reads: the weights once a step, and of
    every row its columns so far."""
    net = model.model
    weights: int = sum(each.numel() * each.element_size() for each in net.parameters())
    inward, outward = net.get_input_embeddings().weight, net.get_output_embeddings().weight
    if inward is not outward:  # a step looks only a few rows of it up
        weights -= inward.numel() * inward.element_size()
    kv = KVRows.empty(1, model.device)
    model.read(kv, torch.tensor([[model.filler]], device=model.device))
    columns = sum(map(len, rows)) * limit + len(rows) * limit * (limit - 1) // 2
    return (weights * limit + columns * kv.column_bytes.total()) / bandwidth


def measured_bandwidth(device: torch.device) -> float:
    """Bytes a second that a copy within the device's memory reads and writes."""
    size = 2**31 if device.type == "cuda" else 2**27
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(COPIES):
        synchronise(device)
        start = time.perf_counter()
        target.copy_(source)
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return 2 * size / statistics.median(seconds)


def by_vllm(model: LanguageModel, rows: Sequence[Ids], limit: int) -> float | None:
    """Tokens a second by vLLM in a process of its own; None where it is not installed.

    Raises:
        InputError: it fails.
    """
    if find_spec("vllm") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        model.model.save_pretrained(folder)
        (Path(folder) / "rows.json").write_text(json.dumps(rows))
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks.gpu_vllm", folder, str(limit)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if ran.returncode:
        last = ran.stderr.strip().splitlines()[-1:] or ["no message"]
        raise InputError(f"vLLM fails: {last[0]}")
    return len(rows) * limit / float(ran.stdout.strip().splitlines()[-1])


def tested(device: torch.device) -> str:
    """What pytest says last about the tests with their models on ``device``."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", *TEST_FILES],
        cwd=ROOT,
        env=os.environ | {DEVICE_VARIABLE: str(device)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = ran.stdout.strip().splitlines()
    told = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return "\n".join([f"`{' '.join(TEST_FILES)}`:", "", *told, *lines[-1:]])


def table(ways: Sequence[Way], limit: float) -> str:
    lines = [
        "| way | step, s | decoding, tokens/s | of the bandwidth's | peak, GiB | |",
        "|---|---|---|---|---|---|",
    ]
    for way in ways:
        rate = way.tokens_per_second
        cells = (
            way.name,
            "" if way.step is None else f"{way.step:.2f}",
            "" if rate is None else f"{rate:,.0f}",
            "" if rate is None else f"{rate / limit:.0%}",
            "" if way.peak is None else f"{way.peak:.1f}",
            way.remark,
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(f"| the bandwidth | | {limit:,.0f} | 100% | | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command(main)
