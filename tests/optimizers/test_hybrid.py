"""Whole prompts and edits in one race: where each comes from, and what the race leaves."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.models.role_settings import WriterSettings
from prompt_optimization.optimizers.base import Tools
from prompt_optimization.optimizers.hybrid.search import Hybrid
from prompt_optimization.optimizers.hybrid.settings import HybridSettings
from prompt_optimization.optimizers.text.optimizer import PATIENCE
from prompt_optimization.runs.store.replies import ReplyLog
from prompt_optimization.scoring.writing import CountedWriter
from tests.conftest import PROMPT, QUESTIONS
from tests.writers import ScriptedWriter, some_words

N = len(QUESTIONS)

MakeSearch = Callable[..., Hybrid]


@pytest.fixture
def make_search(make_scorer: Any) -> MakeSearch:
    def make(script: Any = some_words, **settings: Any) -> Hybrid:
        scorer = make_scorer(objective="loss", nll_weight=0.0)
        writer = CountedWriter(
            ScriptedWriter(script), WriterSettings.default(), scorer, ReplyLog(None)
        )
        tools = Tools(random.Random(0), 10, writer=writer, max_prompt_tokens=24)
        own = {"proposals": 3, "positions": 1, "edit_proposals": 1} | settings
        search = Hybrid(HybridSettings.default(**own), scorer, tools)
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
        assert operators[:3] == ["propose"] * 3
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


def test_it_goes_on_from_its_state(make_search: MakeSearch) -> None:
    whole, other = make_search(), make_search()
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
