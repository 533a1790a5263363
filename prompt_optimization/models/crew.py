"""Workers that do jobs: one in this process, or several in processes of their own.

A crew serves one model. Whoever gives it work does not know where the workers live.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.worker import Job, Worker, do

Done = tuple[Any, "Counter[str]"]
Report = Callable[[str], None]

# Worker processes that are replaced before a run gives up: more than chance takes, fewer than a
# fault that comes back every time.
RESTARTS = 3

# Seconds that a worker may take to start and to load its model.
START = 1800.0

SILENT = "has not answered in time (--config.worker_timeout)"


class WorkerLost(Exception):
    """A worker has died or does not answer any more."""


class Crew(ABC):
    """Workers with one model copy each.

    Attributes:
        size: how many.
        busy: seconds that each has worked so far.
    """

    size: int
    busy: list[float]

    @abstractmethod
    def everyone(
        self, job: Job, arguments: Sequence[Sequence[Any]], lasting: str = ""
    ) -> list[Done]:
        """Every worker does ``job`` with its own arguments; one result a worker.

        Args:
            lasting: names what the job leaves behind; a replaced worker does the last job of
                every such name again.
        """

    @abstractmethod
    def share(self, job: Job, pieces: Sequence[Sequence[Any]]) -> list[Done]:
        """``job`` once for the arguments in each of ``pieces``; whoever is idle takes the next.
        Results are in the order of ``pieces``."""

    @abstractmethod
    def close(self) -> None:
        """Let the workers go."""


class Alone(Crew):
    """One worker in this process."""

    size = 1

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.busy = [0.0]

    def everyone(
        self, job: Job, arguments: Sequence[Sequence[Any]], lasting: str = ""
    ) -> list[Done]:
        return self.share(job, arguments)

    def share(self, job: Job, pieces: Sequence[Sequence[Any]]) -> list[Done]:
        start = time.perf_counter()
        done = [do(self.worker, job, piece) for piece in pieces]
        self.busy[0] += time.perf_counter() - start
        return done

    def close(self) -> None:
        del self.worker
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # whoever comes next may live in another process


@dataclass
class Piece:
    """Work for one worker, and where its result belongs."""

    place: int
    job: Job
    arguments: Sequence[Any]


class RemoteCrew(Crew):
    """Workers elsewhere. What dies is replaced, and what it was doing is done again.

    Subclasses say how a worker is launched, asked, heard and ended; ``RemoteCrew`` hands out the
    work and keeps the books.
    """

    def __init__(self, size: int, timeout: float, report: Report) -> None:
        """
        Args:
            timeout: seconds after which a worker that has not answered counts as lost; 0 waits
                for ever.
            report: told of every worker that is replaced.
        """
        self.size = size
        self.busy = [0.0] * size
        self.timeout = timeout
        self.report = report
        self.restarts = 0
        self._asked = [0.0] * size
        self._lasting: list[dict[str, tuple[Job, Sequence[Any]]]] = [{} for _ in range(size)]

    def everyone(
        self, job: Job, arguments: Sequence[Sequence[Any]], lasting: str = ""
    ) -> list[Done]:
        assert len(arguments) == self.size
        queues = [deque([Piece(i, job, piece)]) for i, piece in enumerate(arguments)]
        done = self._work(queues, deque())
        if lasting:
            for kept, piece in zip(self._lasting, arguments, strict=True):
                # Behind what was there before: the order in which they were done counts.
                kept.pop(lasting, None)
                kept[lasting] = job, piece
        return done

    def share(self, job: Job, pieces: Sequence[Sequence[Any]]) -> list[Done]:
        return self._work(
            [deque() for _ in range(self.size)],
            deque(Piece(i, job, piece) for i, piece in enumerate(pieces)),
        )

    def _work(self, own: list[deque[Piece]], anyones: deque[Piece]) -> list[Done]:
        results: dict[int, Done] = {}
        total = sum(map(len, own)) + len(anyones)
        doing: dict[int, Piece] = {}
        try:
            while len(results) < total:
                for worker in range(self.size):
                    if worker not in doing and (own[worker] or anyones):
                        doing[worker] = piece = (own[worker] or anyones).popleft()
                        self._ask(worker, piece.job, piece.arguments)
                for worker in self._heard(list(doing), self._patience(doing)):
                    try:
                        results[doing[worker].place] = self._receive(
                            worker, self._patience([worker])
                        )
                        self.busy[worker] += time.perf_counter() - self._asked[worker]
                        del doing[worker]
                    except WorkerLost as error:
                        self._replace(worker, str(error))
                        self._ask(worker, doing[worker].job, doing[worker].arguments)
        except BaseException:
            # Late answers would be taken for those to the next questions.
            self.close()
            raise
        return [results[place] for place in range(total)]

    def _ask(self, worker: int, job: Job, arguments: Sequence[Any]) -> None:
        self._asked[worker] = time.perf_counter()
        self._send(worker, job, arguments)

    def _patience(self, workers: Iterable[int]) -> float | None:
        """Seconds until the first of ``workers`` counts as lost; None where none ever does."""
        if not self.timeout:
            return None
        first = min(self._asked[worker] for worker in workers)
        return max(0.0, first + self.timeout - time.perf_counter())

    def _replace(self, worker: int, reason: str) -> None:
        self._end(worker)
        while True:
            self.restarts += 1
            if self.restarts > RESTARTS:
                mend = "raise it" if reason == SILENT else "look for what ends them"
                raise InputError(
                    f"worker {worker} {reason}, after {RESTARTS} workers that were replaced "
                    f"before; {mend}, then go on with --config.resume=auto"
                )
            self.report(f"worker {worker} {reason}; starting another one in its place")
            try:
                self._launch(worker)
                self._receive(worker, START)
                self._repeat_lasting(worker)
                return
            except WorkerLost as error:
                reason = str(error)

    def _repeat_lasting(self, worker: int) -> None:
        for job, arguments in self._lasting[worker].values():
            self._ask(worker, job, arguments)
            self._receive(worker, self._patience([worker]))

    def close(self) -> None:
        for worker in range(self.size):
            self._end(worker)

    def _receive(self, worker: int, patience: float | None) -> Done:
        """The answer, waited for ``patience`` seconds at most.

        Raises:
            WorkerLost: there is none.
        """
        found = self._fetch(worker, patience)
        if isinstance(found, BaseException):
            raise found
        done: Done = found
        return done

    def _open(self, question: str) -> None:
        """Start all workers, side by side, and wait until they have their models.

        Args:
            question: what a user may ask when one is lost.

        Raises:
            InputError: a model cannot be loaded, or a worker is lost.
        """
        try:
            for worker in range(self.size):
                self._launch(worker)
            for worker in range(self.size):
                self._receive(worker, START)
        except WorkerLost as error:
            self.close()
            raise InputError(f"a worker {error} while it loaded its model; {question}") from None
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _launch(self, worker: int) -> None:
        """Start the worker; its first answer says that it has its model."""

    @abstractmethod
    def _end(self, worker: int) -> None:
        """End the worker, whatever it does, if there is one."""

    @abstractmethod
    def _send(self, worker: int, job: Job, arguments: Sequence[Any]) -> None:
        """Ask for a job. A worker that is lost is noticed when its answer is fetched."""

    @abstractmethod
    def _heard(self, workers: list[int], patience: float | None) -> list[int]:
        """Those of ``workers`` whose answer can be fetched; all when ``patience``, in seconds, is
        at its end."""

    @abstractmethod
    def _fetch(self, worker: int, patience: float | None) -> Any:
        """What the worker sends, waited for ``patience`` seconds at most: a result or an error.

        Raises:
            WorkerLost: nothing comes.
        """


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


def answer(worker: Worker, job: Job, arguments: Sequence[Any]) -> Done | Exception:
    """What a worker sends back."""
    try:
        return do(worker, job, arguments)
    except Exception as error:
        return told(error)


def told(error: Exception) -> Exception:
    """The error as it can be sent: what the user can act on as it is, anything else with its
    traceback."""
    if type(error) in (InputError, FloatingPointError):
        return error
    return RuntimeError("in a worker:\n" + "".join(traceback.format_exception(error)))
