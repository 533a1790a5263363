"""What goes side by side fits the memory there is, and what was freed is given back."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.memory import CPU_POOL, give_back, pool_bytes
from prompt_optimization.models.worker import Worker
from prompt_optimization.optimizers.greater.differentiate import LossWeights, gradients_of
from tests.conftest import PROMPT

MIB = 2**20
CPU = torch.device("cpu")


@pytest.fixture
def wide(tokenizers: dict[str, Any]) -> LanguageModel:
    """A model that computes little and whose tokens take 64 KiB of cache each."""
    tokenizer = tokenizers["llama-3"]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=2048, num_hidden_layers=2,
        num_attention_heads=8, head_dim=512, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return LanguageModel(LlamaForCausalLM(config), tokenizer, name="wide")


def in_child(work: Callable[[], None]) -> int:
    """The exit code of a fork of this process that does ``work``."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other limits")
def test_under_a_limit_of_the_process_nothing_has_to_be_done_again(
    wide: LanguageModel, make_samples: Any
) -> None:
    samples = make_samples(wide)
    worker = Worker(wide, samples.layout.chat)
    worker.training = samples
    ids = samples.prompt_ids(PROMPT)
    prompts = [(*ids[:-1], token) for token in range(30, 50)]
    expected = Engine(wide, max_rows=16).run(samples, prompts, Decoding(8))

    def work() -> None:
        limit = psutil.Process().memory_info().data + 400 * MIB
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        engine = worker.engine
        outcomes = engine.run(samples, prompts, Decoding(8))
        assert samples.pool is not None and 1 < samples.pool.rows < 120
        assert [[o.reasoning for o in row] for row in outcomes] == [
            [o.reasoning for o in row] for row in expected
        ]
        asked = [(sample, (21,) * 400) for sample in range(6)]
        gradients_of(worker, asked, ids, 1, [30, 41], LossWeights())
        assert worker.gradient_budget.rows == 1
        assert engine.budget.halvings == worker.gradient_budget.halvings == 0

    assert in_child(work) == 0


def test_what_is_cached_counts_towards_a_pool() -> None:
    if pool_bytes(CPU) != CPU_POOL:
        pytest.skip("this machine has less memory than a pool may take")
    assert pool_bytes(CPU, CPU_POOL // 4) == CPU_POOL - CPU_POOL // 4
    assert pool_bytes(CPU, CPU_POOL) == CPU_POOL // 2


@pytest.mark.skipif(sys.platform != "linux", reason="other allocators give memory back themselves")
def test_what_was_freed_in_small_pieces_is_given_back() -> None:
    process = psutil.Process()
    pieces = [torch.ones(1024) for _ in range(20_000)]
    held = process.memory_info().rss
    del pieces[:-1]  # what remains stands at the end of the heap
    give_back(CPU)
    assert held - process.memory_info().rss > 50 * MIB


@pytest.mark.smollm2
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other limits")
def test_the_bundled_model_runs_within_three_gigabytes(tmp_path: Path) -> None:
    flags = {
        "n_train_data": 2, "n_dev_data": 3, "n_test_data": 0, "n_steps": 1, "max_new_tokens": 8,
        "devices": "cpu", "logfile": tmp_path / "run.json",
    }  # fmt: skip
    command = [sys.executable, "-m", "prompt_optimization", "optimize", "--config=demo"]
    done = subprocess.run(
        [*command, *(f"--config.{name}={value}" for name, value in flags.items())],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 * 10**9, 3 * 10**9)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    log = json.loads((tmp_path / "run.json").read_text())
    assert log["memory"][0]["pool_rows"] > 1 and log["evaluation"]["dev"]
