"""The search: propose, reason, differentiate, select; one token a step. (paper, algorithm 1)"""

from __future__ import annotations

import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from prompt_optimization.models.layout import Ids
from prompt_optimization.models.team import Team
from prompt_optimization.optimizers.greater.differentiate import aggregate, gradients_of
from prompt_optimization.optimizers.greater.evaluator import Evaluator
from prompt_optimization.optimizers.greater.propose import banned_ids, propose
from prompt_optimization.optimizers.greater.select import (
    accepts,
    choose,
    hardest_first,
    shortlist,
    until_period,
)
from prompt_optimization.optimizers.greater.settings import SearchSettings
from prompt_optimization.optimizers.greater.state import Candidate, Scored, State, Step
from prompt_optimization.optimizers.stoppers import Progress, Stopper, first_reason, max_steps


class GreaterSearch:
    """One prompt and one set of training samples, for one model or several together."""

    def __init__(
        self,
        teams: Sequence[Team],
        prompt: str,
        settings: SearchSettings,
        stoppers: Sequence[Stopper] = (),
    ) -> None:
        """
        Args:
            teams: the models; all have the same tokenizer and training samples.
            prompt: the initial prompt's text, in ``Layout.normalise``'s form.
            stoppers: what else ends the search, besides ``settings.steps``.
        """
        self.teams = teams
        self.tokenizer = teams[0].tokenizer
        self.samples = teams[0].training
        self.settings = settings
        self.initial = self.samples.prompt_ids(prompt)
        self.evaluator = Evaluator(
            teams,
            settings.decoding,
            objective=settings.objective,
            nll_weight=settings.objective_nll_weight,
        )
        # Models of one tokenizer may fill up their embeddings differently.
        self.vocabulary = min(team.facts.vocabulary for team in teams)
        self.banned = banned_ids(
            self.tokenizer, self.vocabulary, allow_non_ascii=settings.allow_non_ascii
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
        models = 1 if s.progressive_models else len(self.teams)
        places = self.evaluator.places(models, active)
        (evaluation,) = self.evaluator.evaluate([self.initial], places)
        scored = Scored(self._text, self.initial, evaluation, step=-1)
        self.state = State(scored, 0, active, models, random.Random(s.seed), initial=scored)
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
        everyone = self._complete(state)
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
        tokens_before = self.counts
        busy_before = self._busy()
        computed_before = self.evaluator.computed
        active, teams = state.active, self.teams[: state.models]
        position, appended = self._position(state)
        before = state.incumbent.ids[:position]
        after = state.incumbent.ids[position + 1 :]

        def edited(token: int) -> Ids:
            return (*before, token, *after)

        # 1. Propose.
        with self._phase("propose"):
            log_probs = [team.log_probs(before, active)[:, : self.vocabulary] for team in teams]
            taken = () if appended else (state.incumbent.ids[position],)
            proposals = propose(
                log_probs,
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
                begun = [
                    self._begin_gradient(
                        team, prompt, position, tokens, reasonings[model * active :]
                    )
                    for model, team in enumerate(teams)
                ]
                gradient = torch.stack([collect() for collect in begun]).sum(0)
                gradients = gradient.tolist()

            # 4. Select.
            with self._phase("select"):
                best = shortlist(s.shortlist, gradient, tokens, s.shortlist_size, state.rng)
                if s.period_rule == "published":
                    at = until_period(
                        [self._ends_sentence(t) for t in best], position, len(self.initial)
                    )
                    best = best if at is None else best[: at + 1]
                texts = self._spell([edited(token) for token in best])
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
            busy=tuple(now - then for now, then in zip(self._busy(), busy_before, strict=True)),
            tokens=dict(self.counts - tokens_before),
        )
        state.step += 1
        state.seconds += sum(step.seconds.values())
        state.decoded += step.tokens.get("decoded", 0)
        state.evaluations += self.evaluator.computed - computed_before
        return step

    @property
    def counts(self) -> Counter[str]:
        """Tokens so far, by kind, of all models together."""
        return sum((team.counts for team in self.teams), Counter())

    def _busy(self) -> list[float]:
        return [seconds for team in self.teams for seconds in team.crew.busy]

    def _complete(self, state: State) -> bool:
        """Whether all samples and models are in use."""
        return state.active == len(self.samples) and state.models == len(self.teams)

    def _begin_gradient(
        self,
        team: Team,
        prompt: Ids,
        position: int,
        tokens: Sequence[int],
        reasonings: Sequence[Ids],
    ) -> Callable[[], torch.Tensor]:
        """Have a model take its gradient over ``tokens``, summed over samples and normalised."""
        assert self.state is not None
        samples = list(zip(range(self.state.active), reasonings, strict=False))
        costs = [len(reasoning) + len(prompt) - position for _, reasoning in samples]
        arguments = (prompt, position, tokens, self.settings.gradient)
        rows = team.begin_each(gradients_of, samples, costs, arguments, pieces=4)
        return lambda: aggregate(torch.from_numpy(np.stack(rows())))

    def _position(self, state: State) -> tuple[int, bool]:
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
        texts = self._spell([edited(token) for token in tokens])
        return [token for token, text in zip(tokens, texts, strict=True) if text is not None]

    def _spell(self, prompts: Sequence[Ids]) -> list[str | None]:
        """The text that means each prompt's ids in every model's chat format, or None."""
        texts, *others = (team.training.spell(prompts) for team in self.teams)
        return [
            text if all(other[i] == text for other in others) else None
            for i, text in enumerate(texts)
        ]

    def _placeholder(self, tokens: Sequence[int], edited: Callable[[int], Ids]) -> int | None:
        """What stands in an appended slot while the gradient is taken: the published code's
        underscore, or the likeliest proposal."""
        if self.settings.placeholder == "underscore":
            ids = self.tokenizer("_", add_special_tokens=False)["input_ids"]
            if len(ids) == 1 and self._spell([edited(ids[0])])[0] is not None:
                return int(ids[0])
        return tokens[0] if tokens else None

    def _ends_sentence(self, token: int) -> bool:
        return "." in self.tokenizer.decode([token])

    def _reasonings(self, prompt: Ids, appended: bool) -> list[Ids]:
        assert self.state is not None
        if not self.settings.reasoning_gradient:
            return [()] * (self.state.active * self.state.models)
        if appended and self.settings.placeholder == "proposal":
            # The appended slot has no word yet: the gradient is taken along the reasoning that
            # the prompt without it led to, which costs nothing.
            return self.state.incumbent.evaluation.reasonings
        (evaluation,) = self.evaluator.evaluate([prompt], self._places(self.state))
        return evaluation.reasonings

    def _places(self, state: State) -> list[int]:
        return self.evaluator.places(state.models, state.active)

    def _chunks(self, state: State) -> list[list[int]]:
        """The active places in the order in which candidates are tried on them."""
        size, places = self.settings.sample_chunk, self._places(state)
        if not size:
            return [places]
        outcomes = state.incumbent.evaluation.outcomes
        hardest = hardest_first([o.mistake for o in outcomes], [o.loss for o in outcomes])
        order = [places[i] for i in hardest]
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _ceiling(self, state: State) -> float:
        """The objective above which a candidate changes nothing any more.

        It must be good enough neither to be taken, which only the rule ``improve`` settles before
        its objective is known, nor to be among the best prompts.
        """
        s = self.settings
        places = state.active * state.models
        kept = [scored for scored in state.best if scored.samples == places]
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
        """Remember what was found; add samples, then models, or start over when the goal is
        reached or no better prompt has turned up for long."""
        s = self.settings
        leader = state.best[0]
        self.remember(found)
        state.since_best = state.since_best + 1 if state.best[0] is leader else 0
        solved = state.incumbent.evaluation.objective < s.loss_threshold
        stuck = state.since_best >= s.early_stopping_steps
        if not self._complete(state) and (solved or stuck):
            if state.active < len(self.samples):
                state.active = min(state.active + s.progressive_group, len(self.samples))
                event = f"samples: {state.active}"
            else:
                state.models += 1
                event = f"models: {state.models}"
            with self._phase("reason"):
                (evaluation,) = self.evaluator.evaluate([state.incumbent.ids], self._places(state))
            state.incumbent = replace(state.incumbent, evaluation=evaluation)
            self.remember([state.incumbent])
            state.since_best, state.grown = 0, state.step
            return (event,)
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
