"""Workers as Ray actors, on this machine or on a cluster that is running already.

An actor loads its model itself, from a hub name or a path that its node can read: no weights
travel.
"""

from __future__ import annotations

import signal
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, RayError

from prompt_optimization.errors import InputError
from prompt_optimization.models.executor import (
    SILENT,
    RemoteExecutor,
    Report,
    WorkerLost,
    as_sendable,
    execute_safely,
)
from prompt_optimization.models.worker import Job, Worker


class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, threads: int) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.worker: Worker | None = None

    def load(self, make: Callable[[], Worker]) -> Any:
        try:
            self.worker = make()
            return None, Counter()
        except Exception as error:
            return as_sendable(error)

    def work(self, job: Job, arguments: Sequence[Any]) -> Any:
        assert self.worker is not None
        return execute_safely(self.worker, job, arguments)


class RayExecutor(RemoteExecutor):
    """One actor a worker."""

    def __init__(
        self,
        makes: Sequence[Callable[[], Worker]],
        gpus: Sequence[int],
        timeout: float = 0.0,
        report: Report = lambda text: None,
        threads: int = 0,
    ) -> None:
        """In the cluster that ``connect`` has joined.

        Args:
            makes: how each worker is made, in its actor.
            gpus: of every worker.
            threads: of each worker, and CPUs that one without a GPU takes of the cluster's.

        Raises:
            InputError: there is no room in the cluster, or a model cannot be loaded.
        """
        super().__init__(len(makes), timeout, report)
        self._makes = makes
        self._gpus = gpus
        self._threads = threads
        self._actors: dict[int, Any] = {}
        self._answers: dict[int, Any] = {}
        self._open(f"is there room in the cluster for {self.size} workers?")

    def _launch(self, worker: int) -> None:
        gpus = self._gpus[worker]
        kind = ray.remote(_Actor).options(
            num_gpus=gpus, num_cpus=1 if gpus else self._threads or 1, max_restarts=0
        )
        self._actors[worker] = actor = kind.remote(self._threads)
        self._answers[worker] = actor.load.remote(self._makes[worker])

    def _end(self, worker: int) -> None:
        actor = self._actors.pop(worker, None)
        if actor is not None:
            ray.kill(actor)

    def _send(self, worker: int, job: Job, arguments: Sequence[Any]) -> None:
        self._answers[worker] = self._actors[worker].work.remote(job, tuple(arguments))

    def _ready(self, workers: list[int], seconds: float | None) -> list[int]:
        waiting = [self._answers[worker] for worker in workers]
        ready, _ = ray.wait(waiting, num_returns=1, timeout=seconds)
        return [worker for worker in workers if self._answers[worker] in ready] or workers

    def _fetch(self, worker: int, seconds: float | None) -> Any:
        try:
            return ray.get(self._answers[worker], timeout=seconds)
        except GetTimeoutError:
            raise WorkerLost(SILENT) from None
        except RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise WorkerLost(f"was lost ({reason})") from None


def connect(address: str) -> None:
    """Join the cluster at ``address``, or start one here.

    Raises:
        InputError: there is none.
    """
    if ray.is_initialized():
        return
    host, separator, port = address.rpartition(":")
    if separator and port.isdigit() and "/" not in host:
        # Ray itself would try for minutes.
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise _no_cluster(address, error.strerror or str(error)) from None
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, str(error).strip().splitlines()[0]) from None
    finally:
        # Ray puts its own in place, which aborts what only has to be interrupted.
        signal.signal(signal.SIGTERM, before)


def _no_cluster(address: str, reason: str) -> InputError:
    return InputError(
        f"there is no Ray cluster at '{address}' ({reason}); start one with 'ray start --head' and "
        "give its HOST:PORT, or leave it empty",
        key="ray_address",
    )


def check_room(gpus: int, cpus: int) -> None:
    """Refuse what the cluster can never place.

    Raises:
        InputError: it has fewer GPUs or CPUs in all.
    """
    there = ray.cluster_resources()
    for kind, wanted in (("GPU", gpus), ("CPU", cpus)):
        if wanted > there.get(kind, 0):
            raise InputError(
                f"the workers need {wanted} {kind}s and the Ray cluster has "
                f"{int(there.get(kind, 0))}; name fewer devices",
                key="devices",
            )


def cluster_gpus() -> int:
    """GPUs of the cluster."""
    return int(ray.cluster_resources().get("GPU", 0))
