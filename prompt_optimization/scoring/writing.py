"""The only way for a method to ask writer or judge: counted, within budget, and never twice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from prompt_optimization.models.role_settings import RoleSettings
from prompt_optimization.models.writers import Reply, Request, Writer
from prompt_optimization.scoring.scorer import BudgetSpent, Scorer

S = TypeVar("S", bound=RoleSettings)

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


class CountedWriter(Generic[S]):
    """A writer whose requests count in a scorer's ledger, in the role that its settings name.

    Attributes:
        settings: how replies are drawn and read.
    """

    def __init__(self, writer: Writer, settings: S, scorer: Scorer, replies: Replies) -> None:
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
        replies = [reply for own in found.values() for reply in own]
        asked, written = sum(each.asked for each in replies), sum(each.written for each in replies)
        self._scorer.ledger.add_requests(self.settings.group, len(requests), asked, written)
        return [found[index] for index in range(len(requests))]
