"""Edits beyond one token: what they make of a prompt, and who ranks them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.base import Step
from prompt_optimization.optimizers.greater.settings import GreaterSettings
from prompt_optimization.optimizers.random.search import RandomSearch
from prompt_optimization.tasks.texts import lacking_words
from tests.conftest import PROMPT
from tests.optimizers.conftest import MakeSearch, run, settings_for

ALL = ("token", "insert", "delete", "span")


def editing(*kinds: str, **changes: Any) -> GreaterSettings:
    own = {"edits": kinds or ALL, "edit_proposals": 2, "accept": "anneal", "draws": 2}
    return settings_for(**own | changes)


def kinds(step: Step, key: str = "proposals") -> set[str]:
    return {each.get("edit", "token") for each in step.details[key]}


@pytest.mark.parametrize("rule", ["likelihood_ratio", "gradient"])
def test_every_edit_does_what_it_is_called(make_search: MakeSearch, rule: str) -> None:
    search = make_search(editing(shortlist=rule), n=3, steps=6)
    before, seen, moved = search.scorer.ids(PROMPT), set(), set()
    for _ in range(6):
        step = search.step()
        assert step is not None
        at, chosen = step.details["position"], step.details["chosen"]
        for each in step.details["shortlist"]:
            ids, kind = tuple(each["ids"]), each.get("edit", "token")
            seen.add(kind)
            assert ids[:at] == before[:at] and ids == search.scorer.ids(each["prompt"]) != before
            rest, old = ids[at:], before[at:]
            if kind == "token":
                assert rest[1:] == old[1:]
            elif kind == "insert":
                assert rest[1:] == old
            elif kind == "delete":
                assert rest == old[1:]
            else:
                made = [k for k in (2, 3, 4) for gone in (2, 3, 4) if rest[k:] == old[gone:]]
                assert made, "two to four tokens stand in the place of as many"
        after = search.scorer.ids(step.incumbent.text)
        if step.accepted:
            kind = step.details["shortlist"][chosen].get("edit", "token")
            moved.add((kind, search.position - at))
        before = after
    assert len(seen) >= 3
    assert moved <= {("token", 1), ("insert", 1), ("delete", 0)} | {("span", k) for k in (2, 3, 4)}


def test_the_likelihood_ratio_ranks_all_edits_together(make_search: MakeSearch) -> None:
    search = make_search(editing(shortlist="likelihood_ratio"), n=4, steps=3)
    for step in run(search):
        told = [each["likelihood_ratio"] for each in step.details["proposals"]]
        tried = [each["likelihood_ratio"] for each in step.details["shortlist"]]
        assert kinds(step) >= {"token", "insert", "delete"} and tried == sorted(told)[:3]


def test_what_the_rule_cannot_rank_is_raced(make_search: MakeSearch) -> None:
    search = make_search(editing(accept="improve"), n=6, steps=3)
    for step in run(search):
        raced = [each for each in step.details["proposals"] if "edit" in each]
        shortlist = step.details["shortlist"]
        assert raced and not any("gradient" in each for each in raced)
        assert len(step.tried) >= 2 and all(each.scored.rows == 6 for each in step.tried)
        # What came out of the race was scored on all rows, as the incumbent was.
        objectives = [each["objective"] for each in shortlist]
        assert step.details["chosen"] == objectives.index(min(objectives))
        # Some were given up on a part of the rows.
        assert len(step.tried) < 3 + len(raced)


def test_spans_alone_take_no_gradient_and_differ_by_seed(make_search: MakeSearch) -> None:
    one, same, other = (
        make_search(editing("span"), kind=kind, n=4, steps=3, seed=seed)
        for kind, seed in ((RandomSearch, 0), (RandomSearch, 0), (RandomSearch, 1))
    )
    first = run(one)
    assert run(same) == first != run(other)
    assert all(kinds(step) == {"span"} for step in first if step.details["proposals"])
    assert "differentiated" not in one.scorer.ledger.tokens


def test_prompts_stay_within_their_length_and_keep_their_words(make_search: MakeSearch) -> None:
    search = make_search(
        editing("insert", "delete", "span"), n=3, steps=6, keep=("step",), template="system"
    )
    longest = len(search.scorer.ids(PROMPT)) + 1
    search.tools = dataclasses.replace(search.tools, max_prompt_tokens=longest)
    for step in run(search):
        for each in step.details["shortlist"]:
            assert 2 <= len(each["ids"]) <= longest
            assert lacking_words(each["prompt"], ("step",)) is None


@pytest.mark.parametrize("rule", ["likelihood_ratio", "random"])
def test_it_goes_on_from_its_state(make_search: MakeSearch, rule: str) -> None:
    settings = editing(shortlist=rule)
    whole = make_search(settings, n=4, steps=6)
    for _ in range(3):
        whole.step()
    state, known, rng = whole.state_dict(), whole.scorer.state_dict(), whole.tools.rng.getstate()
    other = make_search(settings, n=4, steps=6)
    other.scorer.load_state_dict(known)
    other.load_state_dict(state)
    other.tools.rng.setstate(rng)
    assert [other.step() for _ in range(3)] == [whole.step() for _ in range(3)]
    assert other.scorer.ledger.tokens == whole.scorer.ledger.tokens


def test_the_published_period_rule_knows_single_tokens_only() -> None:
    with pytest.raises(InputError, match="period_rule=published do not go together") as caught:
        editing("token", "span", behaviour="published").check()
    assert caught.value.keys == ("greater.edits", "period_rule")
    editing("token", behaviour="published").check()


def test_unknown_edits_are_refused() -> None:
    with pytest.raises(InputError, match=r"there is no edit 'inserts'.*insert") as caught:
        editing("token", "inserts").check()
    assert caught.value.keys == ("greater.edits",)
    with pytest.raises(InputError, match="no edit is named; name one or more of token, insert"):
        settings_for(edits=()).check()
