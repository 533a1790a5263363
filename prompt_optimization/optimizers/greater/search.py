"""The search: propose, reason, differentiate, select; one token a step. (paper, algorithm 1)"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.executor import Future
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.model import Model
from prompt_optimization.models.sampling import Sampling
from prompt_optimization.optimizers.base import Entry, Optimizer, Step, Tools, Tried
from prompt_optimization.optimizers.greater.differentiate import (
    LossWeights,
    aggregate,
    gradients_of,
)
from prompt_optimization.optimizers.greater.draws import Draws
from prompt_optimization.optimizers.greater.noise import PairedNoise
from prompt_optimization.optimizers.greater.propose import Proposals, banned_ids, propose
from prompt_optimization.optimizers.greater.select import (
    accepts,
    choose,
    hardest_first,
    shortlist,
    until_period,
)
from prompt_optimization.optimizers.greater.settings import SIGNALS, GreaterSettings
from prompt_optimization.scoring.scorer import Row, Scored, Scorer
from prompt_optimization.tasks.texts import lacking_words

# What topk grows by while too few proposals come out. (code)
WIDENING = 2


@dataclass(frozen=True)
class Candidate:
    """A shortlisted token, what the signal said of it if one was asked for, and the prompt that it
    makes."""

    token: int
    signal: float | None
    scored: Scored


class GreaterSearch(Optimizer):
    """One prompt and one set of training examples, for one model or several together.

    Attributes:
        position: the token that the next step edits.
        active: training examples in use, and ``models`` that answer them.
        since_best: steps since a better prompt, more rows or a new start.
        draws: what was last drawn for the likelihood ratio.
        noise: of a difference of two prompts on the rows in use, for ``anneal_noise``.
    """

    differentiates = True

    settings: GreaterSettings

    def __init__(self, settings: GreaterSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.models = scorer.models
        self.tokenizer = scorer.models[0].tokenizer
        # Models of one tokenizer may fill up their embeddings differently.
        self.vocabulary = min(model.info.vocabulary for model in self.models)
        self.banned = banned_ids(
            self.tokenizer, self.vocabulary, allow_non_ascii=settings.allow_non_ascii
        )
        self.weights = LossWeights(
            settings.answer_weight,
            settings.nll_weight,
            settings.answer_temperature,
            scorer.decoding.answer_loss,
        )
        self.position = 0
        self.active = len(scorer.examples)
        if settings.progressive_goals:
            assert settings.progressive_group is not None
            self.active = min(settings.progressive_group, self.active)
        self.active_models = 1 if settings.progressive_models else len(self.models)
        self.since_best = 0
        self.initial_length = 0
        self.draws: Draws | None = None
        self.noise = PairedNoise()

    @classmethod
    def check_start(cls, prompt: str, ids: Ids) -> None:
        if len(ids) < 2:
            raise InputError(
                f"the initial prompt '{prompt.strip()}' is a single token; give at least two words",
                key="control_init",
            )

    @classmethod
    def first_round(cls, settings: GreaterSettings, examples: int, models: int) -> int:
        """Those of the initial prompt on what is in use at first."""
        if settings.progressive_goals:
            assert settings.progressive_group is not None
            examples = min(settings.progressive_group, examples)
        return examples * (1 if settings.progressive_models else models)

    def start(self, prompt: str) -> Scored:
        """Score the initial prompt on the examples in use."""
        ids = self.scorer.ids(prompt)
        self.initial_length = len(ids)
        if all(self._stays(ids, position) for position in range(len(ids))):
            raise InputError(
                f"the words that have to stay leave no token of the initial prompt "
                f"'{prompt.strip()}' to edit; name fewer, or give it more words",
                key=("keep", "control_init"),
            )
        return super().start(prompt)

    def _step(self) -> Step:
        """Improve the token at the current position."""
        s = self.settings
        phase = self.scorer.activity.phase
        active, models = self.active, self.models[: self.active_models]
        incumbent = self.scorer.ids(self.incumbent.text)
        position, appended = self._position(incumbent)
        before, after = incumbent[:position], incumbent[position + 1 :]

        def edited(token: int) -> Ids:
            return (*before, token, *after)

        # 1. Propose.
        with phase("propose"):
            taken = () if appended else (incumbent[position],)
            proposals = self._propose(models, position, before, edited, taken)
            tokens = list(proposals.tokens)
            current = taken[0] if taken else self._placeholder(tokens, edited)
            if s.current_in_shortlist and current is not None and current not in tokens:
                tokens.append(current)

        candidates: list[Candidate] = []
        known: dict[int, float] = {}
        if tokens and current is not None:
            prompt = edited(current)

            # 2. Reason. The incumbent's reasoning is known from the step that chose it.
            # 3. Differentiate.
            signal = self._signal(models, prompt, position, tokens, appended)
            if signal is not None:
                known = dict(zip(tokens, signal.tolist(), strict=True))

            # 4. Select.
            with phase("select"):
                best = self._shortlist(signal, tokens)
                if s.period_rule == "published":
                    at = until_period(
                        [self._ends_sentence(t) for t in best], position, self.initial_length
                    )
                    best = best if at is None else best[: at + 1]
                scores = self.scorer.score(
                    self._texts([edited(token) for token in best]),
                    self._hardest_first(),
                    ceiling=self._ceiling(),
                    chunk=s.sample_chunk,
                )
                candidates = [
                    Candidate(token, known.get(token), scored)
                    for token, scored in zip(best, scores, strict=True)
                ]

        chosen, accepted = self._decide(candidates, position)
        # After a rejected appended token nothing is left to the right: start over at the front.
        self.position = 0 if appended and not accepted else position + 1
        events = self._follow_goals([c.scored for c in candidates if not c.scored.capped])
        return Step(
            tried=tuple(Tried(self._text_of(c.token), c.scored) for c in candidates),
            incumbent=self.incumbent,
            accepted=accepted,
            events=events,
            details={
                "position": position,
                "appended": appended,
                "samples": active,
                "topk": proposals.topk,
                "proposals": [self._named(token, known.get(token)) for token in tokens],
                "capped": {
                    "candidates": sum(c.scored.capped for c in candidates),
                    "rows": sum(active - c.scored.rows for c in candidates),
                },
                "shortlist": [self._record(candidate) for candidate in candidates],
                "chosen": chosen,
            },
        )

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "position": self.position,
            "active": self.active,
            "models": self.active_models,
            "since_best": self.since_best,
            "noise": [self.noise.variances, self.noise.count],
            "draws": None if self.draws is None else [self.draws.text, self.draws.outcomes],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.position, self.active = state["position"], state["active"]
        self.active_models, self.since_best = state["models"], state["since_best"]
        self.initial_length = len(self.scorer.ids(self.initial.text))
        self.noise = PairedNoise(*state.get("noise", ()))  # came with anneal_noise
        draws = state.get("draws")  # came with shortlist=likelihood_ratio
        self.draws = None if draws is None else Draws(draws[0], tuple(map(tuple, draws[1])))

    def carry_over(self, state: dict[str, Any]) -> None:
        super().carry_over(state)
        length = len(self.scorer.ids(self.incumbent.text))
        self.position = min(state.get("position", 0), length)

    def _rows(self) -> list[Row]:
        """The rows in use."""
        return self.scorer.rows(range(self.active), self.active_models)

    def _complete(self) -> bool:
        """Whether all examples and models are in use."""
        return self.active == len(self.scorer.examples) and self.active_models == len(self.models)

    def _position(self, ids: Ids) -> tuple[int, bool]:
        """The position to edit, past the words that have to stay. After the last token one is
        appended, unless the sentence has ended or the prompt is as long as it may be."""
        free = [place for place in range(len(ids)) if not self._stays(ids, place)]
        for place in free:
            if place >= self.position:
                return place, False
        if self._ends_sentence(ids[-1]):
            return next(iter(free), 0), False
        if len(ids) >= max(self.tools.max_prompt_tokens, self.initial_length):
            return next(iter(free), 0), False
        return len(ids), True

    def _stays(self, ids: Ids, position: int) -> bool:
        """Whether the token belongs to words that have to stay: without it they are not there."""
        if not self.scorer.keep:
            return False
        rest = self.tokenizer.decode([*ids[:position], *ids[position + 1 :]])
        return lacking_words(rest, self.scorer.keep) is not None

    def _propose(
        self,
        models: Sequence[Model],
        position: int,
        before: Ids,
        edited: Callable[[int], Ids],
        taken: Ids,
    ) -> Proposals:
        s = self.settings
        banned = self.banned
        if position:  # No word twice in a row.
            banned = banned.clone()
            banned[before[-1]] = True
        return propose(
            [model.log_probs(before, self.active)[:, : self.vocabulary] for model in models],
            banned,
            self.tools.rng,
            topk=s.topk,
            topq=s.topq,
            group_size=s.group_size,
            minimum=s.min_proposals,
            widening=WIDENING,
            keep=lambda tokens: self._keep(tokens, edited, taken),
        )

    def _keep(self, tokens: Sequence[int], edited: Callable[[int], Ids], taken: Ids) -> list[int]:
        """The tokens whose prompt is a text that means exactly these ids, with the words that have
        to stay.

        The current token passes only where it may be shortlisted: its score is known, so trying it
        again would waste a place.
        """
        if not self.settings.current_in_shortlist:
            tokens = [token for token in tokens if token not in taken]
        texts = self._roundtrip_text([edited(token) for token in tokens])
        return [
            token
            for token, text in zip(tokens, texts, strict=True)
            if text is not None and not lacking_words(text, self.scorer.keep)
        ]

    def _roundtrip_text(self, prompts: Sequence[Ids]) -> list[str | None]:
        """The text that means each prompt's ids in every model's chat format, or None."""
        texts, *others = (model.training.roundtrip_text(prompts) for model in self.models)
        return [
            text if all(other[i] == text for other in others) else None
            for i, text in enumerate(texts)
        ]

    def _texts(self, prompts: Sequence[Ids]) -> list[str]:
        """The texts of prompts that have one."""
        found = self._roundtrip_text(prompts)
        assert all(text is not None for text in found)
        return [text for text in found if text is not None]

    def _placeholder(self, tokens: Sequence[int], edited: Callable[[int], Ids]) -> int | None:
        """What stands in an appended slot while the gradient is taken: the published code's
        underscore, or the likeliest proposal."""
        if self.settings.placeholder == "underscore":
            ids = self.tokenizer("_", add_special_tokens=False)["input_ids"]
            if len(ids) == 1 and self._roundtrip_text([edited(ids[0])])[0] is not None:
                return int(ids[0])
        return tokens[0] if tokens else None

    def _ends_sentence(self, token: int) -> bool:
        return "." in self.tokenizer.decode([token])

    def _signal(
        self,
        models: Sequence[Model],
        prompt: Ids,
        position: int,
        tokens: Sequence[int],
        appended: bool,
    ) -> torch.Tensor | None:
        """What predicts the effect of each of ``tokens`` in place of that of ``prompt``: [tokens],
        negative for a better prompt. None where none is asked for."""
        if self.settings.shortlist == "likelihood_ratio":
            edits = [(*prompt[:position], token, *prompt[position + 1 :]) for token in tokens]
            return self._likelihood_ratio(models, edits)
        return self._gradient(models, prompt, position, tokens, appended)

    def _likelihood_ratio(self, models: Sequence[Model], edits: Sequence[Ids]) -> torch.Tensor:
        """The first-order change of the loss by each of ``edits`` through the incumbent's
        reasonings: [edits]."""
        s, phase = self.settings, self.scorer.activity.phase
        with phase("reason"):
            draws = self._drawn()
        with phase("screen"):
            return draws.changes(self.scorer, models, edits, s.draw_temperature, s.ratio_clip)

    def _drawn(self) -> Draws:
        """Reasonings of the incumbent on the rows in use, drawn once for each incumbent."""
        s, rows, text = self.settings, self._rows(), self.incumbent.text
        if self.draws is None or not self.draws.serve(text, len(rows)):
            sampling = Sampling(s.draw_temperature, seed=self.tools.rng.getrandbits(31))
            drawn = self.scorer.draw_reasonings(text, rows, sampling, s.draws)
            self.draws = Draws(text, tuple(drawn))
        return self.draws

    def _gradient(
        self,
        models: Sequence[Model],
        prompt: Ids,
        position: int,
        tokens: Sequence[int],
        appended: bool,
    ) -> torch.Tensor:
        """The normalised gradient over ``tokens``, summed over models: [tokens]."""
        with self.scorer.activity.phase("reason"):
            reasonings = self._reasonings(prompt, appended)
        with self.scorer.activity.phase("differentiate"):
            submitted = [
                self._submit_gradient(
                    model, prompt, position, tokens, reasonings[number * self.active :]
                )
                for number, model in enumerate(models)
            ]
            return torch.stack([future.result() for future in submitted]).sum(0)

    def _shortlist(self, signal: torch.Tensor | None, tokens: Sequence[int]) -> list[int]:
        """The tokens to try."""
        s = self.settings
        return shortlist(s.shortlist, signal, tokens, s.shortlist_size, self.tools.rng)

    def _submit_gradient(
        self,
        model: Model,
        prompt: Ids,
        position: int,
        tokens: Sequence[int],
        reasonings: Sequence[Ids],
    ) -> Future[torch.Tensor]:
        """Have a model take its gradient over ``tokens``, summed over examples with their weights,
        and normalised."""
        rows = list(zip(range(self.active), reasonings, strict=False))
        costs = [len(reasoning) + len(prompt) - position for _, reasoning in rows]
        arguments = (prompt, position, tokens, self.weights)
        gradients = model.submit_each(gradients_of, rows, costs, arguments, pieces=4)
        weights = torch.tensor([each.weight for each in self.scorer.examples[: self.active]])
        return gradients.then(
            lambda found: aggregate(weights[:, None] * torch.from_numpy(np.stack(found)))
        )

    def _reasonings(self, prompt: Ids, appended: bool) -> list[Ids]:
        """The reasonings to differentiate through, one a row in use."""
        if not self.settings.reasoning_gradient:
            return [()] * (self.active * self.active_models)
        if appended and self.settings.placeholder == "proposal":
            # The appended slot has no word yet: the gradient is taken along the reasoning that
            # the prompt without it led to, which costs nothing.
            return self.incumbent.scored.reasonings
        (scored,) = self.scorer.score(self._texts([prompt]), self._rows())
        return scored.reasonings

    def _hardest_first(self) -> list[Row]:
        """The rows in use, in the order in which candidates are tried on them."""
        rows = self._rows()
        if not self.settings.sample_chunk:
            return rows
        outcomes = self.incumbent.scored.outcomes
        order = hardest_first([o.mistake for o in outcomes], [o.loss for o in outcomes])
        return [rows[i] for i in order]

    def _ceiling(self) -> float:
        """Candidates above this objective can be dropped early: they would be neither accepted nor
        kept among the best. Infinite where the objective alone does not decide acceptance (any
        rule but ``improve``, or the period rule), or while fewer than ``top_prompts`` are known.
        """
        s, rows = self.settings, self.active * self.active_models
        kept = [entry for entry in self.leaderboard.entries if entry.scored.rows == rows]
        if s.accept != "improve" or s.period_rule != "off" or len(kept) < self.leaderboard.size:
            return math.inf
        worst = max(entry.scored.objective for entry in kept)
        return max(worst, self.incumbent.scored.objective)

    def _decide(self, candidates: Sequence[Candidate], position: int) -> tuple[int | None, bool]:
        """Which candidate is the best one, if any was scored whole, and whether it is accepted."""
        s = self.settings
        finished = [i for i, c in enumerate(candidates) if not c.scored.capped]
        if not finished:
            return None, False
        assert s.ties is not None and s.accept is not None
        chosen = finished[choose([candidates[i].scored.order for i in finished], s.ties)]
        if s.period_rule == "published":
            at = until_period(
                [self._ends_sentence(c.token) for c in candidates], position, self.initial_length
            )
            chosen = chosen if at is None else at
        challenger, incumbent = candidates[chosen].scored, self.incumbent.scored
        if s.anneal_noise:
            self._measure_noise([candidates[i].scored for i in finished])
        delta = challenger.objective - incumbent.objective or challenger.tie - incumbent.tie
        hottest = s.anneal_noise * self.noise.standard_error if s.anneal_noise else 1.0
        accepted = accepts(
            s.accept, delta, self.steps, self.tools.max_steps, self.tools.rng, hottest
        )
        if accepted:
            self.incumbent = Entry(challenger, self.steps)
        return chosen, accepted

    def _measure_noise(self, found: Sequence[Scored]) -> None:
        """Learn from how prompts in ``found`` differ from the incumbent, row by row."""
        rows = self._rows()
        weights = self.scorer.weights(rows)
        before = self.scorer.parts(self.incumbent.scored, rows)
        for scored in found:
            parts = self.scorer.parts(scored, rows)
            self.noise.add([now - then for now, then in zip(parts, before, strict=True)], weights)

    def _follow_goals(self, found: Sequence[Scored]) -> tuple[str, ...]:
        """Remember what was found. Add examples, then models, or start over, when the goal is
        reached or no better prompt has turned up for long."""
        s = self.settings
        leader = self.leaderboard.best
        self.leaderboard.add([Entry(scored, self.steps) for scored in found])
        self.since_best = self.since_best + 1 if self.leaderboard.best is leader else 0
        solved = self.incumbent.scored.objective < s.loss_threshold
        stuck = self.since_best >= s.early_stopping_steps
        if not self._complete() and (solved or stuck):
            event = self._grow()
            with self.scorer.activity.phase("reason"):
                (scored,) = self.scorer.score([self.incumbent.text], self._rows())
            self.incumbent = Entry(scored, self.incumbent.step)
            self.leaderboard.add([self.incumbent])
            self.since_best, self.grown = 0, self.steps
            self.noise = PairedNoise()
            return (event,)
        if stuck or (solved and s.restart_when_solved):
            self.position = 0
            self.since_best = 0
            return ("started over",)
        return ()

    def _grow(self) -> str:
        """Use more examples or, once all are in use, another model."""
        if self.active < len(self.scorer.examples):
            assert self.settings.progressive_group is not None
            more = self.active + self.settings.progressive_group
            self.active = min(more, len(self.scorer.examples))
            return f"samples: {self.active}"
        self.active_models += 1
        return f"models: {self.active_models}"

    def _text_of(self, token: int) -> str:
        text: str = self.tokenizer.decode([token])
        return text

    def _named(self, token: int, signal: float | None) -> dict[str, Any]:
        named = {"token": token, "text": self._text_of(token)}
        if signal is None:
            return named
        rule = self.settings.shortlist
        # Rules that ask for no signal are compared with the gradient, which is taken for the log.
        return named | {rule if rule in SIGNALS else "gradient": signal}

    def _record(self, candidate: Candidate) -> dict[str, Any]:
        """A candidate as the log holds it. One that was given up has no values by row, because
        only some rows were run."""
        scored = candidate.scored
        outcomes = () if scored.capped else scored.outcomes
        return {
            **self._named(candidate.token, candidate.signal),
            **scored.record(),
            "ids": list(self.scorer.ids(scored.text)),
            "found_at_step": self.steps,
            "capped": scored.capped,
            "losses": [outcome.loss for outcome in outcomes],
            "wrong": [int(outcome.mistake) for outcome in outcomes],
        }


OPTIMIZER = GreaterSearch
