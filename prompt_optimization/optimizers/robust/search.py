"""Robust prompt optimisation (Li et al., EMNLP 2023): good on a source with answers, and on a
target that only questions are known of."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from prompt_optimization.models.layout import Layout
from prompt_optimization.optimizers.base import Entry, Leaderboard, Step, Tools
from prompt_optimization.optimizers.robust.settings import RobustSettings
from prompt_optimization.optimizers.robust.vote import leading, needed, precision
from prompt_optimization.optimizers.text.induction import TEMPERATURE, demonstrations
from prompt_optimization.optimizers.text.optimizer import Ask, Proposal, TextOptimizer
from prompt_optimization.scoring.finalists import Ensemble, Finalist, Text, vote
from prompt_optimization.scoring.held_out import HeldOut
from prompt_optimization.scoring.scorer import Row, Scored, Scorer
from prompt_optimization.tasks.answers import stated_answer
from prompt_optimization.tasks.examples import Example

# What the steps write prompts from, in order.
WRITTEN = ("source", "inputs", "mixture")

# Without a writer nothing is shown to one.
POOLED = ("source", "mixture")

# The step after these, where an upper bound is wanted.
BOUND = "bound"


@dataclass(frozen=True)
class Label:
    """What the vote says of a row of the target.

    Attributes:
        answer: with most votes; empty where several have as many.
        votes: for it.
    """

    answer: str
    votes: int


class Robust(TextOptimizer):
    """Three steps: prompts written from source rows; prompts written from these and from questions
    of the target, a control; prompts written from source rows and target rows that the first
    prompts have labelled. From the third step on, both groups decide.

    Answers of the target are taken from the scorer at once. ``given`` keeps them for the report,
    and for an upper bound, which is found after all that stands for election.

    Attributes:
        given: the training examples as they came.
        written: by what they were written from, the prompts of each step.
        labels: of the target's rows, by number, once there was a vote.
        weights: how much each labelled row counts.
        bound: the prompt that is best by the right answers of both groups, once it is known.
    """

    settings: RobustSettings
    baseline = "source only"

    def __init__(self, settings: RobustSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.given: tuple[Example, ...] = scorer.examples
        self.pool = [Layout.normalise(text) for text in settings.given()]
        self.written: dict[str, list[str]] = {}
        self.labels: dict[int, Label] = {}
        self.weights: dict[int, float] = {}
        self.bound = ""
        self._relabel()

    @property
    def source(self) -> list[int]:
        """Numbers of the source's rows."""
        return [i for i, each in enumerate(self.given) if each.group == self.settings.source]

    @property
    def target(self) -> list[int]:
        """Numbers of the target's rows."""
        return [i for i, each in enumerate(self.given) if each.group == self.settings.target]

    @property
    def labelled(self) -> list[int]:
        """Numbers of the target's rows that have a label and count."""
        return list(self.weights)

    @property
    def stages(self) -> tuple[str, ...]:
        stages = POOLED if self.pool else WRITTEN
        return (*stages, BOUND) if self.settings.bound else stages

    def _step(self) -> Step | None:
        if self.made_rounds >= len(self.stages):
            return None
        stage = self.stages[self.made_rounds]
        if stage == "mixture":
            return self._mix()
        if stage == BOUND:
            return self._bound()
        if self.pool:
            proposals = [each for text in self.pool if (each := self.propose_given(text))]
        else:
            proposals = self.propose(self._requests(self.source, stage == "inputs"))
        scores = self._score_all([each.text for each in proposals])
        self.written[stage] = [scored.text for scored in scores]
        return self.made(proposals, scores, self.accept(scores), stage=stage)

    def _mix(self) -> Step:
        """Label the target's rows, write prompts from both groups, and compare all so far."""
        said, details = self._label()
        proposals: list[Proposal] = []
        if self.weights and not self.pool:
            proposals = self.propose(self._requests(self.source, False, self.labelled))
        self.written["mixture"] = [each.text for each in proposals]
        earlier = [text for stage in WRITTEN[:2] for text in self.written.get(stage, [])]
        before = self.incumbent.text
        if self.weights:
            self._begin_anew(list(dict.fromkeys([self.initial.text, *earlier])))
        scores = self._score_all(self.written["mixture"])
        self.accept(scores)
        accepted = self.incumbent.text != before
        return self.made(proposals, scores, accepted, [said], stage="mixture", labels=details)

    def _begin_anew(self, texts: Sequence[str]) -> None:
        """From now on prompts are scored on both groups; those of before are scored again."""
        steps = {entry.text: entry.step for entry in self.leaderboard.entries}
        with self.scorer.activity.phase("score"):
            scores = [self._judged(each) for each in self.scorer.score(texts, self._rows())]
        entries = [Entry(each, steps.get(each.text, self.steps - 1)) for each in scores]
        self.initial = replace(entries[0], step=-1)
        self.leaderboard = Leaderboard(self.tools.top_prompts)
        self.leaderboard.add([self.initial, *entries[1:]])
        self.incumbent = self.leaderboard.best
        self.grown = self.steps

    def _bound(self) -> Step:
        """Find the prompt that somebody would choose who knew the target's answers, of all so far
        and of new ones that are written from right answers. Nothing else of the search changes,
        and what it costs is counted apart."""
        target = [number for number in self.target if self.given[number].labelled]
        with self.scorer.apart():
            asks = [] if self.pool else self._requests(self.source, False, target, self.given)
            proposals = self.propose(asks)
            written = [each.text for each in proposals]
            every = [self.initial.text, *(text for own in self.written.values() for text in own)]
            texts = list(dict.fromkeys([*every, *written]))
            with self.scorer.activity.phase("score"):
                self.scorer.score(texts, self.scorer.rows([*self.source, *target], 1))
            groups = self.source, target
            lacks = {
                text: self._together([self._lack_to(text, numbers) for numbers in groups])
                for text in texts
            }
        self.bound = min(texts, key=lacks.__getitem__)
        said = (
            f"upper bound: the best of {len(texts)} prompts by the right answers of {len(target)} "
            f"rows of '{self.settings.target}'; it cannot be elected, and its cost is counted apart"
        )
        details = {"prompt": self.bound, "prompts": len(texts), "lacks": lacks[self.bound]}
        made = self.made(proposals, [], False, [said], stage=BOUND, bound=details)
        for each in made.details["proposals"]:
            each["fate"] = BOUND
        return made

    def finalists(self) -> Sequence[Finalist]:
        single: list[Finalist] = [Text(entry.text) for entry in self.leaderboard.entries]
        together = self._ensemble()
        if together is None or self.settings.test == "top1":
            return single
        return [together] if self.settings.test == "ensemble" else [*single, together]

    def contenders(self) -> dict[str, Finalist]:
        """The best prompt of each kind, and the vote of those that were written last."""
        found: dict[str, Finalist] = {}
        for stage, name in (("source", "source only"), ("inputs", "source and inputs")):
            if texts := self.written.get(stage):
                # By what the source says: the target is what they do not know.
                best = min(texts, key=lambda text: self._lack(text, self.source))
                found[name] = Text(best)
        if self.weights:
            found["robust"] = Text(self.leaderboard.best.text)
        if together := self._ensemble():
            found["ensemble"] = together
        if self.bound:
            found["upper bound"] = Text(self.bound)
        return found

    def dev_rank(self, finalist: Finalist, result: HeldOut) -> tuple[float, ...]:
        """By dev's source rows and, for the target, by the labelled training rows: what dev knows
        of the target's answers is not for the search to see."""
        groups = result.by_group
        source = groups.get(self.settings.source) if groups else result
        parts = [] if source is None else [1 - source.value.value]
        if self.weights:
            parts.append(self._lack_of(finalist, self.labelled))
        return (self._together(parts) if parts else 0.0,)

    def _relabel(self) -> None:
        """Let the scorer count the source's rows and those of the target that have a label."""
        examples = []
        for number, each in enumerate(self.given):
            if each.group != self.settings.source:
                label = self.labels[number].answer if number in self.weights else ""
                weight = self.weights.get(number, each.weight)
                each = replace(each, answer=label, alternatives=(), weight=weight)
            examples.append(each)
        self.scorer.relabel(examples)

    def _rows(self) -> Sequence[Row]:
        return self.scorer.rows([*self.source, *self.labelled])

    def _requests(
        self,
        source: Sequence[int],
        inputs: bool,
        labelled: Sequence[int] = (),
        examples: Sequence[Example] = (),
    ) -> list[Ask]:
        """Requests that show rows with answers, half of them ``labelled`` ones where there are any.

        Args:
            inputs: show questions of the target too.
            examples: with their answers, in place of what the search knows.
        """
        examples = examples or self.scorer.examples
        settings, rng, asks = self.settings, self.tools.rng, []
        deals = [Deal(source, rng), Deal(labelled, rng), Deal(self.target, rng)]
        for _ in range(settings.prompts):
            other = settings.demos // 2 if labelled else 0
            numbers = [*deals[0].next(settings.demos - other), *deals[1].next(other)]
            shown = [examples[number] for number in numbers]
            slots = {"examples": demonstrations(shown, len(shown), rng)}
            if inputs:
                questions = [self.given[i].question for i in deals[2].next(settings.demos)]
                slots["inputs"] = "\n\n".join(f"Question: {each}" for each in questions)
            operator = "inputs" if inputs else "induction"
            asks.append(self.ask(operator, (), slots, temperature=TEMPERATURE))
        return asks

    def _label(self) -> tuple[str, dict[str, Any]]:
        """Let the first step's prompts vote on the target's rows; what happened, in words and as
        the log holds it."""
        settings, target, voters = self.settings, self.target, self.written["source"]
        if not voters:
            return "no prompt to label with; the source alone decides", {}
        answers = [self.given[number].answer for number in self.source]
        forms = list(dict.fromkeys(answers))
        with self.scorer.activity.phase("label"):
            self.scorer.score(voters, self.scorer.rows(target, 1))
            columns = [self.scorer.transcripts(text, target) for text in voters]
        ties = settings.behaviour == "published"
        for number, row in zip(target, zip(*columns, strict=True), strict=True):
            stated = [stated_answer(each.answer, forms) for each in row]
            self.labels[number] = Label(*leading(stated, ties))
        least = needed(settings.threshold, len(voters))
        kept = [i for i in target if self.labels[i].answer and self.labels[i].votes >= least]
        said = (
            f"{len(kept)} of {len(target)} rows of '{settings.target}' got a label by at least "
            f"{least} of {len(voters)} votes"
        )
        details: dict[str, Any] = {
            "prompts": len(voters),
            "needed": least,
            "rows": len(target),
            "kept": len(kept),
            "votes": [self.labels[number].votes for number in target],
            "labels": [self.labels[number].answer for number in target],
        }
        if known := [i for i in target if self.given[i].labelled]:
            right = [self._right(number) for number in known]
            votes = [self.labels[i].votes if self.labels[i].answer else 0 for i in known]
            details["precision"] = precision(votes, right, len(voters))
            if found := details["precision"][least - 1]["right"]:
                said += (
                    f"; {100 * found['value']:.0f} % [{100 * found['low']:.0f}, "
                    f"{100 * found['high']:.0f}] of the labels are right"
                )
        if len(kept) < settings.min_rows:
            return f"{said}, fewer than {settings.min_rows}: the source alone decides", details
        self._weigh(kept)
        self._relabel()
        return said, details | {"weights": [self.weights.get(i, 0.0) for i in target]}

    def _right(self, number: int) -> bool:
        """Whether the label of a row is right; for the report."""
        label = self.labels[number].answer
        return bool(label) and self.scorer.metric.value(label, self.given[number]) == 1

    def _weigh(self, kept: Sequence[int]) -> None:
        """Let the labelled rows count as much as the source's together."""
        total = sum(self.given[number].weight for number in self.source)
        if self.settings.balance == "weight":
            self.weights = {number: total / len(kept) for number in kept}
            return
        copies = max(len(self.source), len(kept))
        self.weights = {
            number: float(copies // len(kept) + (place < copies % len(kept)))
            for place, number in enumerate(kept)
        }

    def _score_all(self, texts: Sequence[str]) -> list[Scored]:
        """Score prompts on the rows that count. They are known from now on."""
        with self.scorer.activity.phase("score"):
            scores = [self._judged(each) for each in self.scorer.score(texts, self._rows())]
        self._scored(scores)
        return scores

    def _rescored(self, state: dict[str, Any]) -> Entry | None:
        entry = super()._rescored(state)
        return replace(entry, scored=self._judged(entry.scored)) if entry else None

    def _judged(self, scored: Scored) -> Scored:
        """With ``select=worst`` the objective is that of the worse group."""
        if self.settings.select == "mean" or not self.weights:
            return scored
        parts = [self._lack(scored.text, rows) for rows in (self.source, self.labelled)]
        added = self.scorer.nll_weight * scored.nll
        return replace(scored, objective=self._together(parts) + added)

    def _together(self, parts: Sequence[float]) -> float:
        """What is minimised of what each group lacks."""
        return max(parts) if self.settings.select == "worst" else sum(parts) / len(parts)

    def _lack(self, text: str, numbers: Sequence[int]) -> float:
        """What the answers under a prompt lack to being right, on the mean over these rows."""
        rows = self.scorer.rows(numbers)
        return sum(self.costs(text, rows)) / sum(self.scorer.weights(rows))

    def _lack_of(self, finalist: Finalist, numbers: Sequence[int]) -> float:
        """The same of a finalist, as the first model answers."""
        if isinstance(finalist, Text):
            return self._lack(finalist.prompt, numbers)
        assert isinstance(finalist, Ensemble)
        columns = [self.scorer.transcripts(text, numbers) for text in finalist.prompts]
        weights = self.scorer.weights(self.scorer.rows(numbers, 1))
        lack = 0.0
        for number, weight, row in zip(numbers, weights, zip(*columns, strict=True), strict=True):
            answers = [each.answer for each in row]
            elected = answers[vote(answers)]
            lack += weight * (1 - self.scorer.metric.value(elected, self.scorer.examples[number]))
        return lack / sum(weights)

    def _lack_to(self, text: str, numbers: Sequence[int]) -> float:
        """What the first model's answers under a prompt lack to those that were given."""
        rows = [self.given[number] for number in numbers]
        lack = 0.0
        for each, said in zip(rows, self.scorer.transcripts(text, numbers), strict=True):
            lack += each.weight * (1 - self.scorer.metric.value(said.answer, each))
        return lack / sum(each.weight for each in rows)

    def _ensemble(self) -> Ensemble | None:
        """The vote of the prompts that were written last, or of the pool."""
        texts = self.written.get("mixture") or (self.written.get("source") if self.pool else None)
        return Ensemble(tuple(texts)) if texts and len(texts) > 1 else None

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "pool": list(self.pool),
            "written": {stage: list(texts) for stage, texts in self.written.items()},
            "labels": [[i, each.answer, each.votes] for i, each in self.labels.items()],
            "weights": [[number, weight] for number, weight in self.weights.items()],
            "bound": self.bound,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.pool = list(state["pool"])
        self.written = {stage: list(texts) for stage, texts in state["written"].items()}
        self.labels = {number: Label(answer, votes) for number, answer, votes in state["labels"]}
        self.weights = {number: weight for number, weight in state["weights"]}
        self.bound = state.get("bound", "")
        self._relabel()


class Deal:
    """Numbers in an order that is drawn, none again before all have come."""

    def __init__(self, numbers: Sequence[int], rng: random.Random) -> None:
        self._numbers = list(numbers)
        self._rng = rng
        self._left: list[int] = []

    def next(self, count: int) -> list[int]:
        """The next ``count`` of them, or all there are."""
        found: list[int] = []
        while len(found) < min(count, len(self._numbers)):
            if not self._left:
                self._left = [each for each in self._numbers if each not in found]
                self._rng.shuffle(self._left)
            found.append(self._left.pop())
        return found


OPTIMIZER = Robust
