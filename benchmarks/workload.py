"""What a benchmark runs: a model, samples, a prompt to edit, and how to see memory and time."""

from __future__ import annotations

import argparse
import platform
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import end_of_turn, resolve_chat_format
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.engine import Decoding
from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import LanguageModel, pad_left
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.loading import load_language_model, resolve_dtype
from prompt_optimization.models.memory import give_back
from prompt_optimization.models.model import Model
from prompt_optimization.models.placement import resolve_device
from prompt_optimization.models.settings import BUNDLED_NAME, ModelSettings
from prompt_optimization.models.template import PromptTemplate
from prompt_optimization.optimizers.base import Tools
from prompt_optimization.optimizers.greater.propose import top_tokens
from prompt_optimization.optimizers.greater.search import GreaterSearch as Search
from prompt_optimization.optimizers.greater.settings import GreaterSettings
from prompt_optimization.runs.naming import DEFAULT_PROMPT
from prompt_optimization.scoring.scorer import Scorer
from prompt_optimization.tasks.examples import Example, read_table
from prompt_optimization.tasks.templates import END

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
PROMPT = DEFAULT_PROMPT
EXTRACTOR = (
    "Therefore, the final answer (use exactly this format: $NUMBER$, where NUMBER is a positive "
    "integer) is $"
)
TEMPLATE = PromptTemplate(EXTRACTOR, connector=". Use", separator=" ")

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
    # To try a command with.
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 49152,
    },
}


@dataclass(frozen=True)
class Work:
    """One step's work: candidates replace the token at ``position`` of ``prompt``."""

    prompt: Ids
    position: int
    tokens: tuple[int, ...]
    new_tokens: int

    @property
    def candidates(self) -> list[Ids]:
        p, i = self.prompt, self.position
        return [(*p[:i], token, *p[i + 1 :]) for token in self.tokens]


def parser(description: str) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--model", default=BUNDLED_NAME)
    made.add_argument("--data", default=str(ROOT / "data" / "BBH" / "object_counting.json"))
    made.add_argument("--device", default="auto")
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--shape", choices=sorted(SHAPES), help="with --random-weights")
    made.add_argument(
        "--random-weights", action="store_true", help="a model of the shape, for timing only"
    )
    made.add_argument("--force-tokens", action="store_true", help="no row ends by itself")
    made.add_argument("--max-rows", type=int, default=0)
    made.add_argument("--gradient-rows", type=int, default=2)
    return made


def command(body: Callable[[], int]) -> None:
    """Run ``body``; bad input is one sentence and exit code 2."""
    try:
        sys.exit(body())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def build_model(options: argparse.Namespace, dtype_name: str) -> LanguageModel:
    """The named model, or one of a known shape with random weights."""
    device = resolve_device(options.device)
    dtype = resolve_dtype(dtype_name, device)
    if options.random_weights != bool(options.shape):
        raise InputError("--random-weights and --shape go together; give both or neither")
    if not options.random_weights:
        model = load_language_model(
            ModelSettings(options.model, device=str(device), dtype=dtype_name)
        )
    else:
        embedded = load_language_model(ModelSettings(BUNDLED_NAME, device="cpu", dtype=dtype_name))
        torch.manual_seed(0)
        config = LlamaConfig(**SHAPES[options.shape], max_position_embeddings=8192)
        with torch.device(device):
            net = AutoModelForCausalLM.from_config(config, dtype=dtype)
        model = LanguageModel(net, embedded.tokenizer, name=f"{options.shape}, random weights")
    chat = resolve_chat_format(model.tokenizer)
    model.stop_ids |= set(end_of_turn(model.tokenizer, chat))
    if options.force_tokens:
        model.stop_ids = frozenset()
    return model


def build_samples(
    model: LanguageModel, examples: list[Example], prompt: str = PROMPT, template: str = END
) -> CachedExamples:
    chat = resolve_chat_format(model.tokenizer)
    layout = replace(TEMPLATE, template=template).layout(model.tokenizer, chat)
    return CachedExamples(model, layout, examples, prompt)


def build_search(model: Model, examples: list[Example], steps: int, new_tokens: int) -> Search:
    """The paper's search, with the rule that accepts only what is better; started."""
    model.train_on(TEMPLATE, examples, PROMPT)
    scorer = Scorer([model], Decoding(new_tokens), objective="mistakes", nll_weight=0.02)
    search = Search(GreaterSettings.default(), scorer, Tools(random.Random(0), steps))
    search.start(PROMPT)
    return search


def read_examples(path: str, count: int) -> list[Example]:
    """The first ``count`` rows.

    Raises:
        InputError: the file has fewer.
    """
    examples = read_table(path).examples
    if len(examples) < count:
        raise InputError(f"'{path}' has {len(examples)} rows, not {count}; ask for fewer samples")
    return list(examples[:count])


def build_work(
    samples: CachedExamples, prompt: str, position: int, tokens: int, new_tokens: int
) -> Work:
    """Candidates are what the model itself would rather write at ``position``."""
    ids = samples.prompt_ids(prompt)
    if not 0 <= position < len(ids):
        raise InputError(f"position {position} is outside the prompt's {len(ids)} tokens")
    samples.prefix.reach(ids[:position])
    banned = torch.zeros(samples.model.vocabulary, dtype=torch.bool)
    banned[ids[position]] = True
    (likely,) = top_tokens(samples.prefix.log_probs.mean(0, keepdim=True), banned, tokens)
    return Work(ids, position, tuple(likely), new_tokens)


def rows_of(samples: CachedExamples, work: Work) -> list[Ids]:
    """Every candidate after every question, as ids."""
    return [
        (*before, *candidate, *after)
        for candidate in work.candidates
        for before, after in zip(samples.before, samples.after, strict=True)
    ]


@torch.no_grad()
def read_rows(model: LanguageModel, rows: Sequence[Ids], limit: int) -> tuple[KVRows, torch.Tensor]:
    """The cache of ``rows``, read side by side, with room for ``limit`` more tokens, and the logits
    after them."""
    ids, valid = pad_left(rows, model.filler, model.device)
    kv = KVRows.empty(len(rows), model.device, capacity=ids.shape[1] + limit)
    logits, _ = model.read(kv, ids, valid=valid)
    return kv, logits


class PeakMemory:
    """Highest memory beyond what was in use at the start, in GiB: of the device on CUDA, of the
    process on Linux, and not a number elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif sys.platform == "linux":
            # What earlier work has freed but not given back would hide what this work needs.
            give_back(device)
            Path("/proc/self/clear_refs").write_text("5")
        self._start = self._read("VmRSS", torch.cuda.memory_allocated)

    def gib(self) -> float:
        return self._read("VmHWM", torch.cuda.max_memory_allocated) - self._start

    def _read(self, field: str, cuda: Callable[[torch.device], int]) -> float:
        if self._device.type == "cuda":
            return cuda(self._device) / 2**30
        if sys.platform != "linux":
            return float("nan")
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(field))
        return int(line.split()[1]) / 2**20


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    ways: Mapping[str, Callable[[], T]], repeats: int, device: torch.device
) -> tuple[dict[str, list[float]], dict[str, T]]:
    """The seconds of every way, the first of which warms up, and what it gave last. The ways take
    turns, so that a slow minute is everybody's."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    given: dict[str, T] = {}
    for _ in range(1 + repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            given[name] = way()
            synchronise(device)
            seconds[name].append(time.perf_counter() - start)
    return seconds, given


def alike(one: Sequence[Sequence[Ids]], other: Sequence[Sequence[Ids]]) -> tuple[int, int]:
    """How many rows of two equally large tables reason the same, and how many there are."""
    same = [
        a == b
        for mine, theirs in zip(one, other, strict=True)
        for a, b in zip(mine, theirs, strict=True)
    ]
    return sum(same), len(same)


def machine(device: torch.device) -> str:
    """Versions and hardware, for the record."""
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        where = f"{torch.get_num_threads()} threads, {platform.machine()}"
    return (
        f"{where}; torch {torch.__version__}, transformers {transformers.__version__}, "
        f"Python {platform.python_version()}"
    )
