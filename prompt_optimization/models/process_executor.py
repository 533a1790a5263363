"""Workers in processes of their own on this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from prompt_optimization.models.executor import (
    SILENT,
    RemoteExecutor,
    Report,
    WorkerLost,
    as_sendable,
    execute_safely,
)
from prompt_optimization.models.worker import Job, Worker

# Seconds between two words of a worker's progress.
PROGRESS_INTERVAL = 0.2


@dataclass(frozen=True)
class _Progress:
    """How many rows of its job a worker has done."""

    done: int
    of: int


@dataclass
class _Process:
    process: BaseProcess
    pipe: Connection


class ProcessExecutor(RemoteExecutor):
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
        self._rows: dict[int, _Progress] = {}
        self._answers: dict[int, Any] = {}
        self._open(f"is there memory for {self.size} copies? Fewer devices take fewer")

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
        self._answers.pop(worker, None)
        if each is not None:
            each.pipe.close()
            each.process.kill()
            each.process.join()

    def _send(self, worker: int, job: Job, arguments: Sequence[Any]) -> None:
        with contextlib.suppress(OSError):  # it is gone, and its answer will not come
            self._processes[worker].pipe.send((job, tuple(arguments)))

    def _ready(self, workers: list[int], seconds: float | None) -> list[int]:
        by_handle: dict[Any, int] = {}
        for worker in workers:
            each = self._processes[worker]
            by_handle[each.pipe] = by_handle[each.process.sentinel] = worker
        handles = wait(list(by_handle), seconds)
        if not handles:
            return workers
        # A word of progress is no answer.
        heard = sorted({by_handle[handle] for handle in handles})
        return [worker for worker in heard if self._answered(worker)]

    def _answered(self, worker: int) -> bool:
        """Whether the worker's answer has come, or no answer will."""
        pipe = self._processes[worker].pipe
        try:
            while pipe.poll(0):
                found = pipe.recv()
                if not isinstance(found, _Progress):
                    self._answers[worker] = found
                    return True
                self._report(worker, found)
        except (EOFError, OSError):
            return True
        return not self._processes[worker].process.is_alive()

    def _fetch(self, worker: int, seconds: float | None) -> Any:
        if worker in self._answers:
            return self._answers.pop(worker)
        each = self._processes[worker]
        try:
            while each.pipe.poll(seconds):
                found = each.pipe.recv()
                if not isinstance(found, _Progress):
                    return found
                self._report(worker, found)
            raise WorkerLost(SILENT)
        except (EOFError, OSError):
            each.process.join(5)
            code = each.process.exitcode
            how = f"was killed by signal {-code}" if code and code < 0 else f"ended with {code}"
            raise WorkerLost(how) from None

    def _report(self, worker: int, progress: _Progress) -> None:
        self._rows[worker] = progress
        known = self._rows.values()
        self.progress(sum(each.done for each in known), sum(each.of for each in known))


def _context() -> Any:
    """Processes that share nothing with this one, where CUDA may be at work.

    A fork server imports everything once, so that a worker is there, or there again, at once.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prompt_optimization.models.preload"])
    return context


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM wait. A process that is started within never sees them: they reach
    the whole group, and the parent decides what happens then."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows; the process ignores Ctrl-C itself
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, make: Callable[[], Worker], threads: int) -> None:
    """A worker's process: do what is asked until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if threads:
        torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        worker = make()
        worker.engine.progress = _progress_sender(pipe)
        pipe.send((os.getpid(), Counter()))
        while True:
            job, arguments = pipe.recv()
            pipe.send(execute_safely(worker, job, arguments))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:
        pipe.send(as_sendable(error))


def _progress_sender(pipe: Connection) -> Callable[[int, int], None]:
    """Sends a worker's progress, not too often."""
    last = time.monotonic()

    def send(done: int, of: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_INTERVAL:
            last = time.monotonic()
            pipe.send(_Progress(done, of))

    return send


def _end_with_parent() -> None:
    """Whoever asked may be killed in the middle; what a worker holds is needed by its successor."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
