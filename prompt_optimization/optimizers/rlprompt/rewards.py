"""What a policy is rewarded with: numbers of scored prompts, row by row."""

from __future__ import annotations

from collections.abc import Sequence

from prompt_optimization.scoring.scorer import Row, Scored, Scorer

KINDS = ("gap", "hit", "hit_minus_loss")


class Reward:
    """The reward of a scored prompt on each row; larger is better."""

    def __init__(
        self, scorer: Scorer, kind: str, *, correct: float = 1.0, incorrect: float = 1.0
    ) -> None:
        """
        Args:
            kind: ``gap``: the probability of the right answer less that of the likeliest wrong
                one, times ``correct`` where it is positive and ``incorrect`` where it is negative;
                ``hit``: what the written answer is worth, or where the objective forces answers 1
                for one that is no mistake; ``hit_minus_loss``: that, less the loss of the right
                answer in nats.
        """
        assert kind in KINDS, kind
        self.scorer, self.kind = scorer, kind
        self.correct, self.incorrect = correct, incorrect

    def __call__(self, scored: Scored, rows: Sequence[Row]) -> list[float]:
        """
        Args:
            rows: those that ``scored`` was run on, in its order.
        """
        if self.kind == "gap":
            return [self._shaped(outcome.margin) for outcome in scored.outcomes]
        if self.scorer.objective == "answers":
            hits = [1 - part for part in self.scorer.parts(scored, rows)]
        else:
            hits = [float(not outcome.mistake) for outcome in scored.outcomes]
        if self.kind == "hit":
            return hits
        return [h - each.loss for h, each in zip(hits, scored.outcomes, strict=True)]

    def _shaped(self, margin: float) -> float:
        return margin * (self.correct if margin > 0 else self.incorrect)
