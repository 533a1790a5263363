"""APO or ProTeGi (Pryzant et al., EMNLP 2023): criticise, edit, paraphrase, keep a beam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from prompt_optimization.optimizers.apo.settings import ApoSettings
from prompt_optimization.optimizers.base import Step, Tools
from prompt_optimization.optimizers.text.failures import described, failures
from prompt_optimization.optimizers.text.optimizer import Proposal, TextOptimizer
from prompt_optimization.optimizers.text.racing import RACES, ucb
from prompt_optimization.scoring.scorer import Scored, Scorer, Transcript

# Of criticisms and paraphrases.
TEMPERATURE = 0.7


@dataclass(frozen=True)
class Criticism:
    """Why a prompt may have got some questions wrong; these are in ``errors``, in words."""

    prompt: str
    errors: str
    reason: str


class Apo(TextOptimizer):
    """A step asks for criticisms of the prompts of the beam, for edits that follow them, and for
    paraphrases of these. The best of all become the next beam.

    Attributes:
        beam: the best prompts so far that can be expanded, best first.
    """

    settings: ApoSettings

    def __init__(self, settings: ApoSettings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.beam: list[str] = []

    def start(self, prompt: str) -> Scored:
        scored = super().start(prompt)
        self._choose_beam([scored])
        return scored

    def _step(self) -> Step | None:
        settings = self.settings
        if self.made_rounds == settings.rounds or not self.beam:
            return None
        wrong = self._wrong()
        edits = self._edit(self._criticise(wrong))
        paraphrases = self._paraphrase(edits, wrong)
        proposals = self._at_most(settings.expansion, [*edits, *paraphrases])
        kind = RACES[settings.race]
        scores = self.race(
            [*self.beam, *(proposal.text for proposal in proposals)],
            partial(kind, c=settings.exploration) if kind is ucb else kind,
            keep=settings.beam,
            budget=settings.race_rows,
        )
        self._choose_beam(scores)
        return self.made(proposals, scores, self.accept(scores), beam=list(self.beam))

    def _wrong(self) -> dict[str, list[Transcript]]:
        """What each prompt of the beam got wrong on questions that all of them share."""
        size, rows = self.settings.minibatch, range(len(self.scorer.examples))
        chosen = sorted(self.tools.rng.sample(rows, min(size, len(rows)))) if size else rows
        return {prompt: failures(self.scorer.transcripts(prompt, chosen)) for prompt in self.beam}

    def _criticise(self, wrong: dict[str, list[Transcript]]) -> list[Criticism]:
        """The first wave: why do these answers go wrong under the prompt?"""
        settings, rng = self.settings, self.tools.rng
        count = settings.reasons_each
        shown = []
        for prompt, errors in wrong.items():
            for _ in range(settings.reasons if errors else 0):
                chosen = sorted(rng.sample(range(len(errors)), min(settings.errors, len(errors))))
                shown.append((prompt, "\n\n".join(described(errors[i]) for i in chosen)))
        replies = self.write(
            [
                self.request(
                    self.metaprompts["reason"].fill(
                        prompt=prompt.strip(),
                        errors=errors,
                        reasons="one reason" if count == 1 else f"up to {count} reasons",
                    ),
                    temperature=TEMPERATURE,
                )
                for prompt, errors in shown
            ]
        )
        found = [
            Criticism(prompt, errors, reason)
            for (prompt, errors), (reason,) in zip(shown, replies, strict=True)
            if reason
        ]
        self.drop("empty", len(shown) - len(found))
        return found

    def _edit(self, criticisms: Sequence[Criticism]) -> list[Proposal]:
        """The second wave: a prompt that follows the criticism."""
        settings = self.settings
        words = f"at most {settings.max_words} words" if settings.max_words else "any length"
        return self.propose(
            [
                self.ask(
                    "edit",
                    (each.prompt,),
                    {
                        "prompt": each.prompt.strip(),
                        "errors": each.errors,
                        "reason": each.reason,
                        "length": words,
                    },
                    draws=settings.edits,
                    temperature=settings.edit_temperature,
                )
                for each in criticisms
            ]
        )

    def _paraphrase(
        self, edits: Sequence[Proposal], wrong: dict[str, list[Transcript]]
    ) -> list[Proposal]:
        """The third wave: other words for the edits, and for prompts with nothing to criticise."""
        settings = self.settings
        if not settings.paraphrases:
            return []
        beam = [prompt for prompt in self.beam if settings.paraphrase_beam or not wrong[prompt]]
        return self.propose(
            [
                self.ask(
                    "paraphrase",
                    (prompt,),
                    {"prompt": prompt.strip()},
                    draws=settings.paraphrases,
                    temperature=TEMPERATURE,
                )
                for prompt in [*(edit.text for edit in edits), *beam]
            ]
        )

    def _at_most(self, limit: int, proposals: Sequence[Proposal]) -> list[Proposal]:
        """At most ``limit`` of the proposals from the same prompt of the beam, by chance."""
        origins: dict[str, str] = {}
        for proposal in proposals:
            (parent,) = proposal.parents
            origins[proposal.text] = origins.get(parent, parent)
        kept = []
        for prompt in self.beam:
            own = [proposal for proposal in proposals if origins[proposal.text] == prompt]
            chosen = sorted(self.tools.rng.sample(range(len(own)), min(limit, len(own))))
            kept += [own[i] for i in chosen]
            self.drop("surplus", len(own) - len(chosen))
        return kept

    def _choose_beam(self, scores: Sequence[Scored]) -> None:
        """Without paraphrases a prompt that got nothing wrong leaves nothing to do."""
        everything = range(len(self.scorer.examples))
        ranked = [each.text for each in sorted(scores, key=lambda scored: scored.order)]
        if not self.settings.paraphrases:
            ranked = [
                text for text in ranked if failures(self.scorer.transcripts(text, everything))
            ]
        self.beam = ranked[: self.settings.beam]

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"beam": list(self.beam)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.beam = list(state["beam"])

    def carry_over(self, state: dict[str, Any]) -> None:
        """As ``TextOptimizer.carry_over``. The rounds begin anew."""
        super().carry_over(state)
        self._choose_beam([entry.scored for entry in self.leaderboard.entries])


OPTIMIZER = Apo
