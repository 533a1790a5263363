"""SPO (Xiang et al., 2025): prompts improved by comparing answers, without right ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from prompt_optimization.models.layout import Layout
from prompt_optimization.models.role_settings import JudgeSettings
from prompt_optimization.models.sampling import Sampling
from prompt_optimization.models.writers import Reply, Request
from prompt_optimization.optimizers.base import Entry, Step, Tools
from prompt_optimization.optimizers.spo.judge import (
    LETTERS,
    Tally,
    ballot,
    choice_of,
    consistency,
    leaning,
    repetition,
    verdict,
)
from prompt_optimization.optimizers.spo.metaprompts import LETTER, TAGGED
from prompt_optimization.optimizers.spo.settings import SpoSettings
from prompt_optimization.optimizers.text.failures import shortened
from prompt_optimization.optimizers.text.optimizer import Ask, Fix, Proposal, TextOptimizer
from prompt_optimization.scoring.finalists import Finalist, Text
from prompt_optimization.scoring.scorer import Row, Scored, Scorer, Transcript
from prompt_optimization.scoring.writing import CountedWriter

# The temperature of the paper's writer.
WRITING = 0.7

# Longest reply of a judge that gives a reason, in tokens.
JUDGED = 256

# Where the user requires nothing.
NOTHING = "It answers the question rightly and says what was asked for."


class Spo(TextOptimizer):
    """A step lets the writer change the incumbent. A judge compares the answers of the two to a few
    questions. What the rows hold of right answers is counted for the log and decides nothing, but
    under ``judge=reference`` and where ``reference=gold`` shows it.

    Attributes:
        questions: numbers of the examples that prompts are compared on.
        pool: prompts that are tried in place of the writer's; ``taken`` of them were.
        chain: the accepted prompts in their order, the initial one first.
        margin: questions that each of these won beyond what it lost, in shares, added up.
        idle: steps since the last one was accepted.
        drawn: under ``judge=consistency`` the answers of each prompt to each question.
    """

    settings: SpoSettings
    fixes = TextOptimizer.fixes | {
        "wordy": Fix("allow more words", ("spo.word_limit",)),
    }

    def __init__(self, settings: SpoSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.questions: list[int] = []
        self.pool = [Layout.normalise(text) for text in settings.prompts()]
        self.taken = 0
        self.chain: list[str] = []
        self.margin = 0.0
        self.idle = 0
        self.drawn: dict[str, dict[str, list[str]]] = {}

    @classmethod
    def first_round(cls, settings: SpoSettings, examples: int, models: int) -> int:
        """Those of the initial prompt and of one other, on the questions that are compared."""
        draws = settings.samples if settings.judge == "consistency" else 0
        return 2 * min(settings.questions, examples) * (1 + draws)

    def start(self, prompt: str) -> Scored:
        self._draw_questions()
        self.chain = [prompt]
        return super().start(prompt)

    def _step(self) -> Step | None:
        settings = self.settings
        if settings.rounds and self.made_rounds >= settings.rounds:
            return None
        if settings.patience and self.idle >= settings.patience:
            return None
        if self.settings.pool and self.taken == len(self.pool):
            return None
        if settings.resample and self.steps:
            self._draw_questions()
        proposals = self._from_pool() if settings.pool else self.propose([self._challenge()])
        if not proposals:
            self.idle += 1
            return self.made([], [], False, questions=list(self.questions))
        text = proposals[0].text
        with self.scorer.activity.phase("score"):
            (scored,) = self.scorer.score([text], self._rows())
        judged = self._judge(text)
        tally = Tally.of(judged.units)
        accepted = tally.accepts(settings.accept, settings.alpha)
        step = -tally.margin if accepted else max(0.0, -tally.margin)
        scored = self._by_margin(scored, self.margin + step)
        self._scored([scored])
        if accepted:
            self.incumbent = Entry(scored, self.steps)
            self.chain.append(text)
            self.margin += step
            self.grown = self.steps  # What comes is compared with another incumbent.
        self.idle = 0 if accepted else self.idle + 1
        return self.made(
            proposals,
            [scored],
            accepted,
            events=[str(tally)],
            questions=list(self.questions),
            judge=asdict(tally) | judged.details,
            words=len(text.split()),
            repetition=repetition(text),
        )

    def finalists(self) -> Sequence[Finalist]:
        """The accepted prompts, the last one first: no score says which is the best."""
        return [Text(text) for text in reversed(self.chain)][: self.tools.top_prompts]

    def problem(self, text: str) -> str | None:
        limit = self.settings.word_limit
        return "wordy" if 0 < limit < len(text.split()) else super().problem(text)

    @property
    def _judging(self) -> CountedWriter[JudgeSettings]:
        assert self.tools.judge is not None, "a method that judges needs a judge"
        return self.tools.judge

    def _rows(self) -> Sequence[Row]:
        return [(0, question) for question in self.questions]

    def _draw_questions(self) -> None:
        count = min(self.settings.questions, len(self.scorer.examples))
        self.questions = sorted(self.tools.rng.sample(range(len(self.scorer.examples)), count))

    def _by_margin(self, scored: Scored, objective: float) -> Scored:
        """Where no answer is known, the margin is the objective."""
        return replace(scored, objective=objective) if scored.wrong is None else scored

    def _from_pool(self) -> list[Proposal]:
        """The pool's next prompt that can be tried."""
        while self.taken < len(self.pool):
            text = self.pool[self.taken]
            self.taken += 1
            if proposal := self.propose_given(text):
                return [proposal]
        return []

    def _challenge(self) -> Ask:
        """The request to change the incumbent."""
        limit = self.settings.word_limit
        answers = [
            f"Question: {each.question}\nAnswer: {self._answer(each)}{self._expected(number)}"
            for number, each in zip(
                self.questions, self._transcripts(self.incumbent.text), strict=True
            )
        ]
        return self.ask(
            "challenge",
            (self.incumbent.text,),
            {
                "requirements": self.settings.requirements.strip() or NOTHING,
                "prompt": self.incumbent.text.strip(),
                "answers": "\n\n".join(answers),
                "limit": f" It has at most {limit} words." if limit else "",
            },
            temperature=WRITING,
        )

    def _transcripts(self, prompt: str) -> list[Transcript]:
        return self.scorer.transcripts(prompt, self.questions)

    def _answer(self, transcript: Transcript) -> str:
        """What the model wrote, as writer and judge see it."""
        if not self.scorer.encoded.has_targets:
            return shortened(transcript.answer)
        return f"{shortened(transcript.reasoning)}\nFinal answer: {transcript.answer.strip()}"

    def _expected(self, question: int) -> str:
        """The line that shows what is expected."""
        shown = {
            "none": "",
            "format": self.settings.answer_format.strip(),
            "gold": self.scorer.examples[question].answer,
        }[self.settings.reference]
        return f"\nExpected answer: {shown}" if shown else ""

    def _judge(self, challenger: str) -> Judged:
        """Compare the answers under the incumbent and under ``challenger``."""
        pair = [self._transcripts(text) for text in (self.incumbent.text, challenger)]
        kind = self.settings.judge
        if kind in ("consistency", "reference"):
            differences = self._differences(challenger, pair)
            signs = [[_sign(each)] for each in self._units(differences)]
            judged = Judged(signs, signs)
        else:
            judged = self._vote(pair)
        if self.settings.scope == "each":
            judged.details |= _agreement(judged.units, *pair)
        return judged

    def _differences(self, challenger: str, pair: Sequence[Sequence[Transcript]]) -> list[float]:
        """What each question says for the challenger without a judge that reads."""
        if self.settings.judge == "reference":
            return [after.value - before.value for before, after in zip(*pair, strict=True)]
        for text in (self.incumbent.text, challenger):
            self._draw_answers(text)
        found = []
        for question in map(str, self.questions):
            drawn = {text: own[question] for text, own in self.drawn.items() if question in own}
            values = [
                consistency(drawn[text], [each for other, each in drawn.items() if other != text])
                for text in (self.incumbent.text, challenger)
            ]
            found.append(values[1] - values[0])
        return found

    def _draw_answers(self, text: str) -> None:
        """Draw the answers of a prompt to the questions that it has not been asked yet."""
        own = self.drawn.setdefault(text, {})
        missing = [question for question in self.questions if str(question) not in own]
        if not missing:
            return
        # Every prompt is drawn with the same luck, so what differs is the prompt.
        sampling = Sampling(self.settings.sample_temperature)
        with self.scorer.activity.phase("draw"):
            answers = self.scorer.draw_answers(text, missing, sampling, self.settings.samples)
        own |= {str(question): each for question, each in zip(missing, answers, strict=True)}

    def _units(self, differences: Sequence[float]) -> Sequence[float]:
        """One number for what is judged together."""
        return differences if self.settings.scope == "each" else [sum(differences)]

    def _vote(self, pair: Sequence[Sequence[Transcript]]) -> Judged:
        """The ballots of a judge that reads both answers, or of a coin."""
        cases = [
            self._case(number, before, after)
            for number, before, after in zip(self.questions, *pair, strict=True)
        ]
        if self.settings.scope == "set":
            cases = [["\n\n".join(texts) for texts in zip(*cases, strict=True)]]
        rng, kind = self.tools.rng, self.settings.judge
        times = 1 if kind == "logprob" else self.settings.votes
        orders = [
            [False, True] * times
            if self.settings.orders == "both"
            else [rng.random() < 0.5 for _ in range(times)]
            for _ in cases
        ]
        if kind == "random":
            tossed = [[rng.choice((1, -1)) for _ in own] for own in orders]
            return Judged(tossed, tossed, orders)
        requests = [
            self._request(case, swapped)
            for case, own in zip(cases, orders, strict=True)
            for swapped in own
        ]
        replies = iter([reply for (reply,) in self._ask(requests, self._judging)])
        # By question: its replies, and whether the challenger's answer came first.
        read = [[(next(replies), swapped) for swapped in own] for own in orders]
        votes = [[ballot(self._choice(reply), swapped) for reply, swapped in own] for own in read]
        units = votes
        if kind == "logprob":
            leanings = [
                sum(leaning(reply.probabilities, swapped) for reply, swapped in own) for own in read
            ]
            units = [[_sign(each)] for each in leanings]
        return Judged(units, votes, orders, [reply for own in read for reply, _ in own])

    def _case(self, number: int, before: Transcript, after: Transcript) -> list[str]:
        """What is asked and what the two answer, in words."""
        asked = f"Question: {before.question}{self._expected(number)}"
        return [asked, self._answer(before), self._answer(after)]

    def _request(self, case: Sequence[str], swapped: bool) -> Request:
        asked, before, after = case
        by_letter = self.settings.judge == "logprob"
        first, second = (after, before) if swapped else (before, after)
        user = self.metaprompts["verdict"].fill(
            requirements=self.settings.requirements.strip() or NOTHING,
            question=asked,
            first=first,
            second=second,
            reply=LETTER if by_letter else TAGGED,
        )
        own = self._judging.settings
        return Request(
            user,
            temperature=0.0 if by_letter else self.settings.judge_temperature,
            top_p=own.top_p,
            max_tokens=1 if by_letter else own.max_tokens or JUDGED,
            seed=self.tools.rng.getrandbits(32),
            choices=LETTERS if by_letter else (),
        )

    def _choice(self, reply: Reply) -> str | None:
        """The letter that the judge chose."""
        if self.settings.judge != "logprob":
            return choice_of(reply.text, self._judging.settings.accept_raw)
        first, second = reply.probabilities
        return None if first == second else reply.text

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "questions": list(self.questions),
            "pool": list(self.pool),
            "taken": self.taken,
            "chain": list(self.chain),
            "margin": self.margin,
            "idle": self.idle,
            "drawn": {text: dict(own) for text, own in self.drawn.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.questions, self.pool = list(state["questions"]), list(state["pool"])
        self.taken, self.idle = state["taken"], state["idle"]
        self.chain, self.margin = list(state["chain"]), state["margin"]
        self.drawn = {text: dict(own) for text, own in state["drawn"].items()}

    def carry_over(self, state: dict[str, Any]) -> None:
        """As ``TextOptimizer.carry_over``. The rounds begin anew, from the incumbent."""
        super().carry_over(state)
        self.chain = list(dict.fromkeys([*self.chain, self.incumbent.text]))


class Judged:
    """What a judge said.

    Attributes:
        units: the ballots of each question, or of all together.
        details: of the log.
    """

    def __init__(
        self,
        units: list[list[int]],
        votes: list[list[int]],
        orders: Sequence[Sequence[bool]] = (),
        replies: Sequence[Reply] = (),
    ) -> None:
        """
        Args:
            votes: of the readings that the ballots come from.
            orders: of each reading, whether the challenger's answer came first.
            replies: of the model that judged, one a reading.
        """
        self.units = units
        self.details: dict[str, Any] = {"votes": [list(own) for own in votes]}
        if orders:
            self.details["challenger_first"] = [list(own) for own in orders]
            self.details["consistent"] = _consistent(votes, orders)
        if replies:
            self.details["tokens"] = sum(reply.asked + reply.written for reply in replies)
        if any(reply.probabilities for reply in replies):
            self.details["probability_of_a"] = [reply.probabilities[0] for reply in replies]


def _consistent(votes: Sequence[Sequence[int]], orders: Sequence[Sequence[bool]]) -> list[int]:
    """Of the questions read in both orders with a vote each time: how often the first readings of
    both orders agree, and how many there are."""
    pairs = []
    for cast, own in zip(votes, orders, strict=True):
        if len({*own}) == 2:
            pairs.append((cast[list(own).index(False)], cast[list(own).index(True)]))
    usable = [pair for pair in pairs if all(pair)]
    return [sum(one == other for one, other in usable), len(usable)]


def _agreement(
    units: Sequence[Sequence[int]], before: Sequence[Transcript], after: Sequence[Transcript]
) -> dict[str, list[int]]:
    """Of the questions that one prompt alone answers rightly: how often the judge prefers that
    answer, how often the other one, and how many there are. Empty where no answer is known."""
    if not any(each.reference for each in before):
        return {}
    found = [
        verdict(unit) * (new.right - old.right)
        for unit, old, new in zip(units, before, after, strict=True)
        if new.right != old.right
    ]
    return {"agreement": [found.count(1), found.count(-1), len(found)]}


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


OPTIMIZER = Spo
