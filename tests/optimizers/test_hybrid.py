"""Whole prompts and edits in one race: where each comes from, and what the race leaves."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.models.engine import Decoding
from prompt_optimization.models.role_settings import WriterSettings
from prompt_optimization.models.writers import Request
from prompt_optimization.optimizers.base import Tools
from prompt_optimization.optimizers.greater.settings import EDITS
from prompt_optimization.optimizers.hybrid.search import Hybrid
from prompt_optimization.optimizers.hybrid.settings import HybridSettings
from prompt_optimization.optimizers.text.optimizer import PATIENCE
from prompt_optimization.runs.store.replies import ReplyLog
from prompt_optimization.scoring.writing import CountedWriter
from tests.conftest import PROMPT, QUESTIONS
from tests.writers import ScriptedWriter, some_words

N = len(QUESTIONS)

MakeSearch = Callable[..., Hybrid]

# Everything that a step may do.
FULL = {
    "proposers": ("opro", "ape", "gepa"),
    "proposals": 5,
    "positions": 2,
    "screen": "likelihood_ratio",
    "screened": 3,
    "draws": 2,
}


@pytest.fixture
def make_search(make_scorer: Any) -> MakeSearch:
    def make(script: Any = some_words, **settings: Any) -> Hybrid:
        own = {"proposals": 3, "positions": 1, "edit_proposals": 1} | settings
        chosen = HybridSettings.default(**own)
        scorer = make_scorer(
            decoding=Decoding(5, 4),
            objective="loss",
            nll_weight=0.0,
            written=chosen.reads_answers,
        )
        writer = CountedWriter(
            ScriptedWriter(script), WriterSettings.default(), scorer, ReplyLog(None)
        )
        tools = Tools(random.Random(0), 10, writer=writer, max_prompt_tokens=24)
        search = Hybrid(chosen, scorer, tools)
        search.start(PROMPT)
        return search

    return make


def test_written_prompts_and_edits_of_the_best_are_raced_together(make_search: MakeSearch) -> None:
    search = make_search()
    ledger, fates, tried = search.scorer.ledger, set(), set()
    for _ in range(3):
        parent, known = search.incumbent.text, set(search.known)
        before = ledger.evaluations
        step = search.step()
        assert step is not None
        proposals = step.details["proposals"]
        operators = [each["operator"] for each in proposals]
        assert operators[:3] == ["opro"] * 3
        assert {*operators[3:]} <= {"token", "insert", "delete", "span"} and len(operators) > 5
        for each in proposals[3:]:
            assert each["parents"] == [parent] and each["prompt"] not in known
            ids, old = search.scorer.ids(each["prompt"]), search.scorer.ids(parent)
            assert abs(len(ids) - len(old)) <= 2 and ids != old
        whole = [each for each in proposals if each["fate"] != "lost"]
        assert len(step.tried) == len(whole) >= 1
        spent = ledger.evaluations - before
        assert N * len(whole) < spent < N * len(proposals), "some ran on a part of the rows"
        tried |= set(whole_texts(whole))
        fates |= {each["fate"] for each in proposals}
        best = min(search.scorer.score([text])[0].order for text in [parent, *whole_texts(whole)])
        assert search.incumbent.scored.order == best
    assert fates >= {"lost", "scored"}
    # The writer is shown what came of the edits, too.
    shown = {attempt.text for attempt in search.trajectory.attempts}
    assert shown == {PROMPT, *tried}


def whole_texts(proposals: list[dict[str, Any]]) -> list[str]:
    return [each["prompt"] for each in proposals]


def test_edits_go_on_while_a_writer_fails_and_the_search_says_so(make_search: MakeSearch) -> None:
    search = make_search(lambda request, number: "no tags")
    for _ in range(PATIENCE - 1):
        step = search.step()
        assert step is not None and step.details["proposals"]
        (event,) = step.events
        assert event.startswith("the writer gave no usable reply (9 dropped: 9 untagged")
    assert search.step() is None and "no usable reply in 5 steps" in search.exhausted


def test_proposers_share_the_proposals(make_search: MakeSearch) -> None:
    seen: list[Request] = []

    def script(request: Request, number: int) -> str:
        seen.append(request)
        return some_words(request, number)

    search = make_search(script, proposers=("opro", "ape", "gepa"), proposals=8, minibatch=2)
    step = search.step()
    assert step is not None and step.details["waves"] == 1
    written = step.details["proposals"][:8]
    assert [(each["operator"], each["parents"]) for each in written] == [
        *[("opro", [])] * 3,
        *[("ape", [])] * 2,
        ("ape", [PROMPT]),
        *[("gepa", [PROMPT])] * 2,
    ]
    assert "Score: " in seen[0].user and "Somebody was given one instruction" in seen[3].user
    assert f"\n\n{PROMPT.strip()}\n\nWrite a variation" in seen[5].user
    examples = search.scorer.examples
    shown = [
        {each.row for each in examples if f"Question: {each.question}\n" in user}
        for user in (request.user for request in seen[6:])
    ]
    assert [len(each) for each in shown] == [2, 2] and not shown[0] & shown[1]


def test_nothing_is_asked_about_mistakes_where_there_are_none(make_search: MakeSearch) -> None:
    search = make_search(proposers=("gepa",))
    search.costs = lambda text, rows: [0.0] * len(rows)  # type: ignore[method-assign]
    step = search.step()
    assert step is not None and step.details["waves"] == 0 and not step.events
    assert {each["operator"] for each in step.details["proposals"]} <= {*EDITS}


def test_only_edits_with_the_best_estimates_are_raced(make_search: MakeSearch) -> None:
    search = make_search(**FULL)
    ledger, reused = search.scorer.ledger, []
    for _ in range(3):
        drawn, before = search.draws.state_dict(), ledger.evaluations
        incumbent = search.incumbent.text
        step = search.step()
        assert step is not None
        screened = step.details["screened"]
        estimates = [each["likelihood_ratio"] for each in screened]
        assert estimates == sorted(estimates) and len({*estimates}) > 3
        raced = [each for each in step.details["proposals"] if each["operator"] in EDITS]
        assert [each["prompt"] for each in raced] == [each["prompt"] for each in screened[:3]]
        # Reasonings are drawn again for another incumbent only.
        now = search.draws.state_dict()
        known = now == drawn
        assert known == (bool(drawn) and drawn[0][2] == incumbent)
        assert {source for _, _, source, *_ in now} == {incumbent} and len(now) == N
        raced_rows = len(step.details["proposals"]) * N
        assert ledger.evaluations - before <= 2 * N * (not known) + raced_rows
        reused.append(known)
    assert {*reused} == {False, True}


def test_fixed_reasonings_screen_whole_prompts_too(make_search: MakeSearch) -> None:
    search = make_search(**FULL | {"screen": "fixed_reasoning"})
    step = search.step()
    assert step is not None
    screened, raced = step.details["screened"], step.details["proposals"]
    estimates = [each["fixed_reasoning"] for each in screened]
    assert estimates == sorted(estimates)
    assert {each["operator"] for each in screened} > {"opro", "ape"}
    assert [each["prompt"] for each in raced] == [each["prompt"] for each in screened[:3]]
    settings = search.settings
    assert settings.racers == 1 + 3 and settings.compared == 5 + settings.most_edits


def test_the_smallest_budget_holds_the_draws_of_the_screen() -> None:
    plain = HybridSettings.default(edits=("token",), edit_proposals=3, positions=1)
    screened = HybridSettings.default(
        edits=("token",), positions=5, edit_proposals=3, screen="likelihood_ratio", screened=3
    )
    assert Hybrid.first_round(screened, 50, 2) == Hybrid.first_round(plain, 50, 2) + 4 * 100
    idle = HybridSettings.default(screen="likelihood_ratio", screened=14)
    assert Hybrid.first_round(idle, 50, 2) == Hybrid.first_round(HybridSettings.default(), 50, 2)
    assert idle.warnings == [
        "hybrid.screen has no effect, because it compares 14 proposals at most and "
        "hybrid.screened lets 14 race"
    ]


@pytest.mark.parametrize("settings", [{}, FULL])
def test_it_goes_on_from_its_state(make_search: MakeSearch, settings: dict[str, Any]) -> None:
    whole, other = make_search(**settings), make_search(**settings)
    for _ in range(2):
        whole.step()
    state, known, rng = whole.state_dict(), whole.scorer.state_dict(), whole.tools.rng.getstate()
    other.scorer.load_state_dict(known)
    other.load_state_dict(state)
    other.tools.rng.setstate(rng)
    assert [other.step() for _ in range(2)] == [whole.step() for _ in range(2)]
    assert other.state_dict() == whole.state_dict()
    assert other.scorer.ledger.tokens == whole.scorer.ledger.tokens


def test_what_cannot_be_raced_is_refused() -> None:
    with pytest.raises(InputError, match="209 prompts would race in a step; ask for at most 200"):
        HybridSettings.default(proposals=8, positions=20, edit_proposals=3)
    with pytest.raises(InputError, match="there is no edit 'spam'") as caught:
        HybridSettings.default(edits=("spam",))
    assert caught.value.keys == ("hybrid.edits",)
    assert HybridSettings.default(edits=("delete",)).most_edits == 2
    with pytest.raises(InputError, match="there is no proposer 'gepaa'; did you mean 'gepa'"):
        HybridSettings.default(proposers=("opro", "gepaa"))
    with pytest.raises(InputError, match="3 proposers cannot share 2 proposals"):
        HybridSettings.default(proposers=("opro", "ape", "gepa"), proposals=2)


def test_settings_of_proposers_that_are_not_named_have_no_effect() -> None:
    settings = HybridSettings.default(proposers=("ape",), keep=5, minibatch=4, demos=2, draws=9)
    assert settings.warnings == [
        "hybrid.keep has no effect without opro among hybrid.proposers",
        "hybrid.minibatch has no effect without gepa among hybrid.proposers",
        "hybrid.draws has no effect under hybrid.screen=none",
    ]
