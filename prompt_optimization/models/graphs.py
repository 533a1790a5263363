"""Decoding by CUDA graphs: for which models, and what captures and replays their steps.

A step launches hundreds of small pieces of work, and a GPU waits for the launches. A graph launches
them all at once.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Hashable

import torch

from prompt_optimization.models.cache_check import allowed_difference, difference, rows_of_ids
from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import LanguageModel, pad_left
from prompt_optimization.models.memory import is_out_of_memory
from prompt_optimization.models.sampling import Likeliest, NotFiniteError
from prompt_optimization.models.static import Plainly, Runner, StaticBuffers, StaticRows

# How configurations call the number of experts of a mixture.
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
# Steps of a key that are done as any other work. A graph pays when it is replayed, and most keys of
# short reasonings come up once or twice.
PLAIN_STEPS = 2
# The last two are replays.
TRIAL_STEPS = PLAIN_STEPS + 2


class CudaGraphs:
    """Does the first steps of every key as any other work, captures the next one and replays it."""

    def __init__(self, device: torch.device, name: str) -> None:
        """
        Args:
            name: of the model, for the note on a failure.
        """
        self._device = device
        self._name = name
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._failed = False
        self.forget()

    def forget(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        # A graph, its result, and the step, whose tensors the graph reads.
        self._captured: dict[
            Hashable, tuple[torch.cuda.CUDAGraph, torch.Tensor, Callable[[], torch.Tensor]]
        ] = {}
        self._done: Counter[Hashable] = Counter()

    def __call__(self, key: Hashable, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        if self._failed:
            return step()
        if key not in self._captured:
            if self._done[key] < PLAIN_STEPS:
                self._done[key] += 1
                return self._do(step)
            try:
                self._capture(key, step)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                self._failed = True
                _note(self._name, f"a step cannot be captured ({_first_line(error)})")
                return step()
        graph, result, _ = self._captured[key]
        graph.replay()
        return result

    def _do(self, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        current = torch.cuda.current_stream(self._device)
        # Libraries make themselves ready on the stream that they are first used on.
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            done = step()
        current.wait_stream(self._stream)
        return done

    def _capture(self, key: Hashable, step: Callable[[], torch.Tensor]) -> None:
        graph = torch.cuda.CUDAGraph()
        # The outer context gives the stream back where the inner one fails to.
        with (
            torch.cuda.stream(self._stream),
            torch.cuda.graph(graph, self._pool, self._stream, "thread_local"),
        ):
            result = step()
        self._captured[key] = graph, result, step


def use_graphs(model: LanguageModel, wanted: str) -> None:
    """Let ``model`` decode in static buffers, by graphs on a GPU, where that gives what the plain
    loop gives. Where it does not, a note says why.

    Args:
        wanted: ``auto`` for GPUs only, ``on`` for every device, or ``off``.
    """
    on_gpu = model.device.type == "cuda"
    if wanted == "off" or (wanted == "auto" and not on_gpu):
        return
    reason = _obstacle(model)
    if reason is None:
        runner: Runner = CudaGraphs(model.device, model.name) if on_gpu else Plainly()
        model.static = StaticBuffers(runner)
        reason = _trial(model, model.static)
        model.static.release()
    if reason is not None:
        model.static = None
        _note(model.name, reason)


def _obstacle(model: LanguageModel) -> str | None:
    """What of the model's kind is in the way."""
    config = model.model.config.get_text_config()
    if len(model.devices) > 1:
        return "it lies on several devices"
    if model.local:
        return "some of its layers attend locally"
    if any(getattr(config, name, None) for name in EXPERTS):
        return "it is a mixture of experts"
    if model.model.config._attn_implementation != "sdpa":
        return "its attention is not sdpa"
    if not model.model._can_compile_fullgraph:
        return "transformers has no static cache for its kind"
    return None


@torch.no_grad()
def _trial(model: LanguageModel, buffers: StaticBuffers) -> str | None:
    """Compare a few steps with the same tokens read by the plain loop: what is wrong."""
    counts, stop_ids = model.counts.copy(), model.stop_ids
    model.stop_ids = frozenset()
    try:
        ids, valid = pad_left(rows_of_ids(model), model.filler, model.device)
        kv = KVRows.empty(len(ids), model.device)
        logits, _ = model.read(kv, ids, valid=valid)
        copy = kv.select(range(len(ids)))
        choice = Likeliest(kv.positions.new_zeros(len(ids)))
        rows = StaticRows(model, buffers, copy, logits, TRIAL_STEPS + 1, 0, choice)
        apart = 0.0
        for step in range(TRIAL_STEPS):
            tokens = torch.tensor([token for _, token in rows.choose(step)], device=model.device)
            rows.extend(step)
            expected, _ = model.read(kv, tokens[:, None])
            apart = max(apart, difference(rows.logits[: len(ids)], expected))
    except NotFiniteError:
        return None  # not for want of buffers; the engine will say for which prompt and row
    except (RuntimeError, LookupError, AttributeError, ValueError, TypeError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        return f"static buffers fail ({_first_line(error)})"
    finally:
        model.counts, model.stop_ids = counts, stop_ids
    if not apart <= allowed_difference(model):  # NaN is not either
        return f"its logits in static buffers differ by {apart:.1%} of their spread"
    return None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _note(name: str, reason: str) -> None:
    warnings.warn(f"model '{name}' decodes without CUDA graphs: {reason}", stacklevel=3)
