"""What a step of the method takes on paper: tokens, arithmetic, memory and seconds.

Prints the tables of docs/scaling.md. The first holds the model against the points that
benchmarks.scaling measured (benchmarks/RESULTS.md); the others are computed alone.

    python -m benchmarks.cost
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.workload import SHAPES
from prompt_optimization.models.memory import GPU_ROWS, KV_COPIES
from prompt_optimization.models.shape import Shape


@dataclass(frozen=True)
class Step:
    """One step of the search; lengths in tokens.

    Attributes:
        samples, shortlist: training rows, and candidates that are tried on all of them.
        question: of what stands before the prompt.
        left: of the prompt from the edited position on.
        around: of what follows the prompt, extractor and answer.
        new: of the reasoning.
    """

    samples: int
    shortlist: int = 3
    question: int = 150
    left: int = 8
    around: int = 40
    new: int = 256

    @property
    def rows(self) -> int:
        return self.samples * self.shortlist

    @property
    def columns(self) -> int:
        """Of a row at its end."""
        return self.question + self.left + self.around + self.new

    @property
    def decoded(self) -> int:
        return self.rows * self.new

    @property
    def read(self) -> int:
        """A row's last decoded token is read with the extractor."""
        return self.rows * (self.left + self.around + 1)

    @property
    def differentiated(self) -> int:
        return self.samples * (self.left + self.around + self.new)


@dataclass(frozen=True)
class Device:
    """What a device reaches: FLOP/s in matrix products, bytes/s of memory, bytes."""

    flops: float
    bandwidth: float
    memory: float


# 40 % of the arithmetic and half of the bandwidth that the makers state: assumed, not measured.
H100 = Device(0.4 * 989e12, 0.5 * 3.35e12, 80e9)
# Of a device's memory: what weights may take, so that rows have room.
WEIGHTS = 0.75
# Seconds of a decoding step besides, with CUDA graphs: assumed.
LAUNCH = 1e-3

SMALL = Shape(30, 576, 1536, 9, 3, 64, 49152, 2)
LARGE = {
    "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
    "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256,
}  # fmt: skip
SIZES = {"1B": SHAPES["llama32-1b"], "8B": SHAPES["llama3-8b"], "70B": LARGE}

# benchmarks/RESULTS.md, 2026-11-21, how a step grows: samples, new tokens, shortlist, tokens of the
# prompt; then seconds, and tokens decoded, read and differentiated.
MEASURED = (
    (6, 64, 3, 16, 5.4, 1113, 823, 651),
    (12, 64, 3, 16, 9.4, 2279, 1649, 1302),
    (24, 64, 3, 16, 14.1, 4567, 3298, 2578),
    (48, 64, 3, 16, 26.9, 9114, 6582, 5161),
    (24, 32, 3, 16, 8.6, 2304, 3300, 1836),
    (24, 128, 3, 16, 27.4, 8555, 3281, 3916),
    (24, 64, 6, 16, 21.7, 9072, 6568, 2578),
    (24, 64, 12, 16, 40.4, 18091, 13109, 2578),
    (24, 64, 3, 32, 19.0, 4592, 4451, 2988),
    (24, 64, 3, 64, 17.9, 4606, 6755, 3756),
)
# There: the edited position, and tokens of the question, and of what follows the prompt.
POSITION, QUESTION, AROUND = 3, 74, 31


def shape_of(sizes: dict[str, int]) -> Shape:
    """The shape of a Llama of these sizes in bfloat16."""
    heads, width = sizes["num_attention_heads"], sizes["hidden_size"]
    return Shape(
        sizes["num_hidden_layers"], width, sizes["intermediate_size"], heads,
        sizes["num_key_value_heads"], width // heads, sizes["vocab_size"], 2,
    )  # fmt: skip


def weight_bytes(shape: Shape, tied: bool) -> float:
    """Of all matrices; the embedding counts twice unless it is the head, too."""
    embedding = shape.vocabulary * shape.width
    return shape.item * (shape.reading_flops(0) / 2 + (1 if tied else 2) * embedding)


def flops(shape: Shape, step: Step) -> float:
    """Of a step, at the mean context of each kind of token."""
    half = step.question + (step.columns - step.question) / 2
    return (
        step.decoded * shape.decoding_flops(half)
        + step.read * shape.reading_flops(half)
        + step.differentiated * shape.gradient_flops(half)
    )


@dataclass(frozen=True)
class Estimate:
    """A step on some devices.

    Attributes:
        devices: of one copy; copies: that work side by side.
        seconds, decoding: of the step, and of decoding alone.
        rows: side by side in a copy.
        gigabytes: a device's, of weights, cached questions and pool.
    """

    devices: int
    copies: int
    seconds: float
    decoding: float
    rows: int
    gigabytes: float


def estimate(shape: Shape, tied: bool, step: Step, devices: int, device: Device) -> Estimate | None:
    """``step`` on ``devices``; None where they do not hold the weights."""
    weights = weight_bytes(shape, tied)
    parts = math.ceil(weights / (WEIGHTS * device.memory))
    if parts > devices:
        return None
    copies = min(devices // parts, step.samples)
    samples = math.ceil(step.samples / copies)
    own = Step(samples, step.shortlist, step.question, step.left, step.around, step.new)
    cached = samples * step.question * shape.token_bytes
    row = KV_COPIES * step.columns * shape.token_bytes
    room = 0.8 * (parts * device.memory - weights - cached)
    rows = max(1, min(own.rows, GPU_ROWS, int(room / row)))
    pools = math.ceil(own.rows / rows)
    half = step.question + step.left + step.new / 2
    # The devices of one copy work one after the other.
    moved = weights + rows * half * shape.token_bytes
    once = max(moved / device.bandwidth, rows * shape.decoding_flops(half) / device.flops)
    decoding = pools * step.new * (once + LAUNCH)
    rest = own.read * shape.reading_flops(half) + own.differentiated * shape.gradient_flops(half)
    held = (weights + cached + rows * row) / parts / 1e9
    return Estimate(parts, copies, decoding + rest / device.flops, decoding, rows, held)


def checked() -> Table:
    """The measured points, and the seconds at one rate for all of them."""
    rates, lines = [], []
    for samples, new, shortlist, prompt, seconds, decoded, read, differentiated in MEASURED:
        step = Step(samples, shortlist, QUESTION, prompt - POSITION, AROUND, new)
        work = flops(SMALL, step)
        rates.append(work / seconds)
        lines.append((step, prompt, seconds, (decoded, read, differentiated), work))
    rate = statistics.median(rates)
    table = Table(
        "samples", "new", "shortlist", "prompt", "decoded", "read", "differentiated", "TFLOP",
        "seconds", "measured", title=f"tokens: on paper / measured; {rate / 1e9:.0f} GFLOP/s",
    )  # fmt: skip
    for step, prompt, seconds, tokens, work in lines:
        paper = step.decoded, step.read, step.differentiated
        table.add_row(
            *map(str, (step.samples, step.new, step.shortlist, prompt)),
            *(f"{one} / {other}" for one, other in zip(paper, tokens, strict=True)),
            f"{work / 1e12:.2f}", f"{work / rate:.1f}", f"{seconds:.1f}",
        )  # fmt: skip
    return table


def tables() -> list[Table]:
    sizes = Table("model", "weights, GB", "a token's cache, KB", "a token's gradient, MB")
    steps = Table(
        "model", "samples", "decoded", "read", "differentiated", "PFLOP", "GPUs", "a copy on",
        "copies", "rows each", "GB a GPU", "step, s", "decoding, s",
    )  # fmt: skip
    for name, given in SIZES.items():
        shape, tied = shape_of(given), bool(given.get("tie_word_embeddings"))
        sizes.add_row(
            name, f"{weight_bytes(shape, tied) / 1e9:.1f}", f"{shape.token_bytes / 1e3:.0f}",
            f"{shape.gradient_bytes / 1e6:.1f}",
        )  # fmt: skip
        for samples in (50, 250, 1000):
            step = Step(samples)
            for devices in (1, 8, 64):
                found = estimate(shape, tied, step, devices, H100)
                paper = (step.decoded, step.read, step.differentiated)
                row = [name, f"{samples}", *(f"{n:,}" for n in paper)]
                row += [f"{flops(shape, step) / 1e15:.2g}", f"{devices}"]
                if found is None:
                    row += ["does not fit"]
                else:
                    row += [f"{found.devices}", f"{found.copies}", f"{found.rows}"]
                    row += [f"{found.gigabytes:.0f}", f"{found.seconds:.1f}"]
                    row += [f"{found.decoding:.1f}"]
                steps.add_row(*row)
    return [sizes, steps]


def main() -> None:
    console = Console(highlight=False, width=130)
    for table in (checked(), *tables()):
        table.box = None
        console.print(table)
        console.print()


if __name__ == "__main__":
    main()
