"""One optimisation step by the published schedule and by the engine, side by side in one run.

Both get the same model, samples, prompt, shortlist and token limits. The published schedule is
written plainly, as what it costs: the incumbent's reasoning generated anew, proposals sample by
sample over the whole text, the gradient over the whole text with trainable weights, every
candidate generated in batches of nine until the longest row ends, and one more pass over the whole
text to score each answer. Runs are interleaved; medians are printed.

    python benchmarks/step.py --data data/BBH/object_counting.json --samples 24 --new-tokens 64
    python benchmarks/step.py --shape llama3-8b --random-weights --device cuda:0 --samples 50 \\
        --new-tokens 256 --dtype bfloat16 --plain-dtype bfloat16
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table as Grid
from transformers import AutoModelForCausalLM, LlamaConfig

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import end_of_turn, resolve_chat_format
from prompt_optimization.models.embedded import EMBEDDED_NAME
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.language_model import LanguageModel, pad_left
from prompt_optimization.models.layout import Ids, Layout
from prompt_optimization.models.loading import load_language_model, resolve_device, resolve_dtype
from prompt_optimization.models.memory import RowBudget
from prompt_optimization.models.samples import Samples
from prompt_optimization.optimizers.greater.differentiate import (
    LossWeights,
    aggregate,
    token_gradients,
)
from prompt_optimization.optimizers.greater.propose import top_tokens
from prompt_optimization.optimizers.greater.select import choose
from prompt_optimization.tasks.examples import read_table

ROOT = Path(__file__).resolve().parents[1]
PROMPT = " proper logical reasoning and think step by step. Finally give the actual correct answer."
EXTRACTOR = (
    "Therefore, the final answer (use exactly this format: $NUMBER$, where NUMBER is a positive "
    "integer) is $"
)
BATCH = 9  # rows per generation in the published code
TOPK = 11
WEIGHTS = LossWeights()
PHASES = ("incumbent", "propose", "differentiate", "candidates", "score")

SHAPES: dict[str, dict[str, Any]] = {
    "llama3-8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    },
    "llama32-1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "tie_word_embeddings": True,
    },
}


@dataclass
class Measured:
    """One step: seconds and counts per phase, and what came out of it."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    tokens: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    reasonings: list[list[Ids]] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)
    gradient: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    choice: int = -1
    peak: float = 0.0  # GiB

    @contextmanager
    def phase(self, name: str, device: torch.device) -> Iterator[Counter[str]]:
        start = time.perf_counter()
        yield self.tokens[name]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.seconds[name] += time.perf_counter() - start


@dataclass(frozen=True)
class Work:
    """What both schedules are given: candidates replace the token at ``position``."""

    prompt: Ids
    position: int
    tokens: tuple[int, ...]
    new_tokens: int

    @property
    def candidates(self) -> list[Ids]:
        p, i = self.prompt, self.position
        return [(*p[:i], token, *p[i + 1 :]) for token in self.tokens]


class PublishedSchedule:
    """The released code's order of work, without its garbage collections."""

    def __init__(self, model: LanguageModel, samples: Samples) -> None:
        self.model = model
        self.samples = samples
        self.net = model.model

    def step(self, work: Work) -> Measured:
        measured, device = Measured(), self.model.device
        everyone = range(len(self.samples))
        with measured.phase("incumbent", device) as tokens:
            reasonings = self._generate(work.prompt, work.new_tokens, tokens)
        with measured.phase("propose", device) as tokens:
            for sample in everyone:
                ids = self._whole(sample, work.prompt, reasonings[sample])
                self._forward(ids, tokens).log_softmax(-1)
        with measured.phase("differentiate", device) as tokens:
            self.net.requires_grad_(True)
            measured.gradient = torch.stack(
                [self._gradient(s, work, reasonings[s], tokens) for s in everyone]
            )
            self.net.requires_grad_(False)
        for candidate in work.candidates:
            with measured.phase("candidates", device) as tokens:
                measured.reasonings.append(self._generate(candidate, work.new_tokens, tokens))
            with measured.phase("score", device) as tokens:
                measured.losses.append(
                    [self._loss(s, candidate, measured.reasonings[-1][s], tokens) for s in everyone]
                )
        measured.choice = choose([statistics.mean(losses) for losses in measured.losses], "first")
        return measured

    def _whole(self, sample: int, prompt: Ids, reasoning: Ids) -> list[int]:
        tail = self.samples.tails[sample]
        return [
            *self.samples.questions[sample],
            *prompt,
            *self.samples.suffix,
            *reasoning,
            *tail.extractor,
            *tail.answer,
        ]

    def _forward(self, ids: Sequence[int], tokens: Counter[str]) -> torch.Tensor:
        tokens["prefilled"] += len(ids)
        tokens["rows"] += 1
        with torch.no_grad():
            output = self.net(torch.tensor([list(ids)], device=self.model.device), use_cache=False)
        logits: torch.Tensor = output.logits[0].float()
        return logits

    @torch.no_grad()
    def _generate(self, prompt: Ids, new_tokens: int, tokens: Counter[str]) -> list[Ids]:
        heads = [[*q, *prompt, *self.samples.suffix] for q in self.samples.questions]
        reasonings: list[Ids] = []
        for start in range(0, len(heads), BATCH):
            ids, mask = pad_left(heads[start : start + BATCH], self.model.filler, self.model.device)
            stops = sorted(self.model.stop_ids)
            output = self.net.generate(
                ids,
                attention_mask=mask.long(),
                max_new_tokens=new_tokens,
                do_sample=False,
                eos_token_id=stops or None,
                pad_token_id=self.model.filler,
            )[:, ids.shape[1] :]
            tokens["prefilled"] += int(mask.sum())
            tokens["decoded"] += output.numel()
            tokens["rows"] += len(output)
            for row in output.tolist():
                end = next((i for i, t in enumerate(row) if t in self.model.stop_ids), len(row))
                reasonings.append(tuple(row[:end]))
        return reasonings

    def _gradient(
        self, sample: int, work: Work, reasoning: Ids, tokens: Counter[str]
    ) -> torch.Tensor:
        ids = torch.tensor(self._whole(sample, work.prompt, reasoning), device=self.model.device)
        tokens["differentiated"] += len(ids)
        tokens["rows"] += 1
        question, answer = (
            len(self.samples.questions[sample]),
            len(self.samples.tails[sample].answer),
        )
        place = question + work.position
        one_hot = torch.zeros(1, len(work.tokens), device=self.model.device)
        embedding = self.net.get_input_embeddings()
        vectors = embedding(ids).detach()
        one_hot.requires_grad_(True)
        choices = embedding(torch.tensor(work.tokens, device=self.model.device)).detach()
        here = vectors[place : place + 1] + one_hot.to(vectors.dtype) @ choices
        inputs = torch.cat([vectors[:place], here, vectors[place + 1 :]])
        logits = self.net(inputs_embeds=inputs[None], use_cache=False).logits[0].float()
        ce = torch.nn.functional.cross_entropy
        loss = WEIGHTS.answer * ce(
            logits[-answer - 1 : -1] / WEIGHTS.temperature, ids[-answer:]
        ) + WEIGHTS.nll * ce(
            logits[question - 1 : question - 1 + len(work.prompt)],
            ids[question : question + len(work.prompt)],
        )
        torch.autograd.backward(loss)
        self.net.zero_grad(set_to_none=True)
        assert one_hot.grad is not None
        return one_hot.grad[0].float().cpu()

    def _loss(self, sample: int, prompt: Ids, reasoning: Ids, tokens: Counter[str]) -> float:
        ids = self._whole(sample, prompt, reasoning)
        answer = len(self.samples.tails[sample].answer)
        logits = self._forward(ids, tokens)
        right = torch.tensor(ids[-answer:], device=logits.device)
        return float(torch.nn.functional.cross_entropy(logits[-answer - 1 : -1], right))


class EngineSchedule:
    """The same step by this project's engine, the incumbent known from the step before."""

    def __init__(
        self, model: LanguageModel, samples: Samples, rows: int, gradient_rows: int
    ) -> None:
        self.model = model
        self.samples = samples
        self.engine = Engine(model, rows)
        self.gradient_budget = RowBudget(gradient_rows)
        self.reasonings: list[Ids] = []

    def prepare(self, work: Work) -> None:
        """What the step before has left behind: the incumbent's reasoning and the prefix."""
        (outcomes,) = self.engine.run(self.samples, [work.prompt], Decoding(work.new_tokens))
        self.reasonings = [outcome.reasoning for outcome in outcomes]
        if work.position:
            self.samples.prefix.reach(work.prompt[: work.position - 1], self.engine.budget)

    def step(self, work: Work) -> Measured:
        measured, device = Measured(), self.model.device
        banned = torch.zeros(self.model.vocabulary, dtype=torch.bool)
        with self._counted(measured, "propose", device):
            self.samples.prefix.reach(work.prompt[: work.position], self.engine.budget)
            top_tokens(self.samples.prefix.log_probs, banned, TOPK)
        with self._counted(measured, "differentiate", device):
            measured.gradient = token_gradients(
                self.model,
                self.samples,
                range(len(self.samples)),
                work.prompt,
                work.position,
                work.tokens,
                self.reasonings,
                WEIGHTS,
                self.engine.budget,
                self.gradient_budget,
            )
        # Reasoning and scoring share the rows' cache; they are one phase here.
        with self._counted(measured, "candidates", device):
            outcomes = self.engine.run(self.samples, work.candidates, Decoding(work.new_tokens))
        measured.reasonings = [[outcome.reasoning for outcome in row] for row in outcomes]
        measured.losses = [[outcome.loss for outcome in row] for row in outcomes]
        measured.choice = choose([statistics.mean(losses) for losses in measured.losses], "first")
        return measured

    @contextmanager
    def _counted(self, measured: Measured, name: str, device: torch.device) -> Iterator[None]:
        before = Counter(self.model.counts)
        with measured.phase(name, device) as tokens:
            yield
        tokens.update(Counter(self.model.counts) - before)
        tokens["rows"] += len(self.samples) * (3 if name == "candidates" else 1)


def build_model(arguments: argparse.Namespace, dtype_name: str) -> LanguageModel:
    """The named model, or one of a known shape with random weights."""
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(dtype_name, device)
    if not arguments.random_weights:
        return load_language_model(arguments.model, device=device, dtype=dtype)
    named = load_language_model(EMBEDDED_NAME, device=torch.device("cpu"), dtype=torch.float32)
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPES[arguments.shape], max_position_embeddings=8192)
    with torch.device(device):
        net = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return LanguageModel(net, named.tokenizer, name=f"{arguments.shape}, random weights")


def check(plain: Measured, engine: Measured) -> str:
    """How far the two schedules agree."""
    pairs = [
        (a, b)
        for one, other in zip(plain.reasonings, engine.reasonings, strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    same = sum(a == b for a, b in pairs)
    gaps = [
        abs(a - b)
        for one, other in zip(plain.losses, engine.losses, strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    one, other = aggregate(plain.gradient), aggregate(engine.gradient)
    return (
        f"same reasoning {same} of {len(pairs)}; largest loss difference {max(gaps):.2g}; "
        f"gradient cosine {float(one @ other):.6f}; "
        f"{'same' if plain.choice == engine.choice else 'another'} choice"
    )


def table(title: str, runs: Sequence[Measured]) -> Grid:
    grid = Grid(title=title)
    for column in ("phase", "seconds", "decoded", "prefilled", "differentiated", "rows"):
        grid.add_column(column, justify="left" if column == "phase" else "right")
    for name in PHASES:
        if name in runs[0].seconds:
            tokens = runs[0].tokens[name]
            grid.add_row(
                name,
                f"{statistics.median(run.seconds[name] for run in runs):.2f}",
                *(str(tokens[k]) for k in ("decoded", "prefilled", "differentiated", "rows")),
            )
    grid.add_row("step", f"{step_seconds(runs):.2f}", "", "", "", "")
    return grid


def reset_peak(device: torch.device) -> None:
    """Begin to measure the peak anew (on Linux for a CPU)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> float:
    """Highest memory since ``reset_peak`` in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def step_seconds(runs: Sequence[Measured]) -> float:
    return statistics.median(sum(run.seconds.values()) for run in runs)


def main() -> int:
    parser = argparse.ArgumentParser(description="One step, published schedule against engine.")
    parser.add_argument("--model", default=EMBEDDED_NAME)
    parser.add_argument("--data", default=str(ROOT / "data" / "BBH" / "object_counting.json"))
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--shortlist", type=int, default=3)
    parser.add_argument("--position", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto", help="of the engine")
    parser.add_argument("--plain-dtype", default="float32", help="of the published schedule")
    parser.add_argument("--max-rows", type=int, default=128)
    parser.add_argument("--gradient-rows", type=int, default=8)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="llama3-8b")
    parser.add_argument("--random-weights", action="store_true")
    parser.add_argument("--force-tokens", action="store_true", help="no row ends by itself")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    try:
        examples = read_table(arguments.data).examples[: arguments.samples]
        plain_model = build_model(arguments, arguments.plain_dtype)
        model = (
            plain_model
            if resolve_dtype(arguments.dtype, plain_model.device) == plain_model.model.dtype
            else build_model(arguments, arguments.dtype)
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.force_tokens:
        plain_model.stop_ids = model.stop_ids = frozenset()

    def samples(owner: LanguageModel) -> Samples:
        chat = resolve_chat_format(owner.tokenizer)
        layout = Layout(owner.tokenizer, chat, extractor=EXTRACTOR)
        if not arguments.force_tokens:
            owner.stop_ids |= set(end_of_turn(owner.tokenizer, chat))
        return Samples(owner, layout, examples, PROMPT)

    plain = PublishedSchedule(plain_model, samples(plain_model))
    engine = EngineSchedule(model, samples(model), arguments.max_rows, arguments.gradient_rows)
    prompt = engine.samples.prompt_ids(PROMPT)
    engine.samples.prefix.reach(prompt[: arguments.position], engine.engine.budget)
    banned = torch.zeros(model.vocabulary, dtype=torch.bool)
    banned[prompt[arguments.position]] = True
    (likely,) = top_tokens(
        engine.samples.prefix.log_probs.mean(0, keepdim=True), banned, arguments.shortlist
    )
    work = Work(prompt, arguments.position, tuple(likely), arguments.new_tokens)

    runs: dict[str, list[Measured]] = {"plain": [], "engine": []}
    for _ in range(arguments.repeats):
        engine.prepare(work)
        for name, schedule in (("engine", engine), ("plain", plain)):
            reset_peak(model.device)
            runs[name].append(schedule.step(work))
            runs[name][-1].peak = peak(model.device)
    dtypes = [str(m.model.dtype).removeprefix("torch.") for m in (plain_model, model)]
    console.print(
        f"{model.name}, {len(examples)} samples, {arguments.new_tokens} new tokens, "
        f"{len(likely)} candidates, {model.device}, median of {arguments.repeats}"
    )
    console.print(table(f"published schedule, {dtypes[0]}", runs["plain"]))
    console.print(table(f"engine, {dtypes[1]}", runs["engine"]))
    console.print(f"ratio {step_seconds(runs['plain']) / step_seconds(runs['engine']):.1f}")
    console.print(check(runs["plain"][-1], runs["engine"][-1]))
    peaks = [max(run.peak for run in runs[name]) for name in ("plain", "engine")]
    console.print(
        f"peak memory {peaks[0]:.1f} GiB published, {peaks[1]:.1f} GiB engine (of the device, or "
        "of the whole process with both models on a CPU)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
