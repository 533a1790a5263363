"""What a decoding step's products and attention could gain on a CPU, kernel by kernel.

The shapes are those of SmolLM2-135M with 24 samples and three candidates. Every way runs in turn,
on one thread, by the thread's own time; the medians of the ratios to the first way are printed.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.kernels
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn.functional import linear, scaled_dot_product_attention

SAMPLES, CANDIDATES, HEADS, QUERIES, WIDTH = 24, 3, 3, 3, 64
ROWS = SAMPLES * CANDIDATES
# Outputs, inputs, and how often in a row, so that every shape takes about as long.
PRODUCTS = ((1536, 576, 60), (576, 1536, 60), (576, 576, 100), (192, 576, 200), (49152, 576, 2))
# Columns of the question, of all, and that there is room for.
COLUMNS = ((80, 120, 120), (80, 120, 160), (80, 117, 160))
ROUNDS = 7

Ways = Mapping[str, Callable[[], torch.Tensor]]


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for dtype in (torch.bfloat16, torch.float32):
        for outputs, inputs, times in PRODUCTS:
            print(
                dtype,
                f"{ROWS} x {inputs} x {outputs}:",
                ratios(product(dtype, outputs, inputs), times),
            )
        for question, used, room in COLUMNS:
            found = ratios(attention(dtype, question, used, room), 20)
            print(dtype, f"attention to {used} columns in room for {room}:", found)


def product(dtype: torch.dtype, outputs: int, inputs: int) -> Ways:
    x, weights = torch.randn(ROWS, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    turned = weights.T.contiguous()
    packed: Any = torch.ops.mkldnn._reorder_linear_weight(weights, ROWS)
    public = weights.to_mkldnn()
    return {
        "linear": lambda: linear(x, weights),
        "weights turned": lambda: x @ turned,
        "packed, private": lambda: torch.ops.mkldnn._linear_pointwise(
            x, packed, None, "none", [], ""
        ),
        "packed, public": lambda: torch._C._nn.mkldnn_linear(
            x.to_mkldnn(), public, None
        ).to_dense(),
    }


def attention(dtype: torch.dtype, question: int, used: int, room: int) -> Ways:
    """One query a row: sdpa, matrix products, the same over copied keys, and over the question's
    keys once for all candidates of a sample."""
    q = torch.randn(ROWS, HEADS, QUERIES, WIDTH).to(dtype) * WIDTH**-0.5
    k, v = torch.randn(2, ROWS, HEADS, room, WIDTH).to(dtype)[:, :, :, :used]
    mask = torch.ones(ROWS, 1, 1, used, dtype=torch.bool)
    mask[::3, ..., :5] = False
    shared_k, shared_v = (each[::CANDIDATES, :, :question].contiguous() for each in (k, v))
    own_k, own_v = k[:, :, question:], v[:, :, question:]

    def shares(scores: torch.Tensor) -> torch.Tensor:
        return scores.float().masked_fill_(~mask, -torch.inf).softmax(-1).to(dtype)

    def together(x: torch.Tensor) -> torch.Tensor:
        x = x.view(SAMPLES, CANDIDATES, HEADS, QUERIES, -1).transpose(1, 2)
        return x.reshape(SAMPLES, HEADS, CANDIDATES * QUERIES, -1)

    def apart(x: torch.Tensor) -> torch.Tensor:
        x = x.view(SAMPLES, HEADS, CANDIDATES, QUERIES, -1).transpose(1, 2)
        return x.reshape(ROWS, HEADS, QUERIES, -1)

    def by_question() -> torch.Tensor:
        first = apart(together(q) @ shared_k.mT)
        weights = shares(torch.cat([first, q @ own_k.mT], -1))
        values: torch.Tensor = apart(together(weights[..., :question].contiguous()) @ shared_v)
        values += weights[..., question:] @ own_v
        return values

    return {
        "sdpa": lambda: scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0),
        "products": lambda: shares(q @ k.mT) @ v,
        "keys copied": lambda: shares(q @ k.contiguous().mT) @ v,
        "question's keys once": by_question,
    }


def ratios(ways: Ways, times: int) -> str:
    """How much faster than the first every way is, and the first's microseconds."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 + ROUNDS):
        for name, way in ways.items():
            start = time.thread_time()
            for _ in range(times):
                way()
            seconds[name].append(time.thread_time() - start)
    first, *others = seconds
    found = [f"{first} {statistics.median(seconds[first][1:]) / times * 1e6:.0f} us"]
    for name in others:
        pairs = zip(seconds[first][1:], seconds[name][1:], strict=True)
        found.append(f"{name} {statistics.median(a / b for a, b in pairs):.2f}")
    return ", ".join(found)


if __name__ == "__main__":
    main()
