"""EvoPrompt: the start population, the two algorithms, and what a generation costs."""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.models.writers import Request
from prompt_optimization.optimizers.evoprompt.search import EvoPrompt
from prompt_optimization.optimizers.evoprompt.settings import EvoPromptSettings
from prompt_optimization.scoring.scorer import Scored
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
HIDDEN_IN_ORDER = sorted(HIDDEN)


def half(words: set[str], question: int) -> bool:
    """Whatever the prompt."""
    return question % 2 == 0


def few_words(words: set[str], question: int) -> bool:
    """Enough of the hidden words, and not too many words."""
    return enough_words(words, question) and len(words) <= 7


def evoprompt(
    rule: Rule = half, script: Script = different, *, seed: int = 0, **changes: Any
) -> tuple[EvoPrompt, ScriptedWriter]:
    settings = EvoPromptSettings.default(**changes)
    return planted(EvoPrompt, settings, rule=rule, script=script, questions=N, seed=seed)


def shown(request: Request) -> list[str]:
    """The prompts that a request shows, each as a prompt."""
    parts = request.user.partition("Now your instructions:")[2]
    return [f" {text}" for text in re.findall(r"instruction(?: [AB])?: (.*)", parts, re.IGNORECASE)]


def one_of_them_edited(request: Request, number: int) -> str:
    """An edit of one of the prompts that a request shows."""
    texts = shown(request) or [request.user]
    chosen = random.Random(f"{request.seed}").choice(texts)
    return edited_words(Request(f"Edit {chosen} <prompt>", seed=request.seed), number)


@pytest.mark.parametrize("algorithm", ["de", "ga"])
@pytest.mark.parametrize("behaviour", ["sound", "published"])
def test_costs_of_every_step(algorithm: str, behaviour: str) -> None:
    search, writer = evoprompt(algorithm=algorithm, behaviour=behaviour)
    assert costs_of(search, writer) == {"waves": [[19, 1]], "rows": 19 * N}
    assert costs_of(search, writer) == {"waves": [[5, 1]], "rows": 5 * N}
    assert EvoPrompt.first_round(search.settings, N, 1) == search.scorer.ledger.evaluations
    by_itself = algorithm == "de" and behaviour == "published"
    waves = [[1, 1]] * 10 if by_itself else [[10, 1]]
    for generation in range(10):
        assert costs_of(search, writer) == {"waves": waves, "rows": 10 * N}
        assert search.generation == generation + 1 and len(search.population) == 10
    assert costs_of(search, writer) is None
    assert search.scorer.ledger.evaluations == (25 + 10 * 10) * N
    temperatures = [{request.temperature for request in wave} for wave in writer.waves]
    assert temperatures[0] == {0.9} and all(each == {0.5} for each in temperatures[1:])


def test_the_start_population_is_guessed_from_questions_and_paraphrased() -> None:
    def rule(words: set[str], question: int) -> bool:
        """Prompts differ in what they are worth."""
        return question < sum(map(len, words)) * 2 % N

    search, writer = evoprompt(rule, demos=3)
    search.step()
    asked = [
        {e.row for e in search.scorer.examples if f"Question: {e.question}\nAnswer:" in each.user}
        for each in writer.waves[0]
    ]
    assert {len(rows) for rows in asked} == {3} and len(set(map(frozenset, asked))) > 10
    ranked = [scored.text for scored in search.population]
    assert ranked == [entry.text for entry in search.leaderboard.entries] and len(ranked) == 10
    made = search.step()
    assert made is not None
    assert [each["parents"] for each in made.details["proposals"]] == [
        [text] for text in ranked[:5]
    ]
    assert made.details["population"] == ranked[:5] + [each.scored.text for each in made.tried]


def test_known_prompts_cost_nothing_and_leave_no_gap() -> None:
    def script(request: Request, number: int) -> str:
        return f"<prompt>prompt {request.seed % 12}</prompt>"

    search, writer = evoprompt(script=script)
    first = costs_of(search, writer)
    assert first and first["rows"] < 13 * N
    for _ in range(4):
        search.step()
    assert search.scorer.ledger.evaluations == len(search.known) * N <= 13 * N
    assert len({scored.text for scored in search.population}) == 10


def test_too_few_prompts_are_asked_for_again() -> None:
    texts = iter(["one"] * 7 + ["two", "three"] * 3)
    search, writer = evoprompt(
        script=lambda request, number: f"<prompt>{next(texts)}</prompt>", population=4
    )
    assert costs_of(search, writer) == {"waves": [[7, 1]], "rows": N}
    assert costs_of(search, writer) == {"waves": [[6, 1]], "rows": 2 * N}
    assert [scored.text for scored in search.population] == [START, " one", " two", " three"]


def test_a_writer_with_nothing_new_ends_the_search_in_peace() -> None:
    search, _ = evoprompt(script=lambda request, number: "<prompt>one</prompt>")
    made = 0
    while search.step():
        made += 1
    assert 1 < made < 10 and len(search.population) == 2


def test_a_child_of_de_takes_the_place_of_a_parent_that_is_worse() -> None:
    search, writer = evoprompt(few_words, one_of_them_edited, seed=1)
    for _ in range(2):
        search.step()
    replaced = 0
    for _ in range(8):
        before = list(search.population)
        best = search.incumbent.text
        made = search.step()
        assert made is not None
        children = {each.scored.text: each.scored for each in made.tried}
        for each in made.details["proposals"]:
            old, a, b, c = each["parents"]
            texts = [scored.text for scored in before]
            assert len({old, a, b}) == 3 and {old, a, b} <= {*texts} and c == best
            place = texts.index(old)
            child = children[each["prompt"]]
            better = child.order < before[place].order
            assert search.population[place] == (child if better else before[place])
            replaced += better
        assert {shown(request)[2] for request in writer.waves[-1]} == {best}
    assert replaced > 5


@pytest.mark.parametrize(("one_wave", "bests"), [(True, 1), (False, 4)])
def test_the_best_stays_the_same_within_a_wave(one_wave: bool, bests: int) -> None:
    def script(request: Request, number: int) -> str:
        """One more of the hidden words than the best prompt has."""
        if not shown(request):
            return different(request, number)
        words = shown(request)[2].split()
        return f"<prompt>{' '.join(HIDDEN_IN_ORDER[: 1 + len(HIDDEN & {*words})])}</prompt>"

    search, writer = evoprompt(enough_words, script, population=4, one_wave=one_wave)
    for _ in range(3):
        search.step()
    waves = writer.waves[2:]
    assert len(waves) == (1 if one_wave else 4)
    assert len({shown(request)[2] for wave in waves for request in wave}) == bests


def test_the_best_of_parents_and_children_survive_under_ga() -> None:
    search, _ = evoprompt(few_words, one_of_them_edited, algorithm="ga")
    for _ in range(2):
        search.step()
    for _ in range(5):
        before = list(search.population)
        made = search.step()
        assert made is not None
        both = [*before, *(each.scored for each in made.tried)]
        assert search.population == sorted(both, key=lambda scored: scored.order)[:10]
        for each in made.details["proposals"]:
            assert {*each["parents"]} <= {scored.text for scored in before}


def members(search: EvoPrompt) -> list[Scored]:
    """A population that is right on 0, 10, 30 and 0 of 50 questions."""
    search.population = search.score([" a", " b", " c", " d"])
    return search.population


def rights(words: set[str], question: int) -> bool:
    return question < 10 * ("b" in words) + 30 * ("c" in words)


def drawn(search: EvoPrompt) -> Counter[str]:
    return Counter(search._drawn(10_000))


def test_the_wheel_draws_in_proportion_to_the_scores() -> None:
    search, _ = evoprompt(rights, algorithm="ga")
    members(search)
    found = drawn(search)
    assert found.keys() == {" b", " c"}
    assert found[" c"] / 10_000 == pytest.approx(0.75, abs=0.02)


def test_the_wheel_is_fair_when_nothing_is_right() -> None:
    search, _ = evoprompt(lambda words, question: False, algorithm="ga")
    members(search)
    found = drawn(search)
    assert all(found[text] / 10_000 == pytest.approx(0.25, abs=0.02) for text in (" a", " d"))


@pytest.mark.parametrize(
    ("selection", "expected"),
    # Of two different members the better one: the best in 3 of 6 cases, the next in 2 of 6.
    [("tournament", {" c": 1 / 2, " b": 1 / 3}), ("random", {" c": 1 / 4, " b": 1 / 4})],
)
def test_other_selections(selection: str, expected: dict[str, float]) -> None:
    search, _ = evoprompt(rights, algorithm="ga", selection=selection)
    members(search)
    found = drawn(search)
    for text, share in expected.items():
        assert found[text] / 10_000 == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("algorithm", ["de", "ga"])
@pytest.mark.parametrize("right", [True, False])
def test_all_right_and_all_wrong(algorithm: str, right: bool) -> None:
    search, writer = evoprompt(lambda words, question: right, algorithm=algorithm)
    for _ in range(4):
        made = search.step()
        assert made is not None and not made.accepted
    assert search.incumbent.text == START
    assert len(writer.waves[-1]) == 10


@pytest.mark.parametrize("algorithm", ["de", "ga"])
@pytest.mark.parametrize("seed", range(5))
def test_a_planted_rule_is_found(algorithm: str, seed: int) -> None:
    search, _ = evoprompt(
        few_words, one_of_them_edited, seed=seed, algorithm=algorithm, generations=0
    )
    assert search.initial.scored.objective > 0.8
    while search.incumbent.scored.objective > 0.1 and search.step():
        assert search.scorer.ledger.evaluations <= 16_000
    assert search.incumbent.scored == search.leaderboard.best.scored
    assert search.incumbent.scored.objective <= 0.1


def test_a_forced_resume_continues_with_the_best_prompts() -> None:
    search, _ = evoprompt(few_words, one_of_them_edited)
    for _ in range(4):
        search.step()
    other, writer = evoprompt(few_words, one_of_them_edited, population=6)
    other.carry_over(search.state_dict())
    best = [entry.text for entry in search.leaderboard.entries]
    assert [scored.text for scored in other.population] == best[:6]
    other.step()
    assert other.generation == 3 and len(writer.waves[0]) == 6
    shorter, _ = evoprompt(generations=1)
    shorter.carry_over(search.state_dict())
    assert shorter.step() is None


def test_a_population_that_cannot_differ_is_refused() -> None:
    with pytest.raises(InputError, match=r"at least 4.*evoprompt\.population"):
        EvoPromptSettings.default(population=3)
