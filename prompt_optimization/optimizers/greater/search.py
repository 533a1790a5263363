"""The search: propose, reason, differentiate, select; one token a step. (paper, algorithm 1)"""

from __future__ import annotations

import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from prompt_optimization.models.engine import Engine
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.memory import RowBudget
from prompt_optimization.models.samples import Samples
from prompt_optimization.optimizers.greater.differentiate import aggregate, token_gradients
from prompt_optimization.optimizers.greater.evaluator import Evaluation, Evaluator
from prompt_optimization.optimizers.greater.propose import banned_ids, propose
from prompt_optimization.optimizers.greater.select import (
    accepts,
    choose,
    hardest_first,
    shortlist,
    until_period,
)
from prompt_optimization.optimizers.greater.settings import SearchSettings
from prompt_optimization.optimizers.stoppers import Progress, Stopper, first_reason, max_steps


@dataclass(frozen=True)
class Scored:
    """A prompt with its evaluation on ``samples`` training samples, found at ``step``."""

    text: str
    ids: Ids
    evaluation: Evaluation
    step: int

    @property
    def samples(self) -> int:
        return len(self.evaluation.outcomes)

    @property
    def rank(self) -> tuple[int, float, int]:
        """Sorts best first: objectives on more samples count before those on fewer."""
        return (-self.samples, self.evaluation.objective, self.step)


@dataclass(frozen=True)
class Candidate:
    """A shortlisted token, its coordinate of the normalised gradient, and the prompt it makes."""

    token: int
    gradient: float
    scored: Scored


@dataclass(frozen=True)
class Step:
    """What one step did.

    Attributes:
        index: from 0.
        position: index of the edited token in the prompt.
        appended: the position lies behind the prompt's last token.
        samples: training samples in use.
        topk: proposals per sample, after widening.
        proposals: proposed ids; ``gradients`` are their coordinates, in the same order.
        candidates: the shortlist in its order, evaluated.
        chosen: index into ``candidates``; None when nothing could be proposed or every candidate
            was given up.
        accepted: whether the chosen one became the incumbent.
        incumbent: the prompt after the step.
        events: what else happened (a group of samples added, the search started over).
        seconds: per phase.
        tokens: tokens per kind (see ``LanguageModel.counts``).
    """

    index: int
    position: int
    appended: bool
    samples: int
    topk: int
    proposals: tuple[int, ...]
    gradients: tuple[float, ...]
    candidates: tuple[Candidate, ...]
    chosen: int | None
    accepted: bool
    incumbent: Scored
    events: tuple[str, ...]
    seconds: dict[str, float]
    tokens: dict[str, int]


@dataclass
class State:
    """All that changes from step to step.

    Attributes:
        active: training samples in use; ``grown``: the step at which they last became more.
        since_best: steps since a better prompt, more samples or a new start.
        seconds, decoded, evaluations: totals over all steps.
    """

    incumbent: Scored
    position: int
    active: int
    rng: random.Random
    initial: Scored
    step: int = 0
    best: list[Scored] = field(default_factory=list)
    since_best: int = 0
    grown: int = -1
    seconds: float = 0.0
    decoded: int = 0
    evaluations: int = 0


class GreaterSearch:
    """One prompt, one model, one set of training samples."""

    def __init__(
        self,
        engine: Engine,
        samples: Samples,
        prompt: str,
        settings: SearchSettings,
        gradient_rows: int,
        stoppers: Sequence[Stopper] = (),
    ) -> None:
        """
        Args:
            prompt: the initial prompt's text, in ``Layout.normalise``'s form.
            gradient_rows: samples at once in a backward pass.
            stoppers: what else ends the search, besides ``settings.steps``.
        """
        self.engine = engine
        self.samples = samples
        self.settings = settings
        self.initial = samples.prompt_ids(prompt)
        self.gradient_budget = RowBudget(gradient_rows)
        self.evaluator = Evaluator(
            engine,
            samples,
            settings.decoding,
            objective=settings.objective,
            nll_weight=settings.objective_nll_weight,
        )
        model = engine.model
        self.banned = banned_ids(
            model.tokenizer, model.vocabulary, allow_non_ascii=settings.allow_non_ascii
        )
        self.stoppers = (*stoppers, max_steps(settings.steps))
        self.ended: str | None = None
        self._text = prompt
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self.state: State | None = None

    def begin(self) -> Scored:
        """Evaluate the initial prompt; the state is ready for the first step."""
        s = self.settings
        active = len(self.samples)
        if s.progressive:
            active = min(s.progressive_group, active)
        (evaluation,) = self.evaluator.evaluate([self.initial], active)
        scored = Scored(self._text, self.initial, evaluation, step=-1)
        self.state = State(scored, 0, active, random.Random(s.seed), initial=scored)
        self.remember([scored])
        return scored

    def run(self) -> Iterator[Step]:
        """Steps until a stopper ends the search; ``ended`` then holds its reason."""
        if self.state is None:
            self.begin()
        while (ended := first_reason(self.stoppers, self.progress)) is None:
            yield self.step()
        self.ended = ended

    @property
    def progress(self) -> Progress:
        state = self.state
        assert state is not None, "begin() comes first"
        best = state.best[0]
        everyone = state.active == len(self.samples)
        fresh = max(best.step, state.grown)
        return Progress(
            steps=state.step,
            seconds=state.seconds,
            decoded=state.decoded,
            evaluations=state.evaluations,
            objective=best.evaluation.objective if everyone else math.inf,
            since_best=state.step - 1 - fresh,
            solved=everyone and state.incumbent.evaluation.mistakes == 0,
        )

    def step(self) -> Step:
        """Improve the token at the current position."""
        state, s = self.state, self.settings
        assert state is not None, "begin() comes first"
        self._seconds.clear()
        tokens_before = Counter(self.engine.model.counts)
        computed_before = self.evaluator.computed
        active = state.active
        position, appended = self._place(state)
        before = state.incumbent.ids[:position]
        after = state.incumbent.ids[position + 1 :]

        def edited(token: int) -> Ids:
            return (*before, token, *after)

        # 1. Propose.
        with self._phase("propose"):
            self.samples.prefix.reach(before)
            log_probs = self.samples.prefix.log_probs[:active]
            taken = () if appended else (state.incumbent.ids[position],)
            proposals = propose(
                log_probs.cpu(),
                self._banned_at(position, before),
                state.rng,
                topk=s.topk,
                topq=s.topq,
                group_size=s.group_size,
                minimum=s.min_proposals,
                widening=s.widening,
                keep=lambda tokens: self._keep(tokens, edited, taken),
            )
            tokens = list(proposals.tokens)
            current = taken[0] if taken else self._placeholder(tokens, edited)
            if s.current_in_shortlist and current is not None and current not in tokens:
                tokens.append(current)

        candidates: list[Candidate] = []
        gradients: list[float] = []
        if tokens and current is not None:
            prompt = edited(current)

            # 2. Reason. The incumbent's reasoning is known from the step that chose it.
            with self._phase("reason"):
                reasonings = self._reasonings(prompt, appended)

            # 3. Differentiate.
            with self._phase("differentiate"):
                gradient = aggregate(
                    token_gradients(
                        self.engine.model,
                        self.samples,
                        range(active),
                        prompt,
                        position,
                        tokens,
                        reasonings,
                        s.gradient,
                        self.gradient_budget,
                    )
                )
                gradients = gradient.tolist()

            # 4. Select.
            with self._phase("select"):
                best = shortlist(s.shortlist, gradient, tokens, s.shortlist_size, state.rng)
                if s.period_rule == "published":
                    at = until_period(
                        [self._ends_sentence(t) for t in best], position, len(self.initial)
                    )
                    best = best if at is None else best[: at + 1]
                texts = self.samples.spell([edited(token) for token in best])
                evaluations = self.evaluator.race(
                    [edited(t) for t in best], self._chunks(state), self._ceiling(state)
                )
                slope = dict(zip(tokens, gradients, strict=True))
                for token, text, evaluation in zip(best, texts, evaluations, strict=True):
                    assert text is not None
                    scored = Scored(text, edited(token), evaluation, state.step)
                    candidates.append(Candidate(token, slope[token], scored))

        chosen, accepted = self._decide(state, candidates, position)
        self._advance(state, position, appended, accepted)
        finished = [c.scored for c in candidates if not c.scored.evaluation.capped]
        events = self._follow_goals(state, finished)
        step = Step(
            index=state.step,
            position=position,
            appended=appended,
            samples=active,
            topk=proposals.topk,
            proposals=tuple(tokens),
            gradients=tuple(gradients),
            candidates=tuple(candidates),
            chosen=chosen,
            accepted=accepted,
            incumbent=state.incumbent,
            events=events,
            seconds=dict(self._seconds),
            tokens=dict(Counter(self.engine.model.counts) - tokens_before),
        )
        state.step += 1
        state.seconds += sum(step.seconds.values())
        state.decoded += step.tokens.get("decoded", 0)
        state.evaluations += self.evaluator.computed - computed_before
        return step

    def _place(self, state: State) -> tuple[int, bool]:
        """The position to edit; behind the last token one is appended, unless the sentence has
        ended or the prompt is as long as it may be."""
        length = len(state.incumbent.ids)
        if state.position < length:
            return state.position, False
        if self._ends_sentence(state.incumbent.ids[-1]):
            return 0, False
        if length >= max(self.settings.max_prompt_tokens, len(self.initial)):
            return 0, False
        return length, True

    def _banned_at(self, position: int, before: Ids) -> torch.Tensor:
        """No word twice in a row."""
        if position == 0:
            return self.banned
        banned = self.banned.clone()
        banned[before[-1]] = True
        return banned

    def _keep(self, tokens: Sequence[int], edited: Callable[[int], Ids], taken: Ids) -> list[int]:
        """The tokens whose prompt is a text that means exactly these ids.

        The current token is let through only where it may be shortlisted: its evaluation is
        known, so trying it again would waste a place.
        """
        if not self.settings.current_in_shortlist:
            tokens = [token for token in tokens if token not in taken]
        texts = self.samples.spell([edited(token) for token in tokens])
        return [token for token, text in zip(tokens, texts, strict=True) if text is not None]

    def _placeholder(self, tokens: Sequence[int], edited: Callable[[int], Ids]) -> int | None:
        """What stands in an appended slot while the gradient is taken: the published code's
        underscore, or the likeliest proposal."""
        if self.settings.placeholder == "underscore":
            ids = self.engine.model.tokenizer("_", add_special_tokens=False)["input_ids"]
            if len(ids) == 1 and self.samples.spell([edited(ids[0])])[0] is not None:
                return int(ids[0])
        return tokens[0] if tokens else None

    def _ends_sentence(self, token: int) -> bool:
        return "." in self.engine.model.tokenizer.decode([token])

    def _reasonings(self, prompt: Ids, appended: bool) -> list[Ids]:
        assert self.state is not None
        if not self.settings.reasoning_gradient:
            return [()] * self.state.active
        if appended and self.settings.placeholder == "proposal":
            # The appended slot has no word yet: the gradient is taken along the reasoning that
            # the prompt without it led to, which costs nothing.
            return self.state.incumbent.evaluation.reasonings
        (evaluation,) = self.evaluator.evaluate([prompt], self.state.active)
        return evaluation.reasonings

    def _chunks(self, state: State) -> list[Sequence[int]]:
        """The active samples in the order in which candidates are tried on them."""
        size = self.settings.sample_chunk
        if not size:
            return [range(state.active)]
        outcomes = state.incumbent.evaluation.outcomes
        order = hardest_first([o.mistake for o in outcomes], [o.loss for o in outcomes])
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _ceiling(self, state: State) -> float:
        """The objective above which a candidate changes nothing any more.

        It must be good enough neither to be taken, which only the rule ``improve`` settles before
        its objective is known, nor to be among the best prompts.
        """
        s = self.settings
        kept = [scored for scored in state.best if scored.samples == state.active]
        if s.accept != "improve" or s.period_rule != "off" or len(kept) < s.top_prompts:
            return math.inf
        worst = max(scored.evaluation.objective for scored in kept)
        return max(worst, state.incumbent.evaluation.objective)

    def _decide(
        self, state: State, candidates: Sequence[Candidate], position: int
    ) -> tuple[int | None, bool]:
        s = self.settings
        finished = [i for i, c in enumerate(candidates) if not c.scored.evaluation.capped]
        if not finished:
            return None, False
        objectives = [candidates[i].scored.evaluation.objective for i in finished]
        chosen = finished[choose(objectives, s.ties)]
        if s.period_rule == "published":
            at = until_period(
                [self._ends_sentence(c.token) for c in candidates], position, len(self.initial)
            )
            chosen = chosen if at is None else at
        challenger = candidates[chosen].scored
        delta = challenger.evaluation.objective - state.incumbent.evaluation.objective
        accepted = accepts(s.accept, delta, state.step, s.steps, state.rng)
        if accepted:
            state.incumbent = challenger
        return chosen, accepted

    def _advance(self, state: State, position: int, appended: bool, accepted: bool) -> None:
        # A rejected appended token leaves nothing to the right: start over at the front.
        state.position = 0 if appended and not accepted else position + 1

    def _follow_goals(self, state: State, found: Sequence[Scored]) -> tuple[str, ...]:
        """Remember what was found; add samples or start over when the goal is reached or no
        better prompt has turned up for long."""
        s = self.settings
        leader = state.best[0]
        self.remember(found)
        state.since_best = state.since_best + 1 if state.best[0] is leader else 0
        solved = state.incumbent.evaluation.objective < s.loss_threshold
        stuck = state.since_best >= s.early_stopping_steps
        total = len(self.samples)
        if state.active < total and (solved or stuck):
            state.active = min(state.active + s.progressive_group, total)
            with self._phase("reason"):
                (evaluation,) = self.evaluator.evaluate([state.incumbent.ids], state.active)
            state.incumbent = replace(state.incumbent, evaluation=evaluation)
            self.remember([state.incumbent])
            state.since_best, state.grown = 0, state.step
            return (f"samples: {state.active}",)
        if stuck or (solved and s.restart_when_solved):
            state.position = 0
            state.since_best = 0
            return ("started over",)
        return ()

    def remember(self, found: Sequence[Scored]) -> None:
        """Keep the best prompts, each once, with the evaluation that ranks highest."""
        assert self.state is not None
        kept: dict[Ids, Scored] = {}
        for scored in sorted([*self.state.best, *found], key=lambda scored: scored.rank):
            kept.setdefault(scored.ids, scored)
        self.state.best = list(kept.values())[: self.settings.top_prompts]

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - start
