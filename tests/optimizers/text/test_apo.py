"""APO: what each step asks and costs, and that it finds what was planted."""

from __future__ import annotations

import re
from typing import Any

import pytest

from prompt_optimization.models.writers import Request
from prompt_optimization.optimizers.apo.search import Apo
from prompt_optimization.optimizers.apo.settings import ApoSettings
from tests.optimizers.text.planted import START, costs_of, different, planted
from tests.writers import ScriptedWriter


def half(words: set[str], question: int) -> bool:
    """Whatever the prompt."""
    return question % 2 == 0


def nothing(words: set[str], question: int) -> bool:
    return False


def everything(words: set[str], question: int) -> bool:
    return True


def apo(rule: Any = half, script: Any = different, **settings: Any) -> tuple[Apo, ScriptedWriter]:
    return planted(Apo, ApoSettings.default(**settings), rule=rule, script=script)


@pytest.mark.parametrize("rule", [half, nothing])
def test_costs_of_every_step(rule: Any) -> None:
    search, writer = apo(rule)
    assert costs_of(search, writer) == {"waves": [[4, 1]] * 3, "rows": 8 * 50}
    for _ in range(5):
        assert costs_of(search, writer) == {"waves": [[16, 1]] * 3, "rows": 32 * 50}
    assert costs_of(search, writer) is None


def test_published_costs() -> None:
    search, writer = apo(behaviour="published")
    # 14 new prompts from each of the beam, of which 8 are scored: 36 x 50 rows are below 2,048.
    waves = [[4, 1], [4, 1], [5, 2]]
    assert costs_of(search, writer) == {"waves": waves, "rows": 8 * 50}
    for _ in range(5):
        waves = [[16, 1], [16, 1], [20, 2]]
        assert costs_of(search, writer) == {"waves": waves, "rows": 32 * 50}
    assert costs_of(search, writer) is None


@pytest.mark.parametrize("behaviour", ["sound", "published"])
def test_costs_of_the_variant_of_pe2(behaviour: str) -> None:
    search, writer = apo(variant="pe2", behaviour=behaviour, race="full")
    assert costs_of(search, writer) == {"waves": [[4, 1]] * 2, "rows": 4 * 50}
    for _ in range(2):
        assert costs_of(search, writer) == {"waves": [[16, 1]] * 2, "rows": 16 * 50}
    assert costs_of(search, writer) is None
    for number, wave in enumerate(writer.waves):
        assert {request.temperature for request in wave} == {(0.7, 0.0)[number % 2]}
        words = ("Give up to 5 reasons", "at most 50 words")[number % 2]
        assert all(words in request.user for request in wave)


def test_of_too_many_chance_takes_some() -> None:
    search, writer = apo(paraphrases=3, expansion=5)
    assert costs_of(search, writer) == {"waves": [[4, 1], [4, 1], [4, 3]], "rows": 5 * 50}
    made = search.step()
    assert made is not None
    assert made.details["dropped"] == {"surplus": 4 * (16 - 5)} and len(made.tried) == 20


def test_duplicates_cost_nothing_within_a_step_either() -> None:
    def script(request: Request, number: int) -> str:
        return "<prompt>one</prompt>"

    search, writer = apo(script=script)
    assert costs_of(search, writer) == {"waves": [[4, 1], [4, 1], [1, 1]], "rows": 50}
    made = search.step()
    # Two prompts in the beam, which are criticised; nothing is new that could be paraphrased.
    assert made is not None and made.details["dropped"] == {"same": 8}


def test_where_nothing_is_wrong_the_prompt_is_paraphrased() -> None:
    search, writer = apo(everything)
    assert costs_of(search, writer) == {"waves": [[1, 1]], "rows": 50}
    assert START.strip() in writer.waves[0][0].user
    assert costs_of(search, writer) == {"waves": [[2, 1]], "rows": 2 * 50}


def test_the_variant_of_pe2_ends_where_nothing_is_wrong() -> None:
    search, writer = apo(everything, variant="pe2")
    assert search.beam == [] and costs_of(search, writer) is None


def test_a_solved_prompt_makes_room_in_the_variant_of_pe2() -> None:
    def rule(words: set[str], question: int) -> bool:
        return "solved" in words or half(words, question)

    def script(request: Request, number: int) -> str:
        mark = "solved" if request.seed % 2 else ""
        return f"<prompt>{mark} {request.seed}</prompt>"

    search, _ = apo(rule, script, variant="pe2")
    for _ in range(3):
        search.step()
        assert search.beam and not any("solved" in prompt for prompt in search.beam)
    assert "solved" in search.incumbent.text and search.incumbent.scored.wrong == 0


def questions(request: Request) -> list[int]:
    return [int(number) for number in re.findall(r"Is number (\d+) right\?", request.user)]


@pytest.mark.parametrize("minibatch", [0, 10])
def test_a_criticism_sees_wrong_answers_and_its_edit_the_same_ones(minibatch: int) -> None:
    def script(request: Request, number: int) -> str:
        text = f"reason {request.seed}" if "Do not write" in request.user else ""
        return text or different(request, number)

    search, writer = apo(script=script, minibatch=minibatch)
    for step in range(2):
        beam = list(search.beam)
        made = search.step()
        reasons, edits, paraphrases = writer.waves[3 * step :]
        for number, (asked, edit) in enumerate(zip(reasons, edits, strict=True)):
            shown = questions(asked)
            assert shown and all(each % 2 for each in shown) and len({*shown}) == len(shown) <= 4
            assert shown == questions(edit) and shown == sorted(shown)
            prompt = beam[number // 4].strip()
            assert all(f"\n\n{prompt}\n\n" in each.user for each in (asked, edit))
            assert f"reason {asked.seed}" in edit.user and "any length" in edit.user
        if minibatch:
            assert len({each for asked in reasons for each in questions(asked)}) <= minibatch
        else:
            assert len({tuple(questions(asked)) for asked in reasons}) > 1
        assert made is not None
        written = [each for each in made.details["proposals"] if each["operator"] == "edit"]
        assert all(
            any(f"\n\n{each['prompt'].strip()}\n\n" in asked.user for asked in paraphrases)
            for each in written
        )


def test_criticisms_that_say_nothing_lead_to_no_edit() -> None:
    def script(request: Request, number: int) -> str:
        return "<think>hm" if "Do not write" in request.user else different(request, number)

    search, writer = apo(script=script)
    made = search.step()
    assert made is not None and len(writer.waves) == 1 and not made.tried
    assert made.events == ("no usable reply (4 dropped: 4 empty)",)


@pytest.mark.parametrize(
    ("settings", "degrees"),
    [
        ({}, 2),
        ({"behaviour": "published"}, 2),
        ({"race": "rejects"}, 2),
        ({"variant": "pe2", "rounds": 6}, 3),
    ],
    ids=str,
)
def test_a_planted_rule_is_found(settings: dict[str, Any], degrees: int) -> None:
    for seed in range(3):
        search, _ = planted(Apo, ApoSettings.default(**settings), questions=24, seed=seed)
        while search.step() and search.incumbent.scored.wrong:
            assert len(search.beam) <= 4 and search.beam[0] == search.incumbent.text
        # A sixth of the questions needs each of the five words, and a sixth none.
        assert search.initial.scored.wrong == 20 / 24
        assert search.incumbent.scored.wrong <= degrees / 6


def test_a_forced_resume_begins_anew_with_the_best() -> None:
    search, _ = apo()
    search.step()
    other, writer = apo(beam=2)
    other.carry_over(search.state_dict())
    assert other.beam == search.beam[:2] and other.made_rounds == 0
    assert costs_of(other, writer)["waves"] == [[8, 1]] * 3
