"""Rows that are drawn for every step, restarts, and what is elected from then."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.greater.search import GreaterSearch
from prompt_optimization.optimizers.greater.settings import GreaterSettings
from tests.conftest import PROMPT
from tests.optimizers.conftest import MakeSearch, halfway, improving, run, settings_for


def fresh(**changes: Any) -> GreaterSettings:
    return settings_for(**{"accept": "anneal", "rows_per_step": 2} | changes)


def drawn(search: GreaterSearch) -> list[list[int]]:
    return [step.details["rows"] for step in run(search)]


def test_every_example_comes_once_before_one_comes_again(make_search: MakeSearch) -> None:
    rounds = drawn(make_search(fresh(), steps=6))
    for start in (0, 3):
        assert sorted(chain(*rounds[start : start + 3])) == list(range(6))
    assert len({tuple(some) for some in rounds}) > 3
    # The last ones of a round are completed by others.
    uneven = drawn(make_search(fresh(), n=5, steps=5))
    assert all(len(set(some)) == 2 for some in uneven)
    assert set(Counter(chain(*uneven)).values()) == {2}
    assert drawn(make_search(fresh(), n=5, steps=5)) == uneven
    assert drawn(make_search(fresh(), n=5, steps=5, seed=1)) != uneven


@pytest.mark.parametrize("rule", ["gradient", "likelihood_ratio"])
def test_candidates_and_incumbent_are_compared_on_the_same_rows(
    make_search: MakeSearch, rule: str
) -> None:
    search = make_search(fresh(shortlist=rule, draws=2, accept="improve"), steps=8)
    before = PROMPT
    for step in run(search):
        retested = step.details["retested"]
        rows = search.scorer.rows(step.details["rows"])
        (again,) = search.scorer.score([before], rows)
        assert retested == again.record() and retested["samples"] == 2
        for tried in step.tried:
            assert search.scorer.score([tried.scored.text], rows) == [tried.scored]
        best = min((each.scored.objective for each in step.tried), default=1e9)
        assert step.accepted == (best < retested["objective"])
        before = step.incumbent.text


def test_candidates_that_cannot_be_accepted_are_given_up(make_search: MakeSearch) -> None:
    settings = improving(rows_per_step=4, sample_chunk=1)
    search = make_search(settings, steps=3)
    for _ in range(3):
        search.step()
        # No candidate is kept for being good on rows that others have not seen.
        assert search._ceiling() == search.incumbent.scored.objective


def test_the_incumbents_that_stood_longest_are_scored_on_all_rows(make_search: MakeSearch) -> None:
    search = make_search(fresh(), steps=9, top_prompts=3)
    steps = run(search)
    stood = Counter([PROMPT, *(step.incumbent.text for step in steps[:-1])])
    last = steps[-1].incumbent.text
    found = {PROMPT: -1} | {step.incumbent.text: step.incumbent.step for step in steps}
    expected = sorted({*found} - {last}, key=lambda text: (-stood[text], -found[text]))[:2]
    assert len(found) > 4 and search.owed == 6 * len({last, *expected} - {PROMPT})
    assert search.leaderboard.best.text == PROMPT, "nothing else was scored on all rows"
    before = search.scorer.ledger.evaluations
    assert search.conclude() and search.owed == 0
    whole = {entry.text for entry in search.leaderboard.entries if entry.scored.rows == 6}
    assert whole <= {PROMPT, last, *expected} and len(whole) == 3
    spent = search.scorer.ledger.evaluations
    assert before < spent < before + 6 * 3, "what was known of them was not computed again"
    assert search.conclude() and search.scorer.ledger.evaluations == spent
    objectives = [entry.scored.objective for entry in search.leaderboard.entries]
    assert objectives == sorted(objectives)


def test_without_rows_per_step_nothing_is_left_for_the_end(make_search: MakeSearch) -> None:
    search = make_search(improving(), steps=3)
    run(search)
    assert search.owed == 0 and not search.conclude()


@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize("place", ["best", "initial"])
def test_a_search_that_takes_nothing_restarts(
    make_search: MakeSearch, place: str, rows: int
) -> None:
    after = 1 if rows else 2
    settings = improving(restart_after=after, restart_from=place, rows_per_step=rows)
    search = make_search(settings, steps=24)
    idle, restarts = 0, 0
    for step in run(search):
        idle = 0 if step.accepted else idle + 1
        assert bool(step.events) == (idle == after)
        if step.events:
            assert step.events == (f"restarted from the {place} prompt",)
            if place == "initial":
                assert step.incumbent.text == PROMPT
            elif rows:
                assert step.incumbent.scored.rows == 6
            idle, restarts = 0, restarts + 1
    assert restarts
    if place == "best":
        assert search.leaderboard.best.scored.rows == 6


def test_it_goes_on_from_its_state(make_search: MakeSearch) -> None:
    settings = fresh(restart_after=2, shortlist="likelihood_ratio", draws=2)
    whole, other = halfway(make_search, settings, 10)
    assert [other.step() for _ in range(5)] == [whole.step() for _ in range(5)]
    assert whole.conclude() and other.conclude()
    assert other.leaderboard.entries == whole.leaderboard.entries
    assert other.state_dict() == whole.state_dict()


def test_a_state_from_before_rows_were_drawn_is_read(make_search: MakeSearch) -> None:
    search = make_search(improving(progressive_goals=True, progressive_group=2), steps=2)
    state = search.state_dict()
    for name in ("rows", "incumbents", "since_taken", "draws"):
        del state[name]
    search.load_state_dict(state | {"active": 4, "models": 1})
    assert search.rows.examples == [0, 1, 2, 3]


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(InputError, match="choose one of them") as caught:
        fresh(progressive_goals=True).check()
    assert caught.value.keys == ("greater.rows_per_step", "progressive_goals")
    with pytest.raises(InputError, match="there are 2; give more rows"):
        fresh().check_examples([1, 2])
    improving().check_examples([])
    assert "no effect without restart_after" in improving(restart_from="initial").warnings[0]
