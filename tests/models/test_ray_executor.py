"""Workers as Ray actors, on a cluster of two nodes that this test starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.models import executor as executor_module
from tests.models import faults
from tests.models.test_executor import ROOT, maker, results
from tests.runs.harness import carry_out
from tests.runs.test_workers import check_same_search

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")
executors = pytest.importorskip("prompt_optimization.models.ray_executor")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    # Actors are other processes, which find the tests' own jobs by this.
    before, handler = os.environ.get("PYTHONPATH"), signal.getsignal(signal.SIGTERM)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before)))
    store = {"object_store_memory": 80_000_000}
    made = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False, **store}
    )
    made.second = made.add_node(num_cpus=2, **store)
    made.wait_for_nodes()
    executors.connect(made.address)
    yield made
    ray.shutdown()
    made.shutdown()
    signal.signal(signal.SIGTERM, handler)
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def test_a_run_on_a_cluster(cluster: Any, small_run: dict[str, Any], tmp_path: Path) -> None:
    flags = small_run | {
        "objective": "loss",
        "n_dev_data": 0,
        "n_test_data": 6,
        "n_steps": 3,
        "max_new_tokens": 5,
        "top_prompts": 2,
    }
    alone = carry_out(flags | {"devices": ("cpu",), "result_prefix": tmp_path / "alone"}).data
    there = flags | {"workers": "ray", "ray_address": cluster.address, "devices": ("cpu", "cpu")}
    log = carry_out(there | {"result_prefix": tmp_path / "ray"}).data
    check_same_search(log, alone)
    assert all(len(step["busy"]) == 2 for step in log["steps"])


def test_faults_on_a_cluster(cluster: Any, saved_model: Path, tmp_path: Path) -> None:
    said: list[str] = []
    # Two CPUs each: one worker a node.
    executor = executors.RayExecutor([maker(saved_model)] * 2, [0, 0], 0.0, said.append, threads=2)
    try:
        assert results(executor.run(faults.number, [(i,) for i in range(5)])) == list(range(5))
        with_memory = results(executor.broadcast(faults.remember, [("a",), ("b",)], "memory"))
        assert with_memory == [None, None]

        # A worker is killed in the middle of its work.
        (tmp_path / "markTrue").touch()
        pieces = [(i, str(tmp_path / f"mark{i != 1}")) for i in range(4)]
        assert results(executor.run(faults.die, pieces)) == list(range(4))
        assert len(said) == 1 and "was lost" in said[0]
        assert results(executor.broadcast(faults.recall, [(), ()])) == ["a", "b"]

        # A worker that is killed while idle is missed when it is asked.
        victim = results(executor.broadcast(faults.who, [(), ()]))[0]
        os.kill(victim, signal.SIGKILL)
        assert results(executor.broadcast(faults.recall, [(), ()])) == ["a", "b"]
        assert len(said) == 2

        # A node goes; another one comes, and the worker moves there.
        cluster.remove_node(cluster.second)
        cluster.add_node(num_cpus=2, object_store_memory=80_000_000)
        assert results(executor.broadcast(faults.recall, [(), ()])) == ["a", "b"]
        assert len(said) == 3
    finally:
        executor.close()


def test_what_ray_has_no_room_for(
    cluster: Any, saved_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(executor_module, "START", 3.0)
        with pytest.raises(InputError, match="is there room in the cluster for 1 workers"):
            executors.RayExecutor([maker(saved_model)], [7], threads=1)
    with pytest.raises(InputError, match="holds no model"):
        executors.RayExecutor([maker(ROOT / "tests")], [0], threads=1)


def test_addresses_and_devices_that_are_none(
    cluster: Any, small_run: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="the workers need 2 GPUs and the Ray cluster has 0"):
        carry_out(
            small_run
            | {
                "workers": "ray",
                "devices": ("cuda:1+cuda:3", "cpu"),
                "n_dev_data": 0,
                "n_test_data": 6,
                "result_prefix": tmp_path / "run",
            }
        )
    with pytest.raises(InputError, match="device 'banana' is unknown to a cluster"):
        carry_out(
            small_run
            | {
                "workers": "ray",
                "devices": ("banana",),
                "n_dev_data": 0,
                "n_test_data": 6,
                "result_prefix": tmp_path / "run",
            }
        )
    ray.shutdown()
    with pytest.raises(InputError, match=r"there is no Ray cluster at '127\.0\.0\.1:1'"):
        executors.connect("127.0.0.1:1")
