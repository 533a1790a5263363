"""Executors run jobs on the workers of one model: one in this process, or several elsewhere.

An executor serves one model. Callers do not know where the workers live.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.worker import Job, Worker, execute

Done = tuple[Any, "Counter[str]"]
Report = Callable[[str], None]
Progress = Callable[[int, int], None]
T = TypeVar("T")
U = TypeVar("U")

# Worker processes that are replaced before a run gives up: more than accidents end, fewer than a
# fault that returns every time.
RESTARTS = 3

# Seconds that a worker may take to start and to load its model.
START = 1800.0

SILENT = "has not answered in time"


class WorkerLost(Exception):
    """A worker has died or does not answer any more."""


class Future(Generic[T]):
    """A result that may not be there yet."""

    def __init__(self, wait: Callable[[], T]) -> None:
        self._wait = wait

    def result(self) -> T:
        """Wait for the result. To be called once."""
        return self._wait()

    def then(self, change: Callable[[T], U]) -> Future[U]:
        """What ``change`` makes of the result."""
        return Future(lambda: change(self.result()))


class Executor(ABC):
    """Workers with one model copy each.

    Attributes:
        size: how many.
        busy: seconds that each has worked so far.
        progress: called with how many rows of the running jobs are done, and of how many.
    """

    size: int
    busy: list[float]
    progress: Progress

    @abstractmethod
    def broadcast(
        self, job: Job, arguments: Sequence[Sequence[Any]], replay_key: str = ""
    ) -> list[Done]:
        """Every worker does ``job`` with its own arguments; one result a worker.

        Args:
            replay_key: key of the state that this job leaves in a worker. A replacement worker
                runs the latest job of each key again.
        """

    @abstractmethod
    def submit(self, job: Job, pieces: Sequence[Sequence[Any]]) -> Future[list[Done]]:
        """Have ``job`` done once for the arguments in each of ``pieces``; an idle worker takes the
        next one. The results are in the order of ``pieces``. They have to be waited for before
        more is submitted."""

    def run(self, job: Job, pieces: Sequence[Sequence[Any]]) -> list[Done]:
        """``submit``, waited for."""
        return self.submit(job, pieces).result()

    @abstractmethod
    def close(self) -> None:
        """Let the workers go."""


class InProcessExecutor(Executor):
    """One worker in this process."""

    size = 1

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.busy = [0.0]
        self.progress = lambda done, of: None
        worker.engine.progress = lambda done, of: self.progress(done, of)

    def broadcast(
        self, job: Job, arguments: Sequence[Sequence[Any]], replay_key: str = ""
    ) -> list[Done]:
        return self.run(job, arguments)

    def submit(self, job: Job, pieces: Sequence[Sequence[Any]]) -> Future[list[Done]]:
        def work() -> list[Done]:
            start = time.perf_counter()
            done = [execute(self.worker, job, piece) for piece in pieces]
            self.busy[0] += time.perf_counter() - start
            return done

        return Future(work)

    def close(self) -> None:
        del self.worker
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # whoever comes next may live in another process


@dataclass
class Piece:
    """Work for one worker; its result is number ``index`` of all."""

    index: int
    job: Job
    arguments: Sequence[Any]


class RemoteExecutor(Executor):
    """Workers elsewhere. A worker that dies is replaced, and its job is done again.

    Subclasses launch workers, send jobs, wait for answers and end workers; ``RemoteExecutor`` hands
    out the jobs and records who does what.
    """

    def __init__(self, size: int, timeout: float, report: Report) -> None:
        """
        Args:
            timeout: seconds after which a worker that has not answered counts as lost; 0 waits
                indefinitely.
            report: called with a sentence for every worker that is replaced.
        """
        self.size = size
        self.busy = [0.0] * size
        self.progress = lambda done, of: None
        self.timeout = timeout
        self.report = report
        self.restarts = 0
        self._sent_at = [0.0] * size
        self._doing: dict[int, Piece] = {}
        self._replay: list[dict[str, tuple[Job, Sequence[Any]]]] = [{} for _ in range(size)]

    def broadcast(
        self, job: Job, arguments: Sequence[Sequence[Any]], replay_key: str = ""
    ) -> list[Done]:
        assert len(arguments) == self.size
        queues = [deque([Piece(i, job, piece)]) for i, piece in enumerate(arguments)]
        done = self._submit(queues, deque()).result()
        if replay_key:
            for kept, piece in zip(self._replay, arguments, strict=True):
                # Moved to the end: jobs are replayed in the order in which they were done.
                kept.pop(replay_key, None)
                kept[replay_key] = job, piece
        return done

    def submit(self, job: Job, pieces: Sequence[Sequence[Any]]) -> Future[list[Done]]:
        return self._submit(
            [deque() for _ in range(self.size)],
            deque(Piece(i, job, piece) for i, piece in enumerate(pieces)),
        )

    def _submit(self, own: list[deque[Piece]], shared: deque[Piece]) -> Future[list[Done]]:
        """Hand out each worker's ``own`` pieces first, then those that are ``shared``."""
        assert not self._doing, "the results of earlier work have not been collected"
        results: dict[int, Done] = {}
        total = sum(map(len, own)) + len(shared)

        def hand_out() -> None:
            for worker in range(self.size):
                if worker not in self._doing and (own[worker] or shared):
                    self._doing[worker] = piece = (own[worker] or shared).popleft()
                    self._send_job(worker, piece.job, piece.arguments)

        def collect() -> list[Done]:
            with self._closed_on_error():
                while len(results) < total:
                    hand_out()
                    for worker, done in self._next():
                        results[self._doing.pop(worker).index] = done
            return [results[i] for i in range(total)]

        with self._closed_on_error():
            hand_out()
        return Future(collect)

    def _next(self) -> Iterator[tuple[int, Done]]:
        """The workers that answer next, with their answers."""
        for worker in self._ready(list(self._doing), self._time_left(self._doing)):
            try:
                done = self._receive(worker, self._time_left([worker]))
                self.busy[worker] += time.perf_counter() - self._sent_at[worker]
                yield worker, done
            except WorkerLost as error:
                self._replace(worker, str(error))
                self._send_job(worker, self._doing[worker].job, self._doing[worker].arguments)

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        """End the workers on an error: late answers would be taken for those to the next jobs."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _send_job(self, worker: int, job: Job, arguments: Sequence[Any]) -> None:
        self._sent_at[worker] = time.perf_counter()
        self._send(worker, job, arguments)

    def _time_left(self, workers: Iterable[int]) -> float | None:
        """Seconds until the first of ``workers`` counts as lost; None without a limit."""
        if not self.timeout:
            return None
        first = min(self._sent_at[worker] for worker in workers)
        return max(0.0, first + self.timeout - time.perf_counter())

    def _replace(self, worker: int, reason: str) -> None:
        self._end(worker)
        while True:
            self.restarts += 1
            if self.restarts > RESTARTS:
                fix = "allow them more time" if reason == SILENT else "look for what ends them"
                raise InputError(
                    f"worker {worker} {reason}, after {RESTARTS} workers that were replaced "
                    f"before; {fix}, then continue the run",
                    key=("worker_timeout", "resume") if reason == SILENT else "resume",
                )
            self.report(f"worker {worker} {reason}; starting another one in its place")
            try:
                self._launch(worker)
                self._receive(worker, START)
                self._replay_jobs(worker)
                return
            except WorkerLost as error:
                reason = str(error)

    def _replay_jobs(self, worker: int) -> None:
        for job, arguments in self._replay[worker].values():
            self._send_job(worker, job, arguments)
            self._receive(worker, self._time_left([worker]))

    def close(self) -> None:
        for worker in range(self.size):
            self._end(worker)

    def _receive(self, worker: int, seconds: float | None) -> Done:
        """The answer, waited for at most ``seconds``.

        Raises:
            WorkerLost: there is none.
        """
        found = self._fetch(worker, seconds)
        if isinstance(found, BaseException):
            raise found
        done: Done = found
        return done

    def _open(self, question: str) -> None:
        """Start all workers, side by side, and wait until they have their models.

        Args:
            question: what the user may check when a worker is lost.

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
            raise InputError(
                f"a worker {error} while it loaded its model; {question}", key="devices"
            ) from None
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
        """Send a job. A lost worker is noticed when its answer is fetched."""

    @abstractmethod
    def _ready(self, workers: list[int], seconds: float | None) -> list[int]:
        """Those of ``workers`` whose answer can be fetched; all of them after ``seconds``."""

    @abstractmethod
    def _fetch(self, worker: int, seconds: float | None) -> Any:
        """What the worker sends, waited for at most ``seconds``: a result or an error.

        Raises:
            WorkerLost: nothing comes.
        """


def execute_safely(worker: Worker, job: Job, arguments: Sequence[Any]) -> Done | Exception:
    """What a worker sends back: the result of a job, or the error that ended it."""
    try:
        return execute(worker, job, arguments)
    except Exception as error:
        return as_sendable(error)


def as_sendable(error: Exception) -> Exception:
    """An error that survives pickling: one for the user as it is, any other with its traceback."""
    if type(error) in (InputError, FloatingPointError):
        return error
    return RuntimeError("in a worker:\n" + "".join(traceback.format_exception(error)))
