"""Writers: models that are asked for a text, such as a better prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import ChatFormat
from prompt_optimization.models.decode import decode
from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import (
    LanguageModel,
    at_least_float32,
    pad_left,
)
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.memory import RowBudget
from prompt_optimization.models.model import Model
from prompt_optimization.models.sampling import Sampling
from prompt_optimization.models.spans import tokenise
from prompt_optimization.models.thinking import decoded, opened
from prompt_optimization.models.worker import Worker
from prompt_optimization.tasks.templates import turns_of

# Replies that are written side by side at most; requests are much longer than questions.
REPLIES_AT_ONCE = 64

# The system's words stand in the prompt's slot, the user's in the question's.
_SYSTEM_AND_USER = turns_of("system", "")


@dataclass(frozen=True)
class Request:
    """What a writer is asked, once or several times.

    Attributes:
        user: what the user says.
        system: what the system says before; empty for nothing.
        draws: how many replies are wanted.
        temperature: divides the logits; 0 takes the likeliest token.
        top_p: only the likeliest tokens that together have this probability; 1 is all.
        max_tokens: longest reply, in tokens.
        seed: of the draws, where the writer is local: the same request with another seed gets
            other replies.
        choices: words, as many as differ in their first token, one of which the reply would begin
            with. The reply is the likeliest of them, with ``probabilities``; nothing is drawn.
    """

    user: str
    system: str = ""
    draws: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 0
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """What a writer answered.

    Attributes:
        text: as it was written, thinking included, with the tag that opens it.
        asked: tokens that were read for it; those that several replies share count once.
        written: tokens that were written.
        cut: it was ended by the limit.
        probabilities: of the request's ``choices``, beside each other.
    """

    text: str
    asked: int
    written: int
    cut: bool
    probabilities: Sequence[float] = ()


# (number of a request, its replies); called as soon as they are there.
Answered = Callable[[int, list[Reply]], None]


class Writer(Protocol):
    """A model that answers requests.

    Attributes:
        name: the model, for logs; with the request it decides what is answered.
    """

    name: str

    def write(self, requests: Sequence[Request], answered: Answered) -> None:
        """Answer all of ``requests``, each with ``draws`` replies.

        Raises:
            InputError: a request cannot be answered. Those that were answered have been handed to
                ``answered``.
        """


class LocalWriter:
    """A model that is loaded here, wherever its copies are.

    Attributes:
        role: what the method calls it.
    """

    def __init__(self, model: Model, role: str = "writer") -> None:
        self.name = model.info.name
        self.model = model
        self.role = role

    def write(self, requests: Sequence[Request], answered: Answered) -> None:
        """All requests are answered together, pooled over the model's workers.

        A reply depends on its request and on its number alone.

        Raises:
            InputError: a request does not fit the model.
            FloatingPointError: the model's logits are not finite.
        """
        draws = [
            Draw(ids, request, number, self._first_ids(request, ids))
            for request, ids in zip(requests, self._ids(requests), strict=True)
            for number in range(request.draws)
        ]
        costs = [float(draw.request.max_tokens) for draw in draws]
        replies = iter(self.model.submit_each(write, draws, costs, (), pieces=1).result())
        # Some chat templates open the thinking, so that the reply begins within it.
        thinking = opened(self.model.chat.suffix)
        for index, request in enumerate(requests):
            own = [next(replies) for _ in range(request.draws)]
            opening = "" if request.choices else thinking
            answered(index, [replace(reply, text=opening + reply.text) for reply in own])

    def _ids(self, requests: Sequence[Request]) -> list[Ids]:
        chat, info = self.model.chat, self.model.info
        texts = [_conversation(chat, request) for request in requests]
        found = [chat.start + each.ids for each in tokenise(self.model.tokenizer, texts)]
        for ids, request in zip(found, requests, strict=True):
            needed = len(ids) + request.max_tokens
            if info.context is not None and needed > info.context:
                raise InputError(
                    f"a request needs {needed} tokens with its reply, more than the "
                    f"{info.context} of the {self.role} {info.name}; allow shorter replies, show "
                    f"it less, or choose another {self.role}",
                    key=(f"{self.role}.max_tokens", f"{self.role}.model"),
                )
        return found

    def _first_ids(self, request: Request, ids: Ids) -> Ids:
        """The tokens that the request's choices begin with after it."""
        if not request.choices:
            return ()
        chat = self.model.chat
        text = _conversation(chat, request)
        longer = tokenise(self.model.tokenizer, [text + choice for choice in request.choices])
        found = tuple((chat.start + each.ids)[len(ids)] for each in longer)
        if len({*found}) < len(found):
            raise InputError(
                f"the {self.role} {self.name} begins {' and '.join(request.choices)} with one "
                f"token, so their probabilities are the same; choose another {self.role}",
                key=f"{self.role}.model",
            )
        return found


@dataclass(frozen=True)
class Draw:
    """A reply that is wanted: the request, as ids too, which of its replies it is, and the tokens
    that its ``choices`` begin with."""

    ids: Ids
    request: Request
    number: int
    choices: Ids = ()

    @property
    def decoding(self) -> tuple[float, float, int, bool]:
        """What replies share that are written side by side."""
        request = self.request
        return request.temperature, request.top_p, request.max_tokens, bool(self.choices)

    @property
    def key(self) -> str:
        """What its luck depends on."""
        request = self.request
        return f"{request.seed} {self.number} {request.system}\n{request.user}"


def write(worker: Worker, draws: Sequence[Draw]) -> list[Reply]:
    """A worker's job: the replies of ``draws``, in order."""
    model = worker.model
    # The ledger has other columns for what a writer reads and writes.
    counted = Counter(model.counts)
    order = sorted(range(len(draws)), key=lambda i: draws[i].decoding)
    found: dict[int, Reply] = {}
    budget = RowBudget(min(REPLIES_AT_ONCE, worker.engine.budget.rows))
    for _, numbers in groupby(order, key=lambda i: draws[i].decoding):
        group = list(numbers)

        def pool(some: Sequence[int]) -> list[Reply]:
            def on_step(step: int) -> None:
                written = len(found) + len(some) * step // draws[some[0]].request.max_tokens
                worker.engine.progress(written, len(draws))

            if draws[some[0]].choices:
                return _choose_pool(model, [draws[i] for i in some])
            return _write_pool(model, [draws[i] for i in some], on_step)

        found.update(zip(group, budget.map(group, pool), strict=True))
    model.counts = counted
    return [found[i] for i in range(len(draws))]


@torch.no_grad()
def _write_pool(
    model: LanguageModel, draws: Sequence[Draw], on_step: Callable[[int], None]
) -> list[Reply]:
    """Replies that are drawn in the same way; a request is read once."""
    temperature, top_p, limit, _ = draws[0].decoding
    different = list(dict.fromkeys(draw.ids for draw in draws))
    ids, valid = pad_left(different, model.filler, model.device)
    kv = KVRows.empty(len(different), model.device)
    logits, _ = model.read(kv, ids, valid=valid)
    which = torch.tensor([different.index(draw.ids) for draw in draws], device=model.device)
    choice = None
    if temperature:
        sampling = Sampling(temperature, top_p=top_p)
        choice = sampling.choice([draw.key for draw in draws], model.device)
    written = decode(model, kv.select(which, spare=limit), logits[which], limit, choice, on_step)
    texts = decoded(model.tokenizer, written)
    return [
        Reply(text, 0 if draw.number else len(draw.ids), len(ids), len(ids) == limit)
        for text, draw, ids in zip(texts, draws, written, strict=True)
    ]


@torch.no_grad()
def _choose_pool(model: LanguageModel, draws: Sequence[Draw]) -> list[Reply]:
    """The likeliest of each request's choices, from one reading of the request."""
    ids, valid = pad_left([draw.ids for draw in draws], model.filler, model.device)
    logits, _ = model.read(KVRows.empty(len(draws), model.device), ids, valid=valid)
    log_probs = at_least_float32(logits).log_softmax(-1).cpu()
    found = []
    for draw, row in zip(draws, log_probs, strict=True):
        among = row[list(draw.choices)].softmax(-1)
        text = draw.request.choices[int(among.argmax())]
        found.append(Reply(text, len(draw.ids), 0, False, among.tolist()))
    return found


def _conversation(chat: ChatFormat, request: Request) -> str:
    """The full text up to the reply; what the system says opens the user's turn where the chat
    template has no system turn."""
    if not request.system.strip():
        return chat.render(request.user)
    text, _ = chat.frame(_SYSTEM_AND_USER, fold_system=True).render(request.user, request.system)
    return text
