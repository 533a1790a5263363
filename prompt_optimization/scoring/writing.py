"""The only way for a method to ask the writer: counted, within budget, and never twice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from prompt_optimization.models.settings import WriterSettings
from prompt_optimization.models.writers import Reply, Request, Writer
from prompt_optimization.scoring.scorer import BudgetSpent, Scorer

# (step, wave of the step, number within the wave); step -1 is the start of a search.
Place = tuple[int, int, int]


class Replies(Protocol):
    """What was answered so far, by place."""

    def find(self, place: Place, writer: str, request: Request) -> list[Reply] | None:
        """The replies that ``request`` got at ``place``; None when it was not asked there.

        Raises:
            InputError: another request was asked there.
        """

    def keep(
        self, place: Place, writer: str, request: Request, replies: Sequence[Reply], seconds: float
    ) -> None:
        """Keep ``replies``, which took ``seconds``.

        Raises:
            InputError: they cannot be written.
        """


class CountedWriter:
    """A writer whose requests count in a scorer's ledger.

    Attributes:
        settings: how replies are drawn and read.
    """

    def __init__(
        self, writer: Writer, settings: WriterSettings, scorer: Scorer, replies: Replies
    ) -> None:
        self.settings = settings
        self._writer = writer
        self._scorer = scorer
        self._replies = replies

    @property
    def name(self) -> str:
        return self._writer.name

    def write(self, requests: Sequence[Request], step: int, wave: int) -> list[list[Reply]]:
        """The replies to a wave of requests, which do not depend on each other.

        What an earlier session of the run was answered at the same place is not asked again. It
        counts as it did then, so that the ledger does not depend on interruptions.

        Raises:
            BudgetSpent: a budget was spent before.
            InputError: a request cannot be answered.
        """
        if reason := self._scorer.limit():
            raise BudgetSpent(reason)
        found: dict[int, list[Reply]] = {}
        for index, request in enumerate(requests):
            known = self._replies.find((step, wave, index), self.name, request)
            if known is not None:
                found[index] = known
        missing = [index for index in range(len(requests)) if index not in found]
        activity, started = self._scorer.activity, time.perf_counter()

        def answered(number: int, replies: list[Reply]) -> None:
            index = missing[number]
            seconds = time.perf_counter() - started
            place = step, wave, index
            self._replies.keep(place, self.name, requests[index], replies, seconds)
            found[index] = replies
            activity.progress(len(found), len(requests))

        with activity.phase("write"):
            if missing:
                self._writer.write([requests[index] for index in missing], answered)
        ledger = self._scorer.ledger
        ledger.requests += len(requests)
        for replies in found.values():
            ledger.tokens["asked"] += sum(reply.asked for reply in replies)
            ledger.tokens["written"] += sum(reply.written for reply in replies)
        return [found[index] for index in range(len(requests))]
