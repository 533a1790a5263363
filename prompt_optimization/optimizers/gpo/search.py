"""GPO (Tang et al., AAAI 2025): prompts refined as a gradient-based optimizer refines weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from prompt_optimization.optimizers.base import Entry, Step, Tools
from prompt_optimization.optimizers.gpo.metaprompts import HEADINGS, LIMITS, PROBLEMS
from prompt_optimization.optimizers.gpo.retrieve import by_importance, by_recency, by_relevance
from prompt_optimization.optimizers.gpo.schedule import batches, edit_limit, edits
from prompt_optimization.optimizers.gpo.settings import GpoSettings
from prompt_optimization.optimizers.text.failures import described, failures
from prompt_optimization.optimizers.text.optimizer import Ask, Fix, TextOptimizer
from prompt_optimization.optimizers.text.parse import UNREADABLE
from prompt_optimization.optimizers.text.trajectory import Attempt, Trajectory
from prompt_optimization.scoring.scorer import Scored, Scorer

# A score without a mistake, as the writer is shown it.
SCALE = 100


class Gpo(TextOptimizer):
    """A step shows the writer the current prompt, a direction in which to change it, and how far
    to go.

    Attributes:
        batches: of an epoch, each the numbers of a step's questions.
        length: steps of a search.
        trajectory: the initial prompt and the best new one of each step.
        feedback: what was said of the current prompt of each step.
        merged: what a merging momentum has made of all attempts up to a step.
        examples: numbers of the questions that the writer is shown.
        limit: words that the step may change; None for any number.
    """

    settings: GpoSettings
    fixes = TextOptimizer.fixes | {
        "far": Fix("let more words change", ("gpo.enforce", "gpo.initial_step_size")),
    }

    def __init__(self, settings: GpoSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.batches = batches(len(scorer.examples), settings.batch_size)
        self.length = settings.length(len(scorer.examples))
        self.trajectory, self.feedback = Trajectory(), Trajectory()
        self.merged: Attempt | None = None
        self.examples: list[int] = []
        self.limit: int | None = None
        self.repeated = (*UNREADABLE, "far") if settings.enforce == "retry" else UNREADABLE

    @classmethod
    def first_round(cls, settings: GpoSettings, examples: int, models: int) -> int:
        """As ``TextOptimizer.first_round``; of the initial prompt alone where no step is made."""
        if settings.only_evaluate:
            return examples * models
        return super().first_round(settings, examples, models)

    def start(self, prompt: str) -> Scored:
        scored = super().start(prompt)
        self._remember(Entry(scored, -1))
        rows = range(len(self.scorer.examples))
        self.examples = self.tools.rng.sample(rows, min(self.settings.examples, len(rows)))
        return scored

    def _step(self) -> Step | None:
        if self.made_rounds == self.length:
            return None
        settings, current = self.settings, self.incumbent.text
        # 1. Direction: what is wrong with the current prompt, and what earlier steps have found.
        feedback = self._criticise(current) if settings.gradient == "feedback" else ""
        earlier = self._earlier(current) if settings.momentum != "none" else []
        # 2. Refinement, within the edit limit.
        self.limit = self._edit_limit()
        proposals = self.propose([self._refine(current, feedback, earlier)])
        # 3. Selection: on all training questions.
        scores = self.score([proposal.text for proposal in proposals])
        accepted = self._select(scores)
        return self.made(
            proposals,
            scores,
            accepted,
            feedback=feedback,
            momentum=earlier,
            limit=self.limit,
            edits=[edits(current, proposal.text) for proposal in proposals],
        )

    def problem(self, text: str) -> str | None:
        """As ``TextOptimizer.problem``; under an enforced limit also what differs too much."""
        limit = None if self.settings.enforce == "advise" else self.limit
        if limit is not None and edits(self.incumbent.text, text) > limit:
            return "far"
        return super().problem(text)

    def _criticise(self, current: str) -> str:
        """What the writer says of the questions of the batch that the current prompt gets wrong;
        empty where there are none."""
        batch = self.batches[self.made_rounds % len(self.batches)]
        wrong = failures(self.scorer.transcripts(current, batch))
        if not wrong:
            return ""
        user = self.metaprompts["feedback"].fill(
            prompt=current.strip(), errors="\n\n".join(map(described, wrong))
        )
        ((said,),) = self.write([self.request(user, temperature=0.0)])
        if said:
            self.feedback.add([Attempt(said, 0.0, self.steps)])  # What is said has no score.
        return said

    def _earlier(self, current: str) -> list[str]:
        """What is shown of the trajectory, or of the feedback so far, in the order in which it is
        shown."""
        settings = self.settings
        prompts = settings.momentum == "prompts"
        history = self.trajectory if prompts else self.feedback
        if not history.attempts:
            return []
        if settings.momentum_update == "merge":
            return [self._merge(history.attempts[-1])]
        chosen = self._retrieve(history, current if prompts else history.attempts[-1].text)
        if settings.order == "ascending":
            chosen.reverse()
        return [each.shown(SCALE) if prompts else each.text for each in chosen]

    def _merge(self, newest: Attempt) -> str:
        """Everything up to the newest attempt as one text."""
        if self.merged is None:
            self.merged = newest
        elif newest.step > self.merged.step:
            user = self.metaprompts["merge"].fill(
                old=self.merged.text.strip(), new=newest.text.strip()
            )
            ((text,),) = self.write([self.request(user, temperature=0.0)])
            self.merged = replace(newest, text=text or self.merged.text)
        return self.merged.text.strip()

    def _retrieve(self, history: Trajectory, current: str) -> list[Attempt]:
        """The selected attempts, best first."""
        count = self.settings.momentum_count
        if self.settings.momentum_selection == "recency":
            return by_recency(history, count)
        if self.settings.momentum_selection == "importance":
            return by_importance(history, count)
        assert self.tools.embedder is not None, "relevance needs an embedder"
        return by_relevance(history.attempts, current, count, self.tools.embedder)

    def _edit_limit(self) -> int | None:
        own = self.settings
        if not own.limited:
            return None
        return edit_limit(
            self.made_rounds + 1,
            self.length,
            own.decay,
            own.initial_step_size,
            own.final_step_size,
            own.warmup_steps if own.warmup else 0,
        )

    def _refine(self, current: str, feedback: str, earlier: Sequence[str]) -> Ask:
        """The request for new prompts."""
        settings = self.settings
        operator = settings.refine.removesuffix("_without")
        parts = []
        if earlier:
            parts += [HEADINGS[settings.momentum, settings.momentum_update], *earlier]
        if feedback and settings.momentum != "feedback":
            parts += [PROBLEMS, feedback]
        slots = {
            "prompt": current.strip(),
            "direction": "".join(f"{part}\n\n" for part in parts),
            "examples": self.exemplars(self.examples),
            "limit": LIMITS[operator].format(self.limit) if self.limit else "",
        }
        return self.ask(operator, (current,), slots, draws=settings.proposals)

    def _select(self, scores: Sequence[Scored]) -> bool:
        """Go on from the best new prompt, or only if it is better than the current one; whether
        the search does."""
        best = min(scores, key=lambda scored: scored.order, default=None)
        if best is None:
            return False
        self._remember(Entry(best, self.steps))
        if self.settings.select == "elitist":
            return self.accept(scores)
        self.incumbent = Entry(best, self.steps)
        return True

    def _remember(self, entry: Entry) -> None:
        self.trajectory.add([Attempt(entry.text, self.goodness(entry.scored), entry.step)])

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "trajectory": self.trajectory.state_dict(),
            "feedback": self.feedback.state_dict(),
            "merged": self.merged and asdict(self.merged),
            "examples": list(self.examples),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.trajectory.load_state_dict(state["trajectory"])
        self.feedback.load_state_dict(state["feedback"])
        self.merged = state["merged"] and Attempt(**state["merged"])
        self.examples = list(state["examples"])

    def carry_over(self, state: dict[str, Any]) -> None:
        """As ``TextOptimizer.carry_over``. The steps begin anew."""
        super().carry_over(state)
        found = [self.incumbent, *self.leaderboard.entries]
        for entry in sorted(found, key=lambda entry: entry.step):
            self._remember(entry)


OPTIMIZER = Gpo
