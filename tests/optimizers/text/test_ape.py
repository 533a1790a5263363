"""APE: what each step asks and costs, and that it finds what was planted."""

from __future__ import annotations

from typing import Any

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.models.writers import Request
from prompt_optimization.optimizers.ape.search import Ape
from prompt_optimization.optimizers.ape.settings import ApeSettings
from prompt_optimization.optimizers.apo.settings import ApoSettings
from prompt_optimization.optimizers.text.racing import MOST
from prompt_optimization.scoring.scorer import REMEMBERED
from tests.optimizers.text.planted import START, costs_of, different, planted
from tests.writers import ScriptedWriter


def half(words: set[str], question: int) -> bool:
    """Whatever the prompt."""
    return question % 2 == 0


def ape(rule: Any = half, script: Any = different, **settings: Any) -> tuple[Ape, ScriptedWriter]:
    return planted(Ape, ApeSettings.default(**settings), rule=rule, script=script)


def test_costs_of_every_step() -> None:
    search, writer = ape()
    # Among equals the incumbent and what is known stay, and cost nothing.
    first = 10 * (50 + 30 + 18 + 11 + 7)
    assert costs_of(search, writer) == {"waves": [[10, 5]], "rows": first}
    assert Ape.first_round(search.settings, 50) == 50 + first
    assert search.top[0] == START and len(search.top) == 5
    for _ in range(3):
        assert costs_of(search, writer) == {"waves": [[5, 5]], "rows": 10 * (25 + 13 + 6 + 2)}
    assert costs_of(search, writer) is None


def test_published_costs() -> None:
    search, writer = ape(behaviour="published")
    # The best five, of which the incumbent is one, run on the other 30 rows too.
    assert costs_of(search, writer) == {"waves": [[3, 30]], "rows": 90 * 20 + 4 * 30}
    assert Ape.first_round(search.settings, 50) == search.scorer.ledger.evaluations
    assert costs_of(search, writer) is None


@pytest.mark.parametrize("behaviour", ["sound", "published"])
def test_costs_of_the_variant_of_pe2(behaviour: str) -> None:
    search, writer = ape(variant="paraphrase", behaviour=behaviour)
    assert Ape.first_round(search.settings, 50) == 50
    assert costs_of(search, writer) == {"waves": [[1, 4]], "rows": 4 * 50}
    for _ in range(2):
        assert costs_of(search, writer) == {"waves": [[4, 4]], "rows": 16 * 50}
    assert costs_of(search, writer) is None
    assert {request.temperature for wave in writer.waves for request in wave} == {0.7}


def test_duplicates_cost_nothing() -> None:
    def script(request: Request, number: int) -> str:
        return f"<prompt>{['one', 'two', START][number % 3]}</prompt>"

    search, writer = ape(script=script, race="full")
    assert costs_of(search, writer) == {"waves": [[10, 5]], "rows": 2 * 50}
    made = search.step()
    assert made is not None and made.details["dropped"] == {"same": 15} and not made.tried


def test_the_writer_sees_questions_with_answers_and_then_prompts() -> None:
    search, writer = ape(demos=3)
    search.step()
    shown = [
        [e for e in search.scorer.examples if f"Question: {e.question}\nAnswer: {e.answer}" in user]
        for user in (request.user for request in writer.waves[0])
    ]
    assert [len(examples) for examples in shown] == [3] * 10
    assert len({tuple(examples) for examples in shown}) > 1
    assert {request.temperature for request in writer.waves[0]} == {0.9}
    top = list(search.top)
    made = search.step()
    assert made is not None
    for prompt, request in zip(top, writer.waves[1], strict=True):
        assert f"\n\n{prompt.strip()}\n\n" in request.user and request.temperature == 0.7
    assert {parent for each in made.details["proposals"] for parent in each["parents"]} == {*top}


def test_more_demonstrations_than_questions_are_all_of_them() -> None:
    search, writer = ape(demos=60, subsamples=1)
    search.step()
    assert writer.waves[0][0].user.count("Question: ") == 50


@pytest.mark.parametrize("variant", ["induction", "paraphrase"])
def test_a_planted_rule_is_found(variant: str) -> None:
    for seed in range(5):
        settings = ApeSettings.default(variant=variant, rounds=8)
        search, _ = planted(Ape, settings, questions=24, seed=seed)
        while search.step():
            assert search.top[0] == search.incumbent.text == search.leaderboard.best.text
        # A sixth of the questions needs each of the five words, and a sixth none.
        assert search.initial.scored.wrong == 20 / 24
        assert search.incumbent.scored.wrong <= 2 / 6


def test_a_search_without_one_usable_reply_ends_with_an_error() -> None:
    search, _ = ape(script=lambda request, number: "no tags here")
    for _ in range(4):
        made = search.step()
        assert made is not None and "untagged" in made.events[0] and search.top == [START]
    with pytest.raises(InputError, match=r"no usable reply in 4 steps \(65 dropped: 65 untagged\)"):
        search.step()


def test_prompts_that_lose_their_race_were_usable() -> None:
    def rule(words: set[str], question: int) -> bool:
        return "think" in words

    search, _ = ape(rule, rounds=9, top=1)
    made = [search.step() for _ in range(11)]
    assert made[-1] is None and all(step and not step.accepted for step in made[:-1])
    fates = {each["fate"] for step in made[:-1] if step for each in step.details["proposals"]}
    assert "lost" in fates


def test_a_forced_resume_begins_anew_with_the_best() -> None:
    search, _ = ape(top=3)
    search.step()
    other, writer = ape(top=2)
    other.carry_over(search.state_dict())
    assert other.top == search.top[:2] and other.made_rounds == 0
    assert costs_of(other, writer)["waves"] == [[10, 5]]


def test_settings_that_ask_for_nothing_are_refused() -> None:
    with pytest.raises(InputError, match=r"neither.*ape\.subsamples"):
        ApeSettings.default(subsamples=0, rounds=0)


def test_more_prompts_than_the_scorer_remembers_are_refused() -> None:
    with pytest.raises(InputError, match=r"305 prompts would race.*at most 200.*ape\.draws"):
        ApeSettings.default(draws=30)
    with pytest.raises(InputError, match=r"225 prompts would race.*at most 200.*apo\.beam"):
        ApoSettings.default(beam=25)
    assert MOST < REMEMBERED
