"""What all methods that write have in common."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prompt_optimization.optimizers.opro.search import Opro
from prompt_optimization.optimizers.opro.settings import OproSettings
from prompt_optimization.optimizers.text.failures import verdict
from prompt_optimization.scoring.scorer import Scored, Transcript
from tests.optimizers.text.planted import VOCABULARY, planted


def test_costs_rank_prompts_as_the_objective_does_where_rows_have_weights() -> None:
    search, _ = planted(Opro, OproSettings.default(), questions=12)
    search.scorer.examples = tuple(
        replace(example, weight=1 + 3 * (number % 5))
        for number, example in enumerate(search.scorer.examples)
    )
    texts = [f" {' '.join(VOCABULARY[: 4 * count])}" for count in range(1, 5)]
    rows = search.scorer.rows()
    assert len({scored.objective for scored in search.score(texts)}) > 2
    for scored in search.score(texts):
        assert search.goodness(scored) == pytest.approx(1 - scored.objective)
        assert sum(search.costs(scored.text, rows)) == pytest.approx(
            scored.objective * sum(search.scorer.weights(rows))
        )
        assert max(search.scorer.weights(rows)) == 1


class Greeting(Opro):
    """Asks something before its first step."""

    def start(self, prompt: str) -> Scored:
        self.write([self.request("Are you there?")])
        self.write([self.request("Then let us begin.")])
        return super().start(prompt)


def test_what_is_asked_at_the_start_has_places_of_its_own() -> None:
    search, writer = planted(Greeting, OproSettings.default(proposals=2))
    made = search.step()  # Where another request was asked at its place, it would be refused.
    assert made is not None and made.details["waves"] == 1 and len(writer.waves) == 3


@pytest.mark.parametrize(
    ("value", "said"), [(1.0, "is right"), (0.0, "is wrong"), (0.62, "is worth 62 of 100")]
)
def test_a_graded_answer_is_neither_right_nor_wrong(value: float, said: str) -> None:
    assert verdict(Transcript("Q", "R", "A", "B", value, False)) == f"This answer {said}."
