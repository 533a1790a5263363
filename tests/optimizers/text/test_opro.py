"""OPRO: what is asked, in which words, and what becomes of the replies."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.models.role_settings import WriterSettings
from prompt_optimization.models.writers import Request
from prompt_optimization.optimizers.base import Tools
from prompt_optimization.optimizers.opro.search import Opro
from prompt_optimization.optimizers.opro.settings import OproSettings
from prompt_optimization.optimizers.text.optimizer import PATIENCE
from prompt_optimization.runs.store.replies import ReplyLog
from prompt_optimization.scoring.writing import CountedWriter
from tests.conftest import PROMPT, QUESTIONS
from tests.optimizers.text.planted import edited_words, planted
from tests.writers import ScriptedWriter, some_words

MakeSearch = Callable[..., tuple[Opro, ScriptedWriter]]

N = len(QUESTIONS)


@pytest.fixture
def make_search(make_scorer: Any) -> MakeSearch:
    """``make_search(script, writer, **settings)``: a search that has scored its initial prompt."""

    def make(script: Any = some_words, writer: Any = None, **settings: Any) -> Any:
        scorer = make_scorer(objective="mistakes", nll_weight=0.0)
        scripted = ScriptedWriter(script)
        own = WriterSettings.default(**(writer or {}))
        counted = CountedWriter(scripted, own, scorer, ReplyLog(None))
        tools = Tools(random.Random(0), 10, writer=counted)
        search = Opro(OproSettings.default(**settings), scorer, tools)
        search.start(PROMPT)
        return search, scripted

    return make


def test_a_step_is_one_request_and_scores_what_is_new(make_search: MakeSearch) -> None:
    search, writer = make_search(proposals=3)
    ledger = search.scorer.ledger
    for step in range(4):
        before = ledger.evaluations
        made = search.step()
        assert made is not None and made.details["waves"] == 1 and made.details["dropped"] == {}
        assert [len(wave) for wave in writer.waves] == [1] * (step + 1)
        ((request,),) = writer.waves[step:]
        assert (request.draws, request.temperature, request.max_tokens) == (3, 1.0, 512)
        assert ledger.requests == step + 1
        assert ledger.evaluations - before == 3 * N == len(made.tried) * N
        assert [each["fate"] for each in made.details["proposals"]].count("accepted") <= 1
    assert ledger.tokens["written"] == 4 * 3 * 5


def test_the_writer_sees_the_best_prompts_in_ascending_order_and_the_exemplars(
    make_search: MakeSearch,
) -> None:
    search, writer = make_search(proposals=4, keep=3, exemplars=2, score_scale=20)
    for _ in range(4):
        search.step()
    user = writer.waves[-1][0].user
    scores = [int(line.split()[1]) for line in user.splitlines() if line.startswith("Score: ")]
    assert len(scores) == 3 and scores == sorted(scores) and scores[-1] <= 20
    shown = [line for line in user.splitlines() if line.startswith("Instruction: ")]
    best = search.trajectory.best(1)[0]
    assert shown[-1] == f"Instruction: {best.text.strip()}"
    questions = [question for question, _ in QUESTIONS if question in user]
    assert len(questions) == 2 and all(f"{each}. Use <instruction>" in user for each in questions)


def test_the_initial_prompt_is_in_the_first_trajectory(make_search: MakeSearch) -> None:
    search, writer = make_search()
    search.step()
    right = round(100 * (1 - search.initial.scored.mistakes))
    assert f"Instruction: {PROMPT.strip()}\nScore: {right}\n" in writer.waves[0][0].user


def test_prompts_below_the_threshold_are_not_shown(make_search: MakeSearch) -> None:
    search, writer = make_search(threshold=1.0)
    search.step()
    assert "Instruction:" not in writer.waves[0][0].user


def test_exemplars_may_be_those_that_are_wrong(make_search: MakeSearch) -> None:
    search, writer = make_search(exemplar_rule="wrong", exemplars=6)
    wrong = [
        question
        for (question, _), cost in zip(
            QUESTIONS, search.scorer.costs(PROMPT, search.scorer.rows()), strict=True
        )
        if cost
    ]
    search.step()
    shown = [question for question, _ in QUESTIONS if question in writer.waves[0][0].user]
    assert wrong and shown == wrong


def test_what_cannot_be_used_is_dropped_with_its_reason(make_search: MakeSearch) -> None:
    replies = [
        "<prompt>think step by step</prompt>",
        "<prompt> think step by step </prompt>",
        f"<prompt>{PROMPT}</prompt>",
        "<prompt>think {trajectory}</prompt>",
        f"<prompt>{'think ' * 70}</prompt>",
        f"<prompt>count {QUESTIONS[0][0]}</prompt>",
        "no tags here",
        "<prompt></prompt>",
        "<prompt>half a \ufffd</prompt>",
    ]
    search, _ = make_search(
        lambda request, number: replies[number], {"parse_retries": 0}, proposals=len(replies)
    )
    made = search.step()
    assert made is not None
    assert [each.scored.text for each in made.tried] == [" think step by step"]
    assert made.details["dropped"] == {
        "copied": 1, "empty": 1, "long": 1, "marked": 1, "same": 2, "unprintable": 1,
        "untagged": 1,
    }  # fmt: skip


def test_replies_without_a_prompt_are_asked_for_again(make_search: MakeSearch) -> None:
    def script(request: Request, number: int) -> str:
        return some_words(request, number) if number % 2 else "no tags here"

    search, writer = make_search(script, {"temperature": 0.2}, proposals=4)
    made = search.step()
    assert made is not None and made.details["dropped"] == {"untagged": 4}
    asked = [(each.draws, each.temperature) for wave in writer.waves for each in wave]
    assert asked == [(4, 0.2), (2, 0.7), (1, 0.7)]
    assert len({request.seed for wave in writer.waves for request in wave}) == 3
    assert len(made.tried) == 3 and search.scorer.ledger.requests == 3


def test_published_limits_characters_and_digits_can_be_dropped(make_search: MakeSearch) -> None:
    replies = [f"<prompt>{'x' * 501}</prompt>", "<prompt>count to 3</prompt>"]
    search, _ = make_search(
        lambda request, number: replies[number],
        {"parse_retries": 0},
        proposals=2,
        behaviour="published",
        drop_digits=True,
    )
    made = search.step()
    assert made is not None and made.details["dropped"] == {"digits": 1, "long": 1}
    assert search.settings.threshold == 0.1


def test_a_writer_that_never_gives_a_prompt_ends_the_search(make_search: MakeSearch) -> None:
    search, _ = make_search(lambda request, number: "no tags here", proposals=2)
    for _ in range(PATIENCE - 1):
        made = search.step()
        assert made is not None and "no usable reply (6 dropped: 6 untagged)" in made.events[0]
    with pytest.raises(InputError, match=r"5 steps \(30 dropped: 30 untagged\).*accept_raw"):
        search.step()


def test_a_writer_that_stops_giving_prompts_ends_the_search_with_what_there_is(
    make_search: MakeSearch,
) -> None:
    replies = iter(["<prompt>count slowly</prompt>"])
    search, _ = make_search(lambda *_: next(replies, "no tags here"), proposals=2)
    made = [search.step() for _ in range(PATIENCE + 1)]
    assert made[-1] is None and all(made[:-1])
    assert "no usable reply in 5 steps (30 dropped: 30 untagged)" in search.exhausted


@pytest.mark.parametrize(
    ("prompt", "changes", "message"),
    [
        ("think", {"max_characters": 3}, r"10 long\); allow longer prompts \(.*max_characters\)"),
        ("1 and 2", {"drop_digits": True}, r"10 digits\); allow digits .*drop_digits\)"),
        ("<instruction>", {}, r"10 marked\); choose a larger one"),
    ],
)
def test_a_search_that_drops_all_prompts_says_what_helps(
    make_search: MakeSearch, prompt: str, changes: dict[str, Any], message: str
) -> None:
    search, _ = make_search(lambda *_: f"<prompt>{prompt}</prompt>", proposals=2, **changes)
    for _ in range(PATIENCE - 1):
        search.step()
    with pytest.raises(InputError, match=message):
        search.step()


def test_a_writer_with_nothing_new_ends_the_search_in_peace(make_search: MakeSearch) -> None:
    search, _ = make_search(lambda request, number: f"<prompt>{PROMPT}</prompt>", proposals=2)
    made = [search.step() for _ in range(PATIENCE)]
    assert made[-1] is None and all(made[:-1])


def test_a_search_goes_on_where_its_state_was_taken(make_search: MakeSearch) -> None:
    search, writer = make_search(proposals=3)
    search.step()
    state, chance = search.state_dict(), search.tools.rng.getstate()
    expected = [search.step() for _ in range(2)]
    other, again = make_search(proposals=3)
    other.load_state_dict(state)
    other.tools.rng.setstate(chance)
    assert [other.step() for _ in range(2)] == expected
    assert again.waves == writer.waves[1:]


def best_one_edited(request: Request, number: int) -> str:
    """The best prompt that is shown, which is the last one, with one word edited."""
    best = re.findall(r"^Instruction: (.*)$", request.user, re.MULTILINE)[-1]
    return edited_words(replace(request, user=f"<prompt>{best}"), number)


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_rule_is_found(seed: int) -> None:
    search, _ = planted(Opro, OproSettings.default(), script=best_one_edited, seed=seed)
    assert search.initial.scored.objective > 0.8
    while search.incumbent.scored.objective > 0.1 and search.step():
        assert search.scorer.ledger.evaluations <= 16_000
    assert search.incumbent.scored == search.leaderboard.best.scored
    assert search.incumbent.scored.objective <= 0.1
