"""Workers that do jobs: one in this process, or several elsewhere.

A crew serves one model. Whoever gives it work does not know where the workers live.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.worker import Job, Worker, do

Done = tuple[Any, "Counter[str]"]
Report = Callable[[str], None]
Collect = Callable[[], list[Done]]

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
    def begin(self, job: Job, pieces: Sequence[Sequence[Any]]) -> Collect:
        """Have ``job`` done once for the arguments in each of ``pieces``; whoever is idle takes
        the next. What is returned waits for the results, which are in the order of ``pieces``; it
        has to be called before more is asked for."""

    def share(self, job: Job, pieces: Sequence[Sequence[Any]]) -> list[Done]:
        """``begin``, waited for."""
        return self.begin(job, pieces)()

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

    def begin(self, job: Job, pieces: Sequence[Sequence[Any]]) -> Collect:
        def work() -> list[Done]:
            start = time.perf_counter()
            done = [do(self.worker, job, piece) for piece in pieces]
            self.busy[0] += time.perf_counter() - start
            return done

        return work

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
        self._doing: dict[int, Piece] = {}
        self._lasting: list[dict[str, tuple[Job, Sequence[Any]]]] = [{} for _ in range(size)]

    def everyone(
        self, job: Job, arguments: Sequence[Sequence[Any]], lasting: str = ""
    ) -> list[Done]:
        assert len(arguments) == self.size
        queues = [deque([Piece(i, job, piece)]) for i, piece in enumerate(arguments)]
        done = self._begin(queues, deque())()
        if lasting:
            for kept, piece in zip(self._lasting, arguments, strict=True):
                # Behind what was there before: the order in which they were done counts.
                kept.pop(lasting, None)
                kept[lasting] = job, piece
        return done

    def begin(self, job: Job, pieces: Sequence[Sequence[Any]]) -> Collect:
        return self._begin(
            [deque() for _ in range(self.size)],
            deque(Piece(i, job, piece) for i, piece in enumerate(pieces)),
        )

    def _begin(self, own: list[deque[Piece]], anyones: deque[Piece]) -> Collect:
        """Hand out each worker's ``own`` pieces first, then ``anyones``."""
        assert not self._doing, "the results of earlier work have not been collected"
        results: dict[int, Done] = {}
        total = sum(map(len, own)) + len(anyones)

        def hand_out() -> None:
            for worker in range(self.size):
                if worker not in self._doing and (own[worker] or anyones):
                    self._doing[worker] = piece = (own[worker] or anyones).popleft()
                    self._ask(worker, piece.job, piece.arguments)

        def collect() -> list[Done]:
            with self._closed_on_error():
                while len(results) < total:
                    hand_out()
                    for worker, done in self._next():
                        results[self._doing.pop(worker).place] = done
            return [results[place] for place in range(total)]

        with self._closed_on_error():
            hand_out()
        return collect

    def _next(self) -> Iterator[tuple[int, Done]]:
        """The workers that are heard next, with what they say."""
        for worker in self._heard(list(self._doing), self._patience(self._doing)):
            try:
                done = self._receive(worker, self._patience([worker]))
                self.busy[worker] += time.perf_counter() - self._asked[worker]
                yield worker, done
            except WorkerLost as error:
                self._replace(worker, str(error))
                self._ask(worker, self._doing[worker].job, self._doing[worker].arguments)

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        """Late answers would be taken for those to the next questions."""
        try:
            yield
        except BaseException:
            self.close()
            raise

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
