"""TextGrad: what each step asks and costs, which answers it looks at, and that it finds what was
planted."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from prompt_optimization.models.role_settings import WriterSettings
from prompt_optimization.models.writers import Request
from prompt_optimization.optimizers.textgrad.search import TextGrad
from prompt_optimization.optimizers.textgrad.settings import TextGradSettings
from tests.optimizers.text.planted import START, VOCABULARY, costs_of, different, planted
from tests.writers import ScriptedWriter

N = 50


def half(words: set[str], question: int) -> bool:
    return question % 2 == 0


def nothing(words: set[str], question: int) -> bool:
    return False


def everything(words: set[str], question: int) -> bool:
    return True


def but_one(words: set[str], question: int) -> bool:
    return question != 7


def textgrad(
    rule: Any = nothing, script: Any = different, writer: Any = None, **settings: Any
) -> tuple[TextGrad, ScriptedWriter]:
    own = TextGradSettings.default(**settings)
    return planted(TextGrad, own, rule=rule, script=script, writer=writer)


def updates(request: Request) -> bool:
    return "It got this feedback:" in request.user


def questions(request: Request) -> list[int]:
    return [int(number) for number in re.findall(r"Is number (\d+) right\?", request.user)]


@pytest.mark.parametrize(
    ("settings", "waves"),
    [
        ({}, [[3, 1], [3, 1], [1, 1]]),
        ({"behaviour": "published"}, [[3, 1], [3, 1], [1, 1]]),
        ({"hops": 1}, [[3, 1], [1, 1]]),
        ({"memory": 2}, [[3, 1], [3, 1], [1, 1]]),
        ({"batch": 60}, [[50, 1], [50, 1], [1, 1]]),
    ],
    ids=str,
)
def test_costs_of_every_step(settings: dict[str, Any], waves: list[list[int]]) -> None:
    search, writer = textgrad(**settings)
    assert search.scorer.ledger.evaluations == N
    for _ in range(12):
        assert costs_of(search, writer) == {"waves": waves, "rows": N}
    assert costs_of(search, writer) is None
    asked = {(each.temperature, each.max_tokens) for wave in writer.waves for each in wave}
    assert asked == {(0.0, 2000)}


def test_an_epoch_goes_through_all_questions_in_one_order() -> None:
    search, writer = textgrad(steps=34)
    while search.step():
        pass
    shown = [number for wave in writer.waves[::3] for each in wave for number in questions(each)]
    assert shown == 2 * search.order and sorted(search.order) == [*range(N)]
    assert search.order != [*range(N)]
    # The last batch of an epoch is what is left.
    assert [len(wave) for wave in writer.waves[::3]] == 2 * (16 * [3] + [2])


def test_published_takes_four_batches_of_an_order_and_shuffles_again() -> None:
    search, writer = textgrad(behaviour="published")
    epochs: list[list[int]] = []
    while search.step():
        if search.made_rounds % 4 == 0:
            epochs.append(search.order[:12])
    shown = [number for wave in writer.waves[::3] for each in wave for number in questions(each)]
    assert shown == [number for epoch in epochs for number in epoch]
    assert len(epochs) == 3 == len({*map(tuple, epochs)})


def test_only_wrong_answers_get_feedback_and_batches_without_any_are_skipped() -> None:
    search, writer = textgrad(but_one)
    for _ in range(2):
        assert costs_of(search, writer) == {"waves": [[1, 1]] * 3, "rows": N}
    assert all(questions(request) == [7] for wave in writer.waves for request in wave)
    search, writer = textgrad(half)
    while search.step():
        pass
    sizes = [len(wave) for wave in writer.waves[::3]]
    assert {*sizes} <= {1, 2, 3} and len({*sizes}) > 1
    assert all(number % 2 for wave in writer.waves for each in wave for number in questions(each))


def test_published_criticises_right_answers_too() -> None:
    search, writer = textgrad(everything, behaviour="published")
    assert costs_of(search, writer) == {"waves": [[3, 1], [3, 1], [1, 1]], "rows": N}
    assert all("This answer is right." in request.user for request in writer.waves[0])


@pytest.mark.parametrize("settings", [{}, {"epoch": 4}], ids=str)
def test_where_nothing_is_wrong_there_is_nothing_to_do(settings: dict[str, Any]) -> None:
    search, writer = textgrad(everything, **settings)
    assert costs_of(search, writer) is None and not writer.waves


def test_feedback_flows_from_the_answers_to_the_prompt_and_into_the_update() -> None:
    def script(request: Request, number: int) -> str:
        return different(request, number) if updates(request) else f"reply {request.seed}"

    search, writer = textgrad(script=script)
    search.step()
    on_answers, on_prompt, (update,) = writer.waves
    for answer, prompt in zip(on_answers, on_prompt, strict=True):
        assert len(questions(answer)) == 1 and questions(answer) == questions(prompt)
        assert "This answer is wrong." in answer.user and START.strip() not in answer.user
        assert f"\n\n{START.strip()}\n\n" in prompt.user
        assert f"reply {answer.seed}" in prompt.user
        assert f"Feedback: reply {prompt.seed}" in update.user
    assert questions(update) == [number for each in on_answers for number in questions(each)]
    assert f"\n\n{START.strip()}\n\n" in update.user and "earlier step" not in update.user


def test_memory_shows_the_feedback_of_the_latest_steps() -> None:
    def script(request: Request, number: int) -> str:
        return different(request, number) if updates(request) else f"reply {request.seed}"

    search, writer = textgrad(script=script, memory=2, hops=1, batch=1)
    for _ in range(4):
        search.step()
    replies = [f"reply {wave[0].seed}" for wave in writer.waves[::2]]
    update = writer.waves[-1][0].user
    assert replies[0] not in update
    earlier = "\n\n".join(f"Feedback in an earlier step:\n{each}" for each in replies[1:3])
    assert f"Feedback: {replies[3]}\n\n{earlier}\n\n" in update


def test_feedback_that_says_nothing_is_left_out() -> None:
    search, writer = textgrad(script=lambda request, number: "<think>hm")
    made = search.step()
    assert made is not None and len(writer.waves) == made.details["waves"] == 1
    assert made.details["dropped"] == {"empty": 3} and not made.tried

    def script(request: Request, number: int) -> str:
        silent = "This answer is wrong." in request.user and request.seed % 2
        return "" if silent else different(request, number)

    search, writer = textgrad(script=script, batch=20)
    search.step()
    said = sum(request.seed % 2 == 0 for request in writer.waves[0])
    assert 0 < said < 20 and len(writer.waves[1]) == said and len(writer.waves[2]) == 1


def test_an_update_without_tags_is_asked_for_again_and_hotter() -> None:
    def script(request: Request, number: int) -> str:
        return "no tags" if request.temperature == 0 else different(request, number)

    search, writer = textgrad(script=script, writer=WriterSettings.default(), hops=1)
    made = search.step()
    assert made is not None and made.details["dropped"] == {"untagged": 1}
    assert [request.temperature for request in writer.waves[1] + writer.waves[2]] == [0.0, 0.7]
    assert len(writer.waves) == 3 and len(made.tried) == 1


def test_a_known_prompt_costs_no_rows() -> None:
    search, writer = textgrad(script=lambda request, number: f"<prompt>{START}</prompt>")
    assert costs_of(search, writer) == {"waves": [[3, 1], [3, 1], [1, 1]], "rows": 0}


@pytest.mark.parametrize(
    ("settings", "accepted"),
    [({}, False), ({"accept": "equal"}, True), ({"behaviour": "published"}, True)],
    ids=str,
)
def test_an_update_that_is_as_good_is_kept_where_that_is_enough(
    settings: dict[str, Any], accepted: bool
) -> None:
    search, _ = textgrad(half, **settings)
    made = search.step()
    assert made is not None and made.accepted is accepted
    assert (search.incumbent.text == START) is not accepted


@pytest.mark.parametrize("behaviour", ["sound", "published"])
def test_a_worse_update_is_not_kept(behaviour: str) -> None:
    search, _ = textgrad(
        lambda words, question: question % 2 == 0 and "think" in words, behaviour=behaviour
    )
    made = search.step()
    assert made is not None and not made.accepted and search.incumbent.text == START
    assert made.details["proposals"][0]["fate"] == "scored"


def more_words(request: Request, number: int) -> str:
    """The prompt of the request with some words more."""
    if not updates(request):
        return "It is too short."
    words = re.findall(r"\bw\d\d\b", request.user)
    more = random.Random(request.seed).sample(VOCABULARY, 4)
    return f"<prompt>{' '.join([*words, *more])}</prompt>"


@pytest.mark.parametrize("behaviour", ["sound", "published"])
def test_a_planted_rule_is_found(behaviour: str) -> None:
    for seed in range(5):
        own = TextGradSettings.default(behaviour=behaviour)
        search, _ = planted(TextGrad, own, script=more_words, seed=seed)
        wrong = [search.initial.scored.wrong]
        while made := search.step():
            wrong.append(made.incumbent.scored.wrong)
        assert wrong == sorted(wrong, reverse=True) and wrong[-1] <= 0.34 < wrong[0]


@pytest.mark.parametrize("settings", [{}, {"behaviour": "published", "memory": 2}], ids=str)
def test_a_search_goes_on_where_its_state_was_taken(settings: dict[str, Any]) -> None:
    search, writer = textgrad(half, steps=7, **settings)
    for _ in range(2):
        search.step()
    state, chance = search.state_dict(), search.tools.rng.getstate()
    before, expected = len(writer.waves), [search.step() for _ in range(6)]
    other, again = textgrad(half, steps=7, **settings)
    other.load_state_dict(state)
    other.tools.rng.setstate(chance)
    assert [other.step() for _ in range(6)] == expected and expected[-1] is None
    assert again.waves == writer.waves[before:] and other.state_dict() == search.state_dict()


def test_a_forced_resume_begins_anew_with_the_best() -> None:
    search, _ = textgrad(half, memory=1)
    search.step()
    other, _ = textgrad(half, memory=1)
    other.carry_over(search.state_dict())
    assert (other.made_rounds, other.position, other.past) == (0, 0, search.past)
    assert other.incumbent.text == search.incumbent.text
