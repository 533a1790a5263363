"""What a prompt is worth on a question, and what is learnt from it."""

from __future__ import annotations

import numpy as np
import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.oirl.outcomes import Outcomes
from prompt_optimization.optimizers.qpo import settings as module
from prompt_optimization.optimizers.qpo.returns import (
    HIGHEST,
    Levels,
    Pair,
    Returns,
    kept,
    shuffled,
)
from prompt_optimization.optimizers.qpo.settings import QpoSettings

# An easy question, a hard one, and one that is not learnt from.
TABLE = Outcomes(
    ("easy?", "hard?", "aside?"),
    ("", "", ""),
    (" one", " two"),
    ("one", "two"),
    heldout=np.zeros(2, bool),
    test=np.array([False, False, True]),
    right=np.array([[4.0, 2.0], [1.0, 0.0], [0.0, 0.0]]),
    draws=np.array([[4, 4], [4, 4], [4, 0]]),
)


@pytest.fixture(autouse=True)
def trainer_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "check_training", lambda _: None)


def returns(**own: object) -> Returns:
    return Returns(TABLE, ~TABLE.test, QpoSettings.default(**own))


def test_the_return_weighs_the_questions_rate_and_the_prompts_mean() -> None:
    found = returns(returns="raw", correct=10.0, prompt_mean=2.0)
    # Rates over the two questions that are learnt from: 5 of 8, and 2 of 8.
    assert found.means.tolist() == [0.625, 0.25]
    one, two = found.pairs(0)
    assert (one.value, two.value) == (10 * 1.0 + 2 * 0.625, 10 * 0.5 + 2 * 0.25)
    assert (one.right, two.right, one.prompt) == (1.0, 0.5, " one")
    # A pair that was never tried is none.
    assert [pair.prompt for pair in found.pairs(2)] == [" one"]


def test_the_advantage_does_not_say_how_easy_a_question_is() -> None:
    found = returns(prompt_mean=0.0)
    values = [[pair.value for pair in found.pairs(row)] for row in (0, 1)]
    assert values == [[2.5, -2.5], [1.25, -1.25]]
    written = found.written(1, " three", right=0.25, mean=0.9)
    assert written == Pair("hard?", " three", 1.25, 0.25)
    raw = returns(prompt_mean=0.0, returns="raw")
    assert min(pair.value for pair in raw.pairs(0)) > max(pair.value for pair in raw.pairs(1))


def test_levels_rank_the_values_and_reach_both_ends() -> None:
    values = [*range(20), 3, 3, 3]
    levels = Levels(values)
    found = [pair.level for pair in levels.of([Pair("", "", float(v), 0.0) for v in values])]
    assert found == sorted(found[:20]) + [found[3]] * 3
    assert (found[0], found[19]) == (0, HIGHEST) and len({*found}) == HIGHEST + 1
    beyond = levels.of([Pair("", "", value, 0.0) for value in (-7.0, 99.0)])
    assert [pair.level for pair in beyond] == [0, HIGHEST]


def test_published_keeps_successes_only() -> None:
    assert QpoSettings.default(behaviour="published").keep == "above"
    pairs = [Pair("", name, value, right) for name, value, right in
             (("a", -1.0, 0.0), ("b", 0.5, 0.5), ("c", 2.0, 1.0))]  # fmt: skip
    assert kept(pairs, "all") == kept(pairs, "all", 9.0) == pairs
    assert kept(pairs, "above") == pairs[1:]
    assert kept(pairs, "above", 0.5) == pairs[2:]


def test_shuffling_moves_the_levels_alone() -> None:
    pairs = [Pair("q", str(n), float(n), 0.0, n % 10) for n in range(30)]
    dealt = shuffled(pairs, 1)
    assert [pair.prompt for pair in dealt] == [pair.prompt for pair in pairs]
    levels = [pair.level for pair in dealt]
    assert sorted(levels) == sorted(pair.level for pair in pairs)
    assert levels != [pair.level for pair in pairs] and dealt == shuffled(pairs, 1)


@pytest.mark.parametrize(
    ("own", "problem"),
    [
        ({"prompts": ("plain",)}, "one prompt to choose from"),
        ({"correct": 0.0, "prompt_mean": 0.0}, "both weights are 0"),
        ({"correct": 0.0}, "every question has the same best prompt"),
        ({"keep": "some"}, "'some' is unknown"),
        ({"loops": -1}, "too small"),
    ],
)
def test_settings_that_cannot_work(own: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        QpoSettings.default(**own)


def test_warnings_name_what_has_no_effect() -> None:
    assert QpoSettings.default().warnings == []
    (text,) = QpoSettings.default(loops=0, per_query=4).warnings
    assert text == "qpo.per_query has no effect without qpo.loops"
    (text,) = QpoSettings.default(adapter="full", rank=4).warnings
    assert text == "qpo.rank has no effect with qpo.adapter=full"
    assert "raw return" in QpoSettings.default(behaviour="published").warnings[0]
