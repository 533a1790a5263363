"""GEPA: which prompts are changed, after which questions, and what a change has to show."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.models.engine import Decoding
from prompt_optimization.models.role_settings import WriterSettings
from prompt_optimization.models.writers import Request
from prompt_optimization.optimizers.base import Tools
from prompt_optimization.optimizers.gepa.pareto import shares
from prompt_optimization.optimizers.gepa.search import Gepa
from prompt_optimization.optimizers.gepa.settings import GepaSettings
from prompt_optimization.runs.store.replies import ReplyLog
from prompt_optimization.scoring.writing import CountedWriter
from tests.conftest import PROMPT
from tests.optimizers.text.planted import (
    HIDDEN,
    START,
    Rule,
    costs_of,
    different,
    edited_words,
    enough_words,
    planted,
)
from tests.writers import Script, ScriptedWriter

N = 50

TABLES = st.integers(1, 8).flatmap(
    lambda rows: st.lists(
        st.lists(st.integers(0, 2), min_size=rows, max_size=rows), min_size=1, max_size=8
    )
)


def never(words: set[str], question: int) -> bool:
    return False


def written_is_half_right(words: set[str], question: int) -> bool:
    """What the writer writes is right on every other question, the initial prompt on none."""
    return "prompt" in words and question % 2 == 0


def own_word(words: set[str], question: int) -> bool:
    """Each question needs a word of its own, and too many words confuse."""
    return sorted(HIDDEN)[question % 5] in words and len(words) <= 7


def gepa(
    rule: Rule = never, script: Script = different, *, n: int = N, seed: int = 0, **changes: Any
) -> tuple[Gepa, ScriptedWriter]:
    return planted(
        Gepa, GepaSettings.default(**changes), rule=rule, script=script, questions=n, seed=seed
    )


@pytest.mark.parametrize(("behaviour", "requests"), [("sound", 4), ("published", 1)])
def test_a_step_that_finds_nothing_costs_its_minibatches(behaviour: str, requests: int) -> None:
    search, writer = gepa(behaviour=behaviour)
    for _ in range(3):
        assert costs_of(search, writer) == {"waves": [[requests, 1]], "rows": requests * 3}
    assert list(search.pool) == [START]
    assert {(each.temperature, each.max_tokens) for wave in writer.waves for each in wave} == {
        (1.0, 1024)
    }


def test_what_is_better_on_its_minibatch_runs_on_the_other_questions_too() -> None:
    search, writer = gepa(written_is_half_right)
    cost = costs_of(search, writer)
    joined = len(search.pool) - 1
    assert joined >= 2
    assert cost == {"waves": [[4, 1]], "rows": 4 * 3 + joined * (N - 3)}
    assert search.incumbent.text == list(search.pool)[1]  # The earliest of equals.
    # From now on nothing is better than its parent.
    cost = costs_of(search, writer)
    assert cost == {"waves": [[len(writer.waves[1]), 1]], "rows": len(writer.waves[1]) * 3}


def test_what_is_equal_may_be_accepted_too() -> None:
    search, writer = gepa(accept="equal", select="best")
    for step in range(3):
        assert costs_of(search, writer) == {"waves": [[4, 1]], "rows": 4 * N}
        assert len(search.pool) == 1 + 4 * (step + 1)
    assert search.incumbent.text == START


def test_known_prompts_and_known_rows_cost_nothing() -> None:
    def script(request: Request, number: int) -> str:
        return f"<prompt>{('one', START)[request.seed % 2]}</prompt>"

    search, _ = gepa(script=script, n=8)
    for _ in range(12):
        made = search.step()
        assert made is not None and not made.tried
        # What failed on one minibatch may be tried on the next.
        assert {each["fate"] for each in made.details["proposals"]} <= {"lost"}
        assert {*made.details["dropped"]} <= {"same"}
    assert list(search.pool) == list(search.known) == [START]
    assert search.scorer.ledger.evaluations == 2 * 8


def test_a_prompt_without_a_mistake_leaves_nothing_to_do() -> None:
    search, writer = gepa(lambda words, question: True)
    assert costs_of(search, writer) is None and not writer.waves


def test_minibatches_without_a_mistake_ask_for_nothing() -> None:
    search, writer = gepa(lambda words, question: question != 7)
    for _ in range(5):
        cost = costs_of(search, writer)
        assert cost and 1 <= cost["waves"][0][0] <= 4
        assert cost["rows"] == 3 * cost["waves"][0][0]
    assert all("number 7 " in request.user for wave in writer.waves for request in wave)


def test_the_writer_sees_the_prompt_and_what_became_of_its_questions() -> None:
    search, writer = gepa(lambda words, question: question % 2 == 0, minibatch=4)
    made = search.step()
    assert made is not None
    for proposal, request in zip(made.details["proposals"], writer.waves[0], strict=True):
        assert proposal["parents"] == [START] and f"\n\n{START.strip()}\n\n" in request.user
        shown = [e for e in search.scorer.examples if f"Question: {e.question}\n" in request.user]
        assert len(shown) == 4
        for example in shown:
            right = example.row % 2 == 0
            assert (
                f"Question: {example.question}\nReasoning: I reason.\n"
                f"Answer: {'Yes' if right else 'No'}\nRight answer: Yes\n"
                f"Feedback: This answer is {'right' if right else 'wrong'}."
            ) in request.user


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 15))
def test_every_question_comes_once_before_any_comes_again(n: int, size: int) -> None:
    search, _ = gepa(n=n, minibatch=size)
    epochs = []
    for _ in range(3):
        batches = [search._minibatch()]
        while search.epoch:
            batches.append(search._minibatch())
        assert all(len(set(batch)) == len(batch) == min(n, size) for batch in batches)
        drawn = [number for batch in batches for number in batch]
        assert sorted(drawn[:n]) == list(range(n)) and len(drawn) - n < min(n, size)
        epochs.append(drawn)
    assert n < 8 or epochs[0] != epochs[1]


def defined_shares(costs: Sequence[Sequence[float]]) -> list[int]:
    """The definition, carried out one removal at a time."""
    rows = range(len(costs[0]))
    fronts = [
        {i for i in range(len(costs)) if costs[i][r] == min(c[r] for c in costs)} for r in rows
    ]
    left = set(range(len(costs)))
    while True:
        redundant = [i for i in left if all(front & left - {i} for front in fronts if i in front)]
        if not redundant:
            return [
                sum(i in front for front in fronts) if i in left else 0 for i in range(len(costs))
            ]
        left.remove(max(redundant, key=lambda i: (sum(costs[i]), i)))


@settings(max_examples=300, deadline=None)
@given(TABLES)
def test_shares_are_as_defined(costs: list[list[int]]) -> None:
    found = shares(costs)
    assert found == defined_shares(costs)
    kept = [own for own, share in zip(costs, found, strict=True) if share]
    for row, best in enumerate(map(min, zip(*costs, strict=True))):
        assert best in [own[row] for own in kept]


@pytest.mark.parametrize("seed", range(3))
def test_parents_are_drawn_in_proportion_to_their_shares(seed: int) -> None:
    rng = random.Random(seed)
    search, _ = gepa(n=20, seed=seed)
    pool = [[float(rng.random() < 0.7) for _ in range(20)] for _ in range(6)]
    pool.append([cost or float(rng.random() < 0.5) for cost in pool[0]])  # Redundant.
    search.pool = {f" {number}": costs for number, costs in enumerate(pool)}
    expected = defined_shares(list(search.pool.values()))
    assert 0 in expected and len(set(expected)) > 2
    drawn = Counter(search._parent() for _ in range(10_000))
    for text, share in zip(search.pool, expected, strict=True):
        assert (drawn[text] == 0) == (share == 0)
        assert drawn[text] / 10_000 == pytest.approx(share / sum(expected), abs=0.02)


def test_only_the_best_may_be_changed() -> None:
    search, _ = gepa(written_is_half_right, select="best")
    search.step()
    assert {search._parent() for _ in range(20)} == {search.incumbent.text} != {START}


@pytest.mark.parametrize("rule", [enough_words, own_word])
@pytest.mark.parametrize("seed", range(5))
def test_a_planted_rule_is_found(rule: Rule, seed: int) -> None:
    search, _ = gepa(rule, edited_words, seed=seed)
    assert search.initial.scored.objective > 0.8
    while search.incumbent.scored.objective > 0.1 and search.step():
        assert search.scorer.ledger.evaluations <= 16_000
    assert search.incumbent.scored == search.leaderboard.best.scored
    assert search.incumbent.scored.objective <= 0.1


def test_a_forced_resume_begins_with_the_best_prompts() -> None:
    search, _ = gepa(written_is_half_right)
    search.step()
    other, writer = gepa(written_is_half_right, minibatch=2)
    other.carry_over(search.state_dict())
    assert other.pool == search.pool and other.incumbent.text == search.incumbent.text
    assert (costs_of(other, writer) or {})["rows"] == 2 * len(writer.waves[0])


def test_a_file_takes_the_place_of_the_meta_prompt(tmp_path: Path) -> None:
    file = tmp_path / "reflect.txt"
    file.write_text("Change {prompt} after {examples}, please.")
    search, writer = gepa(reflect_file=str(file))
    search.step()
    assert writer.waves[0][0].user.startswith("Change think after Question: Is number")
    file.write_text("Change {prompt}.")
    with pytest.raises(InputError, match=r"lacks \{examples\}.*gepa\.reflect_file"):
        GepaSettings.default(reflect_file=str(file))


def test_a_pool_knows_what_every_model_answers(make_scorer: Any, make_model: Any) -> None:
    models = [make_model(seed=seed) for seed in range(2)]
    scorer = make_scorer(
        *models, decoding=Decoding(5, 4), objective="loss", nll_weight=0.0, written=True
    )
    writer = CountedWriter(ScriptedWriter(), WriterSettings.default(), scorer, ReplyLog(None))
    search = Gepa(GepaSettings.default(), scorer, Tools(random.Random(0), 10, writer=writer))
    search.start(PROMPT)
    while len(search.pool) < 3:
        assert search.step()
    for prompt in search.pool:
        expected = scorer.costs(prompt, [(0, 4), (0, 1), (1, 4), (1, 1)])
        assert search._costs(prompt, [4, 1]) == expected and len(set(expected)) == 4
