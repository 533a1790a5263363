"""The search: propose, reason, differentiate, select; one token a step. (paper, algorithm 1)"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.models.layout import Ids
from prompt_optimization.optimizers.base import Entry, Optimizer, Step, Tools, Tried
from prompt_optimization.optimizers.greater.edits import Edit, Editor, token_edits
from prompt_optimization.optimizers.greater.incumbents import Incumbents
from prompt_optimization.optimizers.greater.noise import PairedNoise
from prompt_optimization.optimizers.greater.rows import RowsInUse, first_examples, first_models
from prompt_optimization.optimizers.greater.select import (
    accepts,
    choose,
    hardest_first,
    shortlist,
    until_period,
)
from prompt_optimization.optimizers.greater.settings import READ, SIGNALS, TOKEN, GreaterSettings
from prompt_optimization.optimizers.greater.signal import NOTHING, Place, Prediction, Signal
from prompt_optimization.optimizers.text.compete import compete
from prompt_optimization.optimizers.text.racing import phases
from prompt_optimization.scoring.scorer import Row, Scored, Scorer


@dataclass(frozen=True)
class Candidate:
    """A shortlisted edit, what signals said of it by name, and its prompt."""

    edit: Edit
    predicted: dict[str, float]
    scored: Scored


class GreaterSearch(Optimizer):
    """One prompt and one set of training examples, for one model or several together.

    Attributes:
        position: the token that the next step edits.
        rows: those in use.
        incumbents: those so far, where every step has rows of its own.
        since_best: steps since a better prompt, more rows or a new start.
        since_taken: steps since a candidate was accepted, or a restart.
        signal: what predicts the effects of edits.
        noise: of a difference of two prompts on the rows in use, for ``anneal_noise``.
    """

    differentiates = True

    settings: GreaterSettings

    def __init__(self, settings: GreaterSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.models = scorer.models
        self.tokenizer = scorer.models[0].tokenizer
        self.editor = Editor(settings, scorer, tools.rng)
        self.spelling = self.editor.spelling
        self.position = 0
        self.rows = RowsInUse(settings, scorer)
        self.signal = Signal(settings, scorer, self.rows, self.spelling, tools.rng)
        self.incumbents = Incumbents()
        self.since_best = 0
        self.since_taken = 0
        self.initial_length = 0
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
        return first_examples(settings, examples) * first_models(settings, models)

    def start(self, prompt: str) -> Scored:
        """Score the initial prompt on the examples in use."""
        ids = self.scorer.ids(prompt)
        self.initial_length = len(ids)
        if not self.spelling.free(ids):
            raise InputError(
                f"the words that have to stay leave no token of the initial prompt "
                f"'{prompt.strip()}' to edit; name fewer, or give it more words",
                key=("keep", "control_init"),
            )
        self.incumbents = Incumbents(prompt)
        return super().start(prompt)

    @property
    def owed(self) -> int:
        finalists = self.incumbents.finalists(self.leaderboard.size, self.incumbent)
        unknown = sum(not each.whole for each in finalists)
        return self.rows.fresh * unknown * len(self.scorer.rows())

    def conclude(self) -> bool:
        """Score the incumbents that stood longest on all rows, if each was scored on some."""
        if not self.rows.fresh:
            return False
        with self.scorer.activity.phase("rescore"):
            for each in self.incumbents.finalists(self.leaderboard.size, self.incumbent):
                if not each.whole:
                    (scored,) = self.scorer.score([each.text])
                    self.leaderboard.add([Entry(scored, each.found)])
                    self.incumbents.scored(each)
        return True

    def _step(self) -> Step:
        """Improve the token at the current position."""
        s = self.settings
        phase = self.scorer.activity.phase
        retested = self._retest() if self.rows.fresh else {}
        active, models = len(self.rows.examples), self.models[: self.rows.models]
        incumbent = self.scorer.ids(self.incumbent.text)
        position, appended = self._position(incumbent)
        before, after = incumbent[:position], incumbent[position + 1 :]

        def edited(token: int) -> Ids:
            return (*before, token, *after)

        # 1. Propose.
        with phase("propose"):
            taken = () if appended else (incumbent[position],)
            examples = self.rows.examples
            proposals = self.editor.tokens(models, examples, before, edited, taken)
            tokens = list(proposals.tokens)
            current = taken[0] if taken else self._placeholder(tokens, edited)
            if s.current_in_shortlist and current is not None and current not in tokens:
                tokens.append(current)
            edits = [] if current is None else token_edits(s.edits, tokens, edited)
            longest = self._longest
            edits += self.editor.others(models, examples, incumbent, position, tokens, longest)

        candidates: list[Candidate] = []
        predicted = NOTHING
        if edits:
            # 2. Reason. The incumbent's reasoning is known from the step that chose it.
            # 3. Differentiate.
            prompt = incumbent if current is None else edited(current)
            predicted = self._predicted(edits, Place(prompt, position, appended))

            # 4. Select.
            with phase("select"):
                best = self._shortlist(predicted, edits)
                candidates = [
                    Candidate(edit, predicted.of(edit), scored)
                    for edit, scored in self._tried(best, position)
                ]

        chosen, accepted = self._decide(candidates, position)
        # After a rejected appended token nothing is left to the right: start over at the front.
        added = candidates[chosen].edit.added if accepted and chosen is not None else 1
        self.position = 0 if appended and not accepted else position + added
        found = [c.scored for c in candidates if not c.scored.capped]
        events = self._follow_goals(found, accepted) + self._restart(accepted)
        return Step(
            tried=tuple(Tried(self._label(c.edit), c.scored) for c in candidates),
            incumbent=self.incumbent,
            accepted=accepted,
            events=events,
            details={
                "position": position,
                "appended": appended,
                "samples": active,
                "topk": proposals.topk,
                "proposals": [self._named(edit, predicted.of(edit)) for edit in edits],
                "capped": {
                    "candidates": sum(c.scored.capped for c in candidates),
                    "rows": sum(active - c.scored.rows for c in candidates),
                },
                "shortlist": [self._record(candidate) for candidate in candidates],
                "chosen": chosen,
                **predicted.details,
                **retested,
            },
        )

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "position": self.position,
            "rows": self.rows.state_dict(),
            "incumbents": self.incumbents.state_dict(),
            "since_best": self.since_best,
            "since_taken": self.since_taken,
            "noise": [self.noise.variances, self.noise.count],
            "draws": self.signal.draws.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.position, self.since_best = state["position"], state["since_best"]
        self.rows.load_state_dict(state.get("rows") or state)  # came with rows_per_step
        self.incumbents.load_state_dict(state.get("incumbents", ()))
        self.since_taken = state.get("since_taken", 0)  # came with restart_after
        self.initial_length = len(self.scorer.ids(self.initial.text))
        self.noise = PairedNoise(*state.get("noise", ()))  # came with anneal_noise
        self.signal.draws.load_state_dict(state.get("draws", ()))  # came with reuse_draws

    def carry_over(self, state: dict[str, Any]) -> None:
        super().carry_over(state)
        length = len(self.scorer.ids(self.incumbent.text))
        self.position = min(state.get("position", 0), length)

    def _retest(self) -> dict[str, Any]:
        """Draw the rows of this step, and score the incumbent on them as the candidates will be;
        what the log says of it."""
        self.rows.draw(self.tools.rng)
        with self.scorer.activity.phase("retest"):
            (scored,) = self.scorer.score([self.incumbent.text], self.rows.all)
        self.incumbent = Entry(scored, self.incumbent.step)
        self.incumbents.see(self.incumbent)
        return {"rows": list(self.rows.examples), "retested": scored.record()}

    def _restart(self, accepted: bool) -> tuple[str, ...]:
        """Go on from another prompt when no candidate was accepted for long."""
        s = self.settings
        self.since_taken = 0 if accepted else self.since_taken + 1
        if not s.restart_after or self.since_taken < s.restart_after:
            return ()
        if s.restart_from == "best":
            self.conclude()
        entry = self.initial if s.restart_from == "initial" else self.leaderboard.best
        if not self.rows.fresh:
            (scored,) = self.scorer.score([entry.text], self.rows.all)
            entry = Entry(scored, entry.step)
        self.incumbent, self.position, self.since_taken = entry, 0, 0
        return (f"restarted from the {s.restart_from} prompt",)

    def _rows(self) -> list[Row]:
        return self.rows.all

    @property
    def _longest(self) -> int:
        """Tokens that a prompt may have."""
        return max(self.tools.max_prompt_tokens, self.initial_length)

    def _position(self, ids: Ids) -> tuple[int, bool]:
        """The position to edit, past the words that have to stay. After the last token one is
        appended, unless the sentence has ended or the prompt is as long as it may be."""
        free = self.spelling.free(ids)
        for place in free:
            if place >= self.position:
                return place, False
        if self.spelling.ends_sentence(ids[-1]) or len(ids) >= self._longest:
            return next(iter(free), 0), False
        return len(ids), True

    def _placeholder(self, tokens: Sequence[int], edited: Callable[[int], Ids]) -> int | None:
        """What stands in an appended slot while the gradient is taken: the published code's
        underscore, or the likeliest proposal."""
        if self.settings.placeholder == "underscore":
            ids = self.tokenizer("_", add_special_tokens=False)["input_ids"]
            if len(ids) == 1 and self.spelling.roundtrip_text([edited(ids[0])])[0] is not None:
                return int(ids[0])
        return tokens[0] if tokens else None

    def _predicted(self, edits: Sequence[Edit], place: Place) -> Prediction:
        """What signals say of ``edits``."""
        return self.signal.predict(edits, place, self.incumbent.scored)

    @property
    def _rule(self) -> str:
        """Of the shortlist."""
        return self.settings.shortlist

    def _shortlist(self, predicted: Prediction, edits: Sequence[Edit]) -> list[Edit]:
        """The edits to try: the best ones by the rule, and those that it cannot rank."""
        rule, size, rng = self._rule, self.settings.shortlist_size, self.tools.rng
        if rule in READ:  # What was not read is left out.
            ranked = [edit for edit in edits if rule in predicted.of(edit)]
            others = []
        else:
            ranked = [edit for edit in edits if edit.kind == TOKEN]
            others = [edit for edit in edits if edit.kind != TOKEN]
        values = [predicted.of(edit)[rule] for edit in ranked] if rule in SIGNALS else None
        return [*shortlist(rule, values, ranked, size, rng), *others]

    def _tried(self, best: Sequence[Edit], position: int) -> list[tuple[Edit, Scored]]:
        """What ``best`` are worth. Where the rule could not rank all of them, a race does."""
        s = self.settings
        if s.period_rule == "published":
            ends = [self.spelling.ends_sentence(edit.words[0]) for edit in best]
            at = until_period(ends, position, self.initial_length)
            best = best if at is None else best[: at + 1]
        texts = self.spelling.texts([edit.ids for edit in best])
        if self._rule not in READ and any(edit.kind != TOKEN for edit in best):
            rows = self.rows.all
            self.tools.rng.shuffle(rows)
            of = dict(zip(texts, best, strict=True))
            scores = compete(
                self.scorer, [self.incumbent.text, *texts], rows, phases, keep=s.shortlist_size
            )
            return [(of[each.text], each) for each in scores if each.text in of]
        scores = self.scorer.score(
            texts, self._hardest_first(), ceiling=self._ceiling(), chunk=s.sample_chunk
        )
        return list(zip(best, scores, strict=True))

    def _hardest_first(self) -> list[Row]:
        """The rows in use, in the order in which candidates are tried on them."""
        rows = self.rows.all
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
        s, rows, bar = self.settings, len(self.rows.all), self.incumbent.scored.objective
        if s.accept != "improve" or s.period_rule != "off":
            return math.inf
        if self.rows.fresh:  # What is not accepted is not kept.
            return bar
        kept = [entry for entry in self.leaderboard.entries if entry.scored.rows == rows]
        if len(kept) < self.leaderboard.size:
            return math.inf
        return max(bar, *(entry.scored.objective for entry in kept))

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
                [self.spelling.ends_sentence(c.edit.words[0]) for c in candidates],
                position,
                self.initial_length,
            )
            chosen = chosen if at is None else at
        challenger, incumbent = candidates[chosen].scored, self.incumbent.scored
        if s.anneal_noise:
            found = [candidates[i].scored for i in finished]
            self.noise.measure(self.scorer, self.rows.all, incumbent, found)
        delta = challenger.objective - incumbent.objective or challenger.tie - incumbent.tie
        hottest = s.anneal_noise * self.noise.standard_error if s.anneal_noise else 1.0
        accepted = accepts(
            s.accept, delta, self.steps, self.tools.max_steps, self.tools.rng, hottest
        )
        if accepted:
            self.incumbent = Entry(challenger, self.steps)
        return chosen, accepted

    def _follow_goals(self, found: Sequence[Scored], accepted: bool) -> tuple[str, ...]:
        """Remember what was found. Add examples, then models, or start over, when the goal is
        reached or no better prompt has turned up for long."""
        s = self.settings
        leader = self.leaderboard.best
        if self.rows.fresh:  # Candidates of two steps cannot stand beside each other.
            better = accepted
            self.leaderboard.add([self.incumbent] * accepted)
            self.grown = self.steps if accepted else self.grown
        else:
            self.leaderboard.add([Entry(scored, self.steps) for scored in found])
            better = self.leaderboard.best is not leader
        self.since_best = 0 if better else self.since_best + 1
        solved = self.incumbent.scored.objective < s.loss_threshold
        stuck = self.since_best >= s.early_stopping_steps
        if not self.rows.complete and (solved or stuck):
            event = self.rows.grow()
            with self.scorer.activity.phase("reason"):
                (scored,) = self.scorer.score([self.incumbent.text], self.rows.all)
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

    def _label(self, edit: Edit) -> str:
        text = self.tokenizer.decode(list(edit.words))
        return text if edit.kind == TOKEN else f"{edit.kind}:{text}"

    def _named(self, edit: Edit, predicted: dict[str, float]) -> dict[str, Any]:
        kind = {"token": edit.words[0]} if edit.kind == TOKEN else {"edit": edit.kind}
        return kind | {"text": self.tokenizer.decode(list(edit.words))} | predicted

    def _record(self, candidate: Candidate) -> dict[str, Any]:
        """A candidate as the log holds it. One that was given up has no values by row, because
        only some rows were run."""
        scored = candidate.scored
        outcomes = () if scored.capped else scored.outcomes
        return {
            **self._named(candidate.edit, candidate.predicted),
            **scored.record(),
            "ids": list(self.scorer.ids(scored.text)),
            "found_at_step": self.steps,
            "capped": scored.capped,
            "losses": [outcome.loss for outcome in outcomes],
            "wrong": [int(outcome.mistake) for outcome in outcomes],
        }


OPTIMIZER = GreaterSearch
