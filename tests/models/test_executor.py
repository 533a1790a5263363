"""Workers in processes of their own: they share the work out, and none is missed for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.models import executor as executor_module
from prompt_optimization.models.engine import Decoding
from prompt_optimization.models.loading import load_tokenizer
from prompt_optimization.models.model import Model, balanced
from prompt_optimization.models.process_executor import ProcessExecutor
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.models.template import PromptTemplate
from prompt_optimization.models.worker import Worker
from prompt_optimization.optimizers.greater.differentiate import LossWeights, gradients_of
from prompt_optimization.tasks.examples import Example
from tests.conftest import QUESTIONS
from tests.models import faults

ROOT = Path(__file__).resolve().parents[2]


def settings_of(model: Path) -> ModelSettings:
    return ModelSettings(str(model), device="cpu", dtype="float32")


def maker(model: Path) -> Any:
    return partial(Worker.load, settings_of(model), 0, 0)


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def executor(saved_model: Path, said: list[str]) -> Iterator[ProcessExecutor]:
    """Two workers; tests that end the executor make their own."""
    made = ProcessExecutor([maker(saved_model)] * 2, timeout=60, report=said.append, threads=1)
    yield made
    made.close()


def results(done: Any) -> list[Any]:
    return [result for result, _ in done]


def test_results_come_in_the_order_of_the_pieces(executor: ProcessExecutor) -> None:
    assert results(executor.run(faults.number, [(i,) for i in range(9)])) == list(range(9))
    assert results(executor.broadcast(faults.who, [(), ()])) == executor.pids
    assert len({os.getpid(), *executor.pids}) == 3


def test_whoever_is_idle_takes_the_next_piece(executor: ProcessExecutor) -> None:
    pieces = [(1.5,), *[(0.05,)] * 6]
    long, *short = results(executor.run(faults.sleep, pieces))
    assert set(short) == set(executor.pids) - {long}, "the other one should have done all the rest"
    assert all(seconds > 0 for seconds in executor.busy)


def test_executors_work_at_the_same_time(
    executor: ProcessExecutor, saved_model: Path, tmp_path: Path
) -> None:
    other = ProcessExecutor([maker(saved_model)], threads=1)
    marks = str(tmp_path / "one"), str(tmp_path / "other")
    try:
        submitted = [
            executor.submit(faults.meet, [marks]),
            other.submit(faults.meet, [marks[::-1]]),
        ]
        found = [results(future.result()) for future in submitted]
    finally:
        other.close()
    assert found[0] != found[1]


def test_a_worker_short_of_memory_shrinks_its_own_pool(saved_model: Path) -> None:
    plenty, settings = maker(saved_model), settings_of(saved_model)
    found = []
    for makes in ([plenty], [plenty, partial(faults.cramped, settings, 6)]):
        model = Model(ProcessExecutor(makes, threads=1), *load_tokenizer(settings))
        try:
            examples = [Example(q, a, row) for row, (q, a) in enumerate(QUESTIONS)]
            template = PromptTemplate("Therefore, the final answer is $", ". Use", " ")
            training = model.train_on(template, examples, " careful thought.")
            prompt = training.prompt_ids(" careful thought.")
            others = [(token, *prompt[1:]) for token in (300, 301)]
            outcomes, *_ = model.submit_run([prompt, *others], Decoding(6), range(6)).result()
            gradients = model.submit_each(
                gradients_of,
                [(sample, outcome.reasoning) for sample, outcome in enumerate(outcomes)],
                [1.0] * 6,
                (prompt, 0, [7, 8, 9], LossWeights()),
                pieces=1,
            ).result()
            budgets = [(each.rows, each.gradient_rows) for each in model.row_limits()]
            found.append((outcomes, gradients, budgets))
        finally:
            model.close()
    (outcomes, gradients, _), (cramped, cramped_gradients, budgets) = found
    assert [o.reasoning for o in cramped] == [o.reasoning for o in outcomes]
    assert [o.loss for o in cramped] == pytest.approx([o.loss for o in outcomes], rel=1e-5)
    np.testing.assert_allclose(cramped_gradients, gradients, rtol=1e-3, atol=1e-6)
    assert budgets[0] == (128, 2) and budgets[1][0] <= 6 and budgets[1][1] == 1


@pytest.mark.parametrize("fault", [faults.die, faults.hang])
def test_a_lost_worker_is_replaced_and_its_work_done_again(
    saved_model: Path, tmp_path: Path, fault: Any
) -> None:
    said: list[str] = []
    timeout = 4.0 if fault is faults.hang else 0.0
    executor = ProcessExecutor([maker(saved_model)] * 2, timeout, said.append, threads=1)
    try:
        before = executor.pids
        executor.broadcast(faults.remember, [("a",), ("b",)], "memory")
        pieces = [(i, str(tmp_path / f"mark{i != 2}")) for i in range(5)]
        (tmp_path / "markTrue").touch()  # only piece 2 goes wrong
        assert results(executor.run(fault, pieces)) == list(range(5))
        (words,) = said
        assert ("killed by signal 9" if fault is faults.die else "not answered in time") in words
        assert len(set(before) & set(executor.pids)) == 1
        assert results(executor.broadcast(faults.recall, [(), ()])) == ["a", "b"]
    finally:
        executor.close()
    assert not any(psutil.pid_exists(pid) for pid in before)


def test_what_comes_back_every_time_ends_the_run(
    saved_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "RESTARTS", 1)
    said: list[str] = []
    executor = ProcessExecutor([maker(saved_model)], report=said.append, threads=1)
    with pytest.raises(InputError, match=r"worker 0 was killed by signal 9, after 1 workers"):
        executor.run(faults.die_always, [()])
    assert len(said) == 1


def test_errors_come_through(saved_model: Path) -> None:
    for job, error, words in (
        (faults.refuse, InputError, "this cannot be used"),
        (faults.break_down, RuntimeError, "ZeroDivisionError: a programmer's mistake"),
    ):
        executor = ProcessExecutor([maker(saved_model)], threads=1)
        with pytest.raises(error, match=words):
            executor.run(job, [()])
    with pytest.raises(InputError, match="holds no model"):
        ProcessExecutor([maker(ROOT / "tests")], threads=1)


def test_no_worker_outlives_a_run_that_is_killed(saved_model: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.models.test_executor import maker\n"
        "from tests.models import faults\n"
        "from prompt_optimization.models.process_executor import ProcessExecutor\n"
        "if __name__ == '__main__':\n"
        "    executor = ProcessExecutor([maker(Path(sys.argv[1]))] * 2, threads=1)\n"
        "    print(*executor.pids, flush=True)\n"
        "    executor.run(faults.sleep, [(3600.0,)] * 2)\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(saved_model)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 60
    while any(psutil.pid_exists(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers are still there"
        time.sleep(0.1)


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=40), st.integers(1, 8))
def test_pieces_are_balanced(costs: list[float], bins: int) -> None:
    found = balanced(costs, bins)
    assert sorted(i for each in found for i in each) == list(range(len(costs)))
    assert len(found) == min(bins, len(costs)) and all(found)
    sums = [sum(costs[i] for i in each) for each in found]
    assert sums == sorted(sums, reverse=True)
    # Longest first is never worse than the mean and the largest together.
    assert sums[0] <= sum(costs) / len(found) + max(costs) + 1e-9
