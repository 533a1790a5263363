"""The base class of the methods that ask a writer: requests in waves, replies read, prompts scored.

A method of this kind says what it asks and what becomes of the answers. Everything else is here:
tags, duplicates, repeated requests, what is dropped and why, acceptance, and the step's details.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from prompt_optimization.errors import InputError
from prompt_optimization.models.layout import Layout
from prompt_optimization.models.writers import Reply, Request
from prompt_optimization.optimizers.base import Entry, Optimizer, Step, Tools, Tried
from prompt_optimization.optimizers.text.compete import compete, weighted_costs
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.optimizers.text.parse import (
    UNREADABLE,
    Drop,
    copies,
    read_prompt,
    without_thinking,
)
from prompt_optimization.optimizers.text.racing import Kind
from prompt_optimization.optimizers.text.settings import TextSettings
from prompt_optimization.scoring.scorer import Row, Scored, Scorer
from prompt_optimization.scoring.writing import CountedWriter

# What prompts stand between in a reply; meta-prompts ask for it.
TAG = "prompt"

# What stands for a prompt where a writer is shown how questions are asked.
PLACEHOLDER = "<instruction>"

# Replies that are drawn anew are drawn at least as hot, because the same would come again.
RETRY_TEMPERATURE = 0.7

# Steps without one usable reply after which a search ends.
PATIENCE = 5


@dataclass(frozen=True)
class Fix:
    """What helps a search whose replies are dropped, and the settings that it takes."""

    words: str
    keys: tuple[str, ...]


# Where the writer has to do better.
ANOTHER_WRITER = Fix(
    "choose a larger one, allow longer replies, or accept replies as they are",
    ("writer.model", "writer.max_tokens", "writer.accept_raw"),
)


@dataclass(frozen=True)
class Ask:
    """A request for prompts, and where they come from. A method that needs to know more of a
    proposal derives a class of its own.

    Attributes:
        operator: what the writer is to do, in a word.
        parents: the prompts that it is shown to change.
    """

    request: Request
    operator: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """A prompt that the writer proposed, in ``Layout.normalise``'s form, when it was asked
    ``ask``."""

    text: str
    ask: Ask

    @property
    def operator(self) -> str:
        return self.ask.operator

    @property
    def parents(self) -> tuple[str, ...]:
        return self.ask.parents


class TextOptimizer(Optimizer):
    """A method that asks a writer.

    Attributes:
        known: every prompt that was scored, in order; none is proposed twice.
        metaprompts: those of the settings, as they were when the search began.
        repeated: reasons to drop a reply for which it is asked for again.
        fixes: by reason, where not the writer has to do better.
        made_rounds: steps of this search; those before a forced resume do not count.
    """

    settings: TextSettings
    repeated: Sequence[str] = UNREADABLE
    fixes: ClassVar[dict[str, Fix]] = {
        "long": Fix(
            "allow longer prompts, or shorter replies", ("max_prompt_tokens", "writer.max_tokens")
        ),
        "boundary": Fix(
            "let fewer words stay, leave more room for prompts, or let the template keep them "
            "apart from the question",
            ("keep", "max_new_tokens", "template"),
        ),
    }

    def __init__(self, settings: TextSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        assert tools.writer is not None, "a method that writes needs a writer"
        self.writer = tools.writer
        self.metaprompts: dict[str, MetaPrompt] = settings.texts()
        self.known: dict[str, None] = {}
        self.made_rounds = 0
        self._proposed: set[str] = set()
        self._dropped: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._barren = 0
        self._place = (-1, 0)  # (step, wave); what is asked in ``start`` belongs to step -1.

    @classmethod
    def first_round(cls, settings: Any, examples: int, models: int) -> int:
        """Those of the initial prompt and of one proposal."""
        return 2 * examples * models

    def start(self, prompt: str) -> Scored:
        scored = super().start(prompt)
        self.known[prompt] = None
        return scored

    def step(self) -> Step | None:
        """As ``Optimizer.step``; None, too, when the writer has given no usable reply for too
        long, if it gave one before.

        Raises:
            InputError: the writer has given no usable reply at all.
        """
        self._begin()
        made = super().step()
        if made is None:
            hopeless = self._barren == self.steps  # Nothing was ever usable.
        else:
            self.made_rounds += 1
            self._lost += self._dropped
            self._barren += 1
            if self._proposed:
                self._lost.clear()
                self._barren = 0
            hopeless = self._barren == PATIENCE
        if not hopeless:
            return made
        reasons = sorted(self._lost.keys() - {"same"})
        if not reasons:
            return None  # The writer has nothing new to say.
        problem = (
            f"the writer '{self.writer.name}' has given no usable reply in {self._barren} steps "
            f"({counted(self._lost)})"
        )
        if len(self.known) > 1:  # What was found before is worth electing from.
            self.exhausted = problem
            return None
        fix = self.fixes.get(max(reasons, key=self._lost.__getitem__), ANOTHER_WRITER)
        raise InputError(f"{problem}; {fix.words}", key=fix.keys)

    def _begin(self) -> None:
        """Forget what the step before has asked and dropped."""
        self._place = (self.steps, 0)
        self._dropped.clear()
        self._proposed.clear()

    def request(
        self,
        user: str,
        *,
        draws: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 512,
        system: str = "",
    ) -> Request:
        """A request with the method's own temperature and length, where the user gave no other."""
        own = self.writer.settings
        return Request(
            user,
            system,
            draws,
            temperature if own.temperature < 0 else own.temperature,
            own.top_p,
            own.max_tokens or max_tokens,
            seed=self.tools.rng.getrandbits(32),
        )

    def ask(
        self,
        operator: str,
        parents: tuple[str, ...],
        slots: Mapping[str, str],
        *,
        draws: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 512,
    ) -> Ask:
        """A request for prompts by the meta-prompt that is called like the operator.

        Args:
            slots: what stands in those of the meta-prompt.
            draws, temperature, max_tokens: as ``request`` takes them.
        """
        user = self.metaprompts[operator].fill(**slots)
        request = self.request(user, draws=draws, temperature=temperature, max_tokens=max_tokens)
        return Ask(request, operator, parents)

    def exemplars(self, numbers: Sequence[int]) -> str:
        """These training questions, each as the model reads it with ``PLACEHOLDER`` in the place of
        the prompt, and their right answers."""
        examples = [self.scorer.examples[i] for i in numbers]
        layout = self.scorer.encoded.layout
        return "\n\n".join(
            f"Asked: {layout.shown(each.question, PLACEHOLDER, solved=False)}\n"
            f"Right answer: {each.answer}"
            for each in examples
        )

    def shown(self, question: str, prompt: str) -> str:
        """What the model reads, in words, wherever the template puts ``prompt``."""
        return self.scorer.encoded.layout.shown(question, prompt)

    def write(self, requests: Sequence[Request]) -> list[list[str]]:
        """A wave of requests for texts that are no prompts, such as feedback: their replies,
        without thinking."""
        return [
            [without_thinking(reply.text).strip() for reply in replies]
            for replies in self._ask(requests)
        ]

    def propose(self, asks: Sequence[Ask]) -> list[Proposal]:
        """A wave of requests for prompts: those that are new and can be scored, in order.

        A request is repeated, up to ``writer.parse_retries`` times, for the replies that are
        dropped for one of the reasons in ``repeated``. What is dropped is counted by reason in the
        step's details.
        """
        found: dict[str, Proposal] = {}
        for attempt in range(1 + self.writer.settings.parse_retries):
            wave = self._ask([ask.request for ask in asks])
            again = []
            for ask, replies in zip(asks, wave, strict=True):
                reasons = [self._take(ask, reply, found) for reply in replies]
                self._dropped.update(reason for reason in reasons if reason)
                if unread := sum(reason in self.repeated for reason in reasons):
                    again.append((ask, unread))
            if not again or attempt == self.writer.settings.parse_retries:
                break
            asks = [self._repeated(ask, draws) for ask, draws in again]
        self._proposed.update(found)
        return list(found.values())

    def propose_given(self, text: str) -> Proposal | None:
        """A prompt that the user gave in place of the writer's; None, counted by reason, where it
        cannot be tried."""
        if reason := "same" if text in self.known else self.problem(text):
            self.drop(reason, 1)
            return None
        self._proposed.add(text)
        return Proposal(text, Ask(Request(""), "pool"))

    def drop(self, reason: str, count: int) -> None:
        """Count what the step does not use."""
        self._dropped += Counter({reason: count})

    def score(self, texts: Sequence[str]) -> list[Scored]:
        """Score prompts on all rows. They are known from now on."""
        with self.scorer.activity.phase("score"):
            scores = self.scorer.score(texts)
        self._scored(scores)
        return scores

    def race(
        self,
        texts: Sequence[str],
        kind: Kind,
        *,
        keep: int = 1,
        budget: float = 0,
    ) -> list[Scored]:
        """Race prompts and the incumbent over the rows in an order that is drawn; the scores of
        those that ran on all rows, best first. All of them are known from now on.

        Args:
            kind: one of the races in ``racing``.
            keep, budget: as ``Race`` takes them.
        """
        racers = list(dict.fromkeys([self.incumbent.text, *texts]))
        rows = self.scorer.rows()
        self.tools.rng.shuffle(rows)

        with self.scorer.activity.phase("race"):
            scores = compete(self.scorer, racers, rows, kind, keep=keep, budget=budget)
        self._scored(scores)
        self.known.update(dict.fromkeys(racers))
        return scores

    def accept(self, scores: Sequence[Scored]) -> bool:
        """Let the best of ``scores`` be the incumbent if it is better; whether it is."""
        best = min(scores, key=lambda scored: scored.order, default=None)
        if best is None or best.order >= self.incumbent.scored.order:
            return False
        self.incumbent = Entry(best, self.steps)
        return True

    def goodness(self, scored: Scored) -> float:
        """A score as a writer is shown it: the share of rows that are right, or under the
        objective ``loss`` how likely right answers are; from 0 to 1."""
        rows = self.scorer.rows()
        return 1 - sum(self.costs(scored.text, rows)) / sum(self.scorer.weights(rows))

    def costs(self, text: str, rows: Sequence[Row]) -> list[float]:
        """As ``weighted_costs``."""
        return weighted_costs(self.scorer, text, rows)

    def made(
        self,
        proposals: Sequence[Proposal],
        scores: Sequence[Scored],
        accepted: bool,
        events: Sequence[str] = (),
        **details: Any,
    ) -> Step:
        """The step that tried ``proposals``, of which those in ``scores`` ran on all rows.

        Args:
            details: the method's own.
        """
        whole = {scored.text for scored in scores}
        fates = {text: "scored" for text in whole} | (
            {self.incumbent.text: "accepted"} if accepted else {}
        )
        operators = {proposal.text: proposal.operator for proposal in proposals}
        if not proposals and self._dropped:
            events = [*events, f"no usable reply ({counted(self._dropped)})"]
        return Step(
            tried=tuple(
                Tried(f"{operators[scored.text]}: {scored.text.strip()}", scored)
                for scored in scores
                if scored.text in operators
            ),
            incumbent=self.incumbent,
            accepted=accepted,
            events=tuple(events),
            details={
                "proposals": [
                    {
                        "prompt": proposal.text,
                        "operator": proposal.operator,
                        "parents": list(proposal.parents),
                        "fate": fates.get(proposal.text, "lost"),
                    }
                    for proposal in proposals
                ],
                "dropped": dict(sorted(self._dropped.items())),
                "waves": self._place[1],
                **details,
            },
        )

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "known": list(self.known),
            "made_rounds": self.made_rounds,
            # The files may have changed since.
            "metaprompts": {name: each.text for name, each in self.metaprompts.items()},
            "lost": dict(self._lost),
            "barren": self._barren,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.known, self.made_rounds = dict.fromkeys(state["known"]), state["made_rounds"]
        for name, text in state["metaprompts"].items():
            self.metaprompts[name] = replace(self.metaprompts[name], text=text)
        self._lost = Counter(state["lost"])
        self._barren = state["barren"]

    def carry_over(self, state: dict[str, Any]) -> None:
        super().carry_over(state)
        self.known.update(dict.fromkeys(entry.text for entry in self.leaderboard.entries))

    def _ask(
        self, requests: Sequence[Request], asked: CountedWriter[Any] | None = None
    ) -> list[list[Reply]]:
        """A wave of requests to ``asked``, or to the writer."""
        if not requests:
            return []
        step, wave = self._place
        self._place = (step, wave + 1)
        return (asked or self.writer).write(requests, step, wave)

    def _take(self, ask: Ask, reply: Reply, found: dict[str, Proposal]) -> str | None:
        """Put the prompt that ``reply`` holds into ``found``; the reason when that is not
        possible."""
        raw = self.writer.settings.accept_raw
        prompt = read_prompt(reply.text, TAG, cut=reply.cut, raw=raw)
        if isinstance(prompt, Drop):
            return prompt.reason
        text = Layout.normalise(prompt)
        if text in found or text in self._proposed or text in self.known:
            return "same"
        if reason := self.problem(text):
            return reason
        found[text] = Proposal(text, ask)
        return None

    def problem(self, text: str) -> str | None:
        """Why a new prompt is dropped, in a word; None when it can be tried."""
        slots = {slot for metaprompt in self.metaprompts.values() for slot in metaprompt.slots}
        marks = [f"<{TAG}>", f"</{TAG}>", PLACEHOLDER, *(f"{{{slot}}}" for slot in slots)]
        if any(mark in text.lower() for mark in marks):
            return "marked"
        if not all(character.isprintable() or character == "\n" for character in text):
            return "unprintable"
        if "\ufffd" in text:  # half a character
            return "unprintable"
        if self.scorer.problem(text):
            return "boundary"
        if len(self.scorer.ids(text)) > self.tools.max_prompt_tokens:
            return "long"
        if copies(text, [example.question for example in self.scorer.examples]):
            return "copied"
        return None

    def _repeated(self, ask: Ask, draws: int) -> Ask:
        request = replace(
            ask.request,
            draws=draws,
            temperature=max(RETRY_TEMPERATURE, ask.request.temperature),
            seed=self.tools.rng.getrandbits(32),
        )
        return replace(ask, request=request)

    def _scored(self, scores: Sequence[Scored]) -> None:
        self.leaderboard.add(Entry(scored, self.steps) for scored in scores)
        self.known.update(dict.fromkeys(scored.text for scored in scores))


def counted(dropped: Counter[str]) -> str:
    """What was dropped, in words."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
    return f"{sum(dropped.values())} dropped: {reasons}"
