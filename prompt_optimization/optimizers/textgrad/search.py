"""TextGrad (Yuksekgonul et al., 2024): feedback flows from answers to the prompt, which follows
it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prompt_optimization.optimizers.base import Entry, Step, Tools
from prompt_optimization.optimizers.text.failures import described, verdict
from prompt_optimization.optimizers.text.optimizer import Proposal, TextOptimizer
from prompt_optimization.optimizers.textgrad.settings import TextGradSettings
from prompt_optimization.scoring.scorer import Scored, Scorer, Transcript

# Of every reply, in tokens.
LONGEST = 2000


class TextGrad(TextOptimizer):
    """A step takes the next batch of questions, asks for feedback on the incumbent's answers, for
    what it means for the prompt, and for an updated prompt.

    Attributes:
        order: examples, in the order of this epoch.
        position: where in it the next batch begins.
        past: feedback of earlier steps, the latest last.
    """

    settings: TextGradSettings

    def __init__(self, settings: TextGradSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.order = list(range(len(scorer.examples)))
        self.position = 0
        self.past: list[str] = []

    def start(self, prompt: str) -> Scored:
        self.tools.rng.shuffle(self.order)
        return super().start(prompt)

    def _step(self) -> Step | None:
        if self.made_rounds == self.settings.steps:
            return None
        batch = self._next_batch()
        if not batch:
            return None
        on_answers = self._answer_feedback(batch)
        on_prompt = self._prompt_feedback(on_answers)
        proposals = self._update(on_prompt)
        scores = self.score([proposal.text for proposal in proposals])
        return self.made(proposals, scores, self._accept(scores), feedback_on=len(batch))

    def _next_batch(self) -> list[Transcript]:
        """Those answers of the next batch that get feedback; batches without any are skipped.
        Nothing where no batch has any."""
        answers = self.scorer.transcripts(self.incumbent.text, range(len(self.order)))
        able = [self.settings.feedback_on == "all" or not answer.right for answer in answers]
        found: list[Transcript] = []
        while any(able) and not found:
            found = [answers[i] for i in self._draw() if able[i]]
        return found

    def _draw(self) -> list[int]:
        """The next examples of the epoch, or the first ones of a new one."""
        size, epoch = self.settings.batch, self.settings.epoch
        end = min(epoch * size, len(self.order)) if epoch else len(self.order)
        if self.position >= end:
            self.position = 0
            if epoch:
                self.tools.rng.shuffle(self.order)
        first, self.position = self.position, min(self.position + size, end)
        return self.order[first : self.position]

    def _answer_feedback(self, batch: Sequence[Transcript]) -> list[tuple[Transcript, str]]:
        """The first wave: what is wrong with each answer? With one hop only whether it is wrong."""
        if self.settings.hops == 1:
            return [(each, verdict(each)) for each in batch]
        fill = self.metaprompts["answer_feedback"].fill
        users = [fill(example=described(each), verdict=verdict(each)) for each in batch]
        return self._replies(users, batch)

    def _prompt_feedback(
        self, answers: Sequence[tuple[Transcript, str]]
    ) -> list[tuple[Transcript, str]]:
        """The second wave: what does that mean for the prompt?"""
        prompt, fill = self.incumbent.text.strip(), self.metaprompts["prompt_feedback"].fill
        users = [
            fill(prompt=prompt, example=described(answer), feedback=feedback)
            for answer, feedback in answers
        ]
        return self._replies(users, [answer for answer, _ in answers])

    def _replies(
        self, users: Sequence[str], about: Sequence[Transcript]
    ) -> list[tuple[Transcript, str]]:
        """A wave of feedback, each with what it is about; feedback that says nothing is
        dropped."""
        requests = [self.request(user, temperature=0.0, max_tokens=LONGEST) for user in users]
        replies = [reply for (reply,) in self.write(requests)]
        found = [(each, reply) for each, reply in zip(about, replies, strict=True) if reply]
        self.drop("empty", len(replies) - len(found))
        return found

    def _update(self, feedback: Sequence[tuple[Transcript, str]]) -> list[Proposal]:
        """The third wave: one prompt that follows all of the feedback."""
        if not feedback:
            return []
        shown = [f"{described(answer)}\nFeedback: {text}" for answer, text in feedback]
        memory = "".join(f"\n\nFeedback in an earlier step:\n{text}" for text in self.past)
        if self.settings.memory:
            latest = "\n".join(text for _, text in feedback)
            self.past = [*self.past, latest][-self.settings.memory :]
        prompt = self.incumbent.text
        slots = {"prompt": prompt.strip(), "feedback": "\n\n".join(shown), "memory": memory}
        ask = self.ask("update", (prompt,), slots, temperature=0.0, max_tokens=LONGEST)
        return self.propose([ask])

    def _accept(self, scores: Sequence[Scored]) -> bool:
        """Let the updated prompt be the incumbent if it is better, or as good where that is
        enough."""
        if self.settings.accept == "better":
            return self.accept(scores)
        accepted = [
            scored for scored in scores if scored.objective <= self.incumbent.scored.objective
        ]
        for scored in accepted:  # one at most
            self.incumbent = Entry(scored, self.steps)
        return bool(accepted)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "order": list(self.order),
            "position": self.position,
            "past": list(self.past),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.order, self.position = list(state["order"]), state["position"]
        self.past = list(state["past"])

    def carry_over(self, state: dict[str, Any]) -> None:
        """As ``TextOptimizer.carry_over``. The steps and the epoch begin anew."""
        super().carry_over(state)
        self.past = list(state.get("past", []))


OPTIMIZER = TextGrad
