"""PE2: what each step asks and costs, which prompts it expands, and that it finds what was
planted."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from prompt_optimization.models.writers import Request
from prompt_optimization.optimizers.pe2.search import Pe2
from prompt_optimization.optimizers.pe2.settings import Pe2Settings
from tests.optimizers.text.planted import START, costs_of, different, edited_words, planted
from tests.writers import ScriptedWriter

N = 50


def half(words: set[str], question: int) -> bool:
    return question % 2 == 0


def nothing(words: set[str], question: int) -> bool:
    return False


def everything(words: set[str], question: int) -> bool:
    return True


def unless_solved(words: set[str], question: int) -> bool:
    return "solved" in words or half(words, question)


def pe2(rule: Any = half, script: Any = different, **settings: Any) -> tuple[Pe2, ScriptedWriter]:
    return planted(Pe2, Pe2Settings.default(**settings), rule=rule, script=script)


def kind(request: Request) -> str:
    for words, name in (("first step", "analyse"), ("second step", "rewrite")):
        if f"This is the {words}." in request.user:
            return name
    return "summarise"


def questions(request: Request) -> list[int]:
    return [int(number) for number in re.findall(r"Is number (\d+) right\?", request.user)]


@pytest.mark.parametrize("behaviour", ["sound", "published"])
@pytest.mark.parametrize("rule", [half, nothing])
def test_costs_of_every_step(rule: Any, behaviour: str) -> None:
    search, writer = pe2(rule, behaviour=behaviour)
    assert search.scorer.ledger.evaluations == N
    for prompts in (4, 16, 16):
        assert costs_of(search, writer) == {"waves": [[prompts, 1]] * 2, "rows": prompts * N}
    assert costs_of(search, writer) is None
    assert len(search.nodes) == 37
    for first, second in zip(writer.waves[::2], writer.waves[1::2], strict=True):
        assert {(kind(each), each.temperature, each.max_tokens) for each in first} == {
            ("analyse", 0.5, 1500)
        }
        assert {(kind(each), each.temperature, each.max_tokens) for each in second} == {
            ("rewrite", 0.7, 300)
        }


def test_history_costs_a_third_wave_but_in_the_last_step() -> None:
    search, writer = pe2(history=1)
    assert costs_of(search, writer) == {"waves": [[4, 1]] * 3, "rows": 4 * N}
    assert costs_of(search, writer) == {"waves": [[16, 1]] * 3, "rows": 16 * N}
    assert costs_of(search, writer) == {"waves": [[16, 1]] * 2, "rows": 16 * N}
    summary = writer.waves[2][0]
    assert (kind(summary), summary.temperature, summary.max_tokens) == ("summarise", 0.7, 200)


def test_duplicates_cost_no_rows_and_no_summary() -> None:
    search, writer = pe2(script=lambda request, number: "<prompt>one</prompt>", history=1)
    assert costs_of(search, writer) == {"waves": [[4, 1], [4, 1], [1, 1]], "rows": N}
    # Two prompts are there to be expanded; nothing comes of it.
    assert costs_of(search, writer) == {"waves": [[8, 1]] * 2, "rows": 0}


def test_an_analysis_sees_wrong_answers_and_its_prompt_the_same_ones() -> None:
    def script(request: Request, number: int) -> str:
        if kind(request) == "analyse":
            return f"finding {request.seed}"
        return different(request, number)

    search, writer = pe2(script=script, batch=3, max_words=20)
    for step in range(2):
        made = search.step()
        assert made is not None
        analyses, rewrites = writer.waves[2 * step : 2 * step + 2]
        for number, (analysis, rewrite) in enumerate(zip(analyses, rewrites, strict=True)):
            shown = questions(analysis)
            assert shown == questions(rewrite) == sorted({*shown}) and len(shown) == 3
            assert all(each % 2 for each in shown)
            prompt = made.details["expanded"][number // 4]
            for request in (analysis, rewrite):
                assert f"\n\n{prompt.strip()}\n\n" in request.user
                assert f"\n<question>{prompt}\n" in request.user
            assert f"finding {analysis.seed}" in rewrite.user and "at most 20 words" in rewrite.user
        assert len({tuple(questions(each)) for each in analyses}) > 1


def test_an_analysis_that_says_nothing_leads_to_no_prompt() -> None:
    def script(request: Request, number: int) -> str:
        return "<think>hm" if kind(request) == "analyse" else different(request, number)

    search, writer = pe2(script=script)
    made = search.step()
    assert made is not None and len(writer.waves) == made.details["waves"] == 1
    assert made.events == ("no usable reply (4 dropped: 4 empty)",) and not made.tried


def test_published_looks_for_wrong_answers_chunk_by_chunk() -> None:
    search, writer = pe2(behaviour="published")
    search.step()
    # Half of the answers are wrong, and four are enough: one chunk of ten, or two.
    shown = {number for request in writer.waves[0] for number in questions(request)}
    assert sorted(search.rows) == [*range(N)] and search.rows != [*range(N)]
    assert shown <= {*search.rows[:20]}
    search, writer = pe2(lambda words, question: question != 49, behaviour="published")
    assert costs_of(search, writer)["waves"] == [[4, 1]] * 2
    assert all(questions(request) == [49] for request in writer.waves[0])


@pytest.mark.parametrize("behaviour", ["sound", "published"])
def test_where_nothing_is_wrong_there_is_nothing_to_do(behaviour: str) -> None:
    search, writer = pe2(everything, behaviour=behaviour)
    assert costs_of(search, writer) is None and not writer.waves


def solving() -> Any:
    """Of a step's prompts the first one makes no mistake."""
    numbers = count()

    def script(request: Request, number: int) -> str:
        if kind(request) == "analyse":
            return "a finding"
        mark = "" if next(numbers) % 4 else "solved "
        return f"<prompt>{mark}{request.seed}</prompt>"

    return script


def test_the_next_best_takes_the_place_of_a_prompt_without_a_mistake() -> None:
    search, _ = pe2(unless_solved, solving(), beam=2)
    made = search.step()
    assert made is not None and made.accepted and "solved" in search.incumbent.text
    plain = [each.text for each in search.nodes.values() if "solved" not in each.text]
    made = search.step()
    assert made is not None and made.details["expanded"] == plain[:2]
    assert "solved" in search.incumbent.text and search.incumbent.step == 0


def test_published_ends_with_a_prompt_without_a_mistake() -> None:
    search, writer = pe2(unless_solved, solving(), behaviour="published")
    assert costs_of(search, writer) is not None and costs_of(search, writer) is None


def better_than_its_parent() -> Any:
    """The first prompts are better than all that follow."""

    def script(request: Request, number: int) -> str:
        if kind(request) != "rewrite":
            return f"change {request.seed}"
        first = f"\n\n{START.strip()}\n\n" in request.user
        return f"<prompt>{'good' if first else 'bad'} {request.seed}</prompt>"

    return script


def good_or_bad(words: set[str], question: int) -> bool:
    return question >= (20 if "good" in words else 40 if "bad" in words else 30)


@pytest.mark.parametrize(("backtrack", "mark"), [(True, "good"), (False, "bad")])
def test_the_beam_comes_from_all_prompts_or_the_latest(backtrack: bool, mark: str) -> None:
    search, _ = pe2(good_or_bad, better_than_its_parent(), beam=3, backtrack=backtrack)
    assert search.step() and search.step()
    good = {each.text for each in search.nodes.values() if "good" in each.text}
    made = search.step()
    assert made is not None
    expanded = made.details["expanded"]
    assert len(expanded) == 3 and all(mark in text for text in expanded)
    assert search.incumbent.text in good and search.incumbent.scored.wrong == 0.4


def test_history_shows_earlier_versions_with_their_scores_and_changes() -> None:
    search, writer = pe2(
        good_or_bad, better_than_its_parent(), beam=1, expand=1, backtrack=False, history=1
    )
    for _ in range(3):
        search.step()
    first, second, third = (wave[0].user for wave in writer.waves if kind(wave[0]) == "rewrite")
    _, good, bad, _ = search.nodes.values()
    start = f"Instruction: {START.strip()}\nScore: 40 of 100"
    good_version = f"Instruction: {good.text.strip()}\nChange: {good.change}\nScore: 60 of 100"
    bad_version = f"Instruction: {bad.text.strip()}\nChange: {bad.change}\nScore: 20 of 100"
    assert good.change.startswith("change ") and start in first
    assert f"{start}\n\n{good_version}" in second
    assert f"{good_version}\n\n{bad_version}" in third and start not in third


def edited(request: Request, number: int) -> str:
    """The prompt stands twice in a request, once by itself."""
    user = re.sub(r"<question>.*", "", request.user)
    return edited_words(replace(request, user=user), number)


@pytest.mark.parametrize("behaviour", ["sound", "published"])
def test_a_planted_rule_is_found(behaviour: str) -> None:
    for seed in range(5):
        own = Pe2Settings.default(behaviour=behaviour, rounds=6)
        search, _ = planted(Pe2, own, script=edited, seed=seed)
        best = search.initial.scored.order
        while made := search.step():
            assert made.incumbent.scored.order <= best
            best = made.incumbent.scored.order
        assert search.incumbent.scored.wrong <= 0.34 < search.initial.scored.wrong


def test_a_search_goes_on_where_its_state_was_taken() -> None:
    settings = {"behaviour": "published", "history": 2}
    search, writer = pe2(**settings)
    search.step()
    state, chance = search.state_dict(), search.tools.rng.getstate()
    expected = [search.step() for _ in range(3)]
    other, again = pe2(**settings)
    other.load_state_dict(state)
    other.tools.rng.setstate(chance)
    assert [other.step() for _ in range(3)] == expected and expected[-1] is None
    assert again.waves == writer.waves[3:] and other.state_dict() == search.state_dict()


def test_a_forced_resume_begins_anew_with_the_best() -> None:
    search, _ = pe2()
    search.step()
    other, writer = pe2(beam=2)
    other.carry_over(search.state_dict())
    assert other.made_rounds == 0 and other.nodes.keys() == search.nodes.keys()
    assert costs_of(other, writer) == {"waves": [[8, 1]] * 2, "rows": 8 * N}
