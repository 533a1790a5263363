"""Workers in processes of their own on this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from prompt_optimization.models.crew import (
    SILENT,
    RemoteCrew,
    Report,
    WorkerLost,
    answer,
    told,
)
from prompt_optimization.models.worker import Job, Worker


@dataclass
class _Process:
    process: BaseProcess
    pipe: Connection


class LocalCrew(RemoteCrew):
    """One process a worker on this machine."""

    def __init__(
        self,
        makes: Sequence[Callable[[], Worker]],
        timeout: float = 0.0,
        report: Report = lambda text: None,
        threads: int = 0,
    ) -> None:
        """
        Args:
            makes: how each worker is made, in its own process.
            threads: of each worker; 0 leaves it to torch.

        Raises:
            InputError: a model cannot be loaded.
        """
        super().__init__(len(makes), timeout, report)
        self._makes = makes
        self._threads = threads
        self._context = _context()
        self._processes: dict[int, _Process] = {}
        self._open(
            f"is there memory for {self.size} copies? Fewer devices take fewer (--config.devices)"
        )

    @property
    def pids(self) -> list[int]:
        """The workers' processes."""
        return [self._processes[worker].process.pid or 0 for worker in range(self.size)]

    def _launch(self, worker: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, self._makes[worker], self._threads), daemon=True
        )
        with _signals_wait():
            process.start()
        theirs.close()
        self._processes[worker] = _Process(process, ours)

    def _end(self, worker: int) -> None:
        each = self._processes.pop(worker, None)
        if each is not None:
            each.pipe.close()
            each.process.kill()
            each.process.join()

    def _send(self, worker: int, job: Job, arguments: Sequence[Any]) -> None:
        with contextlib.suppress(OSError):  # it is gone, and so will its answer be
            self._processes[worker].pipe.send((job, tuple(arguments)))

    def _heard(self, workers: list[int], patience: float | None) -> list[int]:
        by_handle: dict[Any, int] = {}
        for worker in workers:
            each = self._processes[worker]
            by_handle[each.pipe] = by_handle[each.process.sentinel] = worker
        ready = {by_handle[handle] for handle in wait(list(by_handle), patience)}
        return sorted(ready) or workers

    def _fetch(self, worker: int, patience: float | None) -> Any:
        each = self._processes[worker]
        try:
            if not each.pipe.poll(patience):
                raise WorkerLost(SILENT)
            return each.pipe.recv()
        except (EOFError, OSError):
            each.process.join(5)
            code = each.process.exitcode
            how = f"was killed by signal {-code}" if code and code < 0 else f"ended with {code}"
            raise WorkerLost(how) from None


def _context() -> Any:
    """Processes that share nothing with this one, where CUDA may be at work.

    A fork server imports everything once, so that a worker is there, or there again, at once.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prompt_optimization.models.worker"])
    return context


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM wait, and for ever in a process that is started within: they reach
    the whole group, and whoever asks the workers decides what happens then."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, make: Callable[[], Worker], threads: int) -> None:
    """A worker's process: do what is asked until nobody asks any more."""
    if threads:
        torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        worker = make()
        pipe.send((os.getpid(), Counter()))
        while True:
            job, arguments = pipe.recv()
            pipe.send(answer(worker, job, arguments))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:
        pipe.send(told(error))


def _end_with_parent() -> None:
    """Whoever asked may be killed in the middle; what a worker holds is needed by its successor."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
