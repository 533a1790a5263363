"""The loop on a tiny model: laws that every step keeps, under every rule."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from prompt_optimization.models.engine import Decoding
from prompt_optimization.models.samples import Samples
from prompt_optimization.optimizers import stoppers
from prompt_optimization.optimizers.greater.differentiate import LossWeights
from prompt_optimization.optimizers.greater.search import GreaterSearch, Step
from prompt_optimization.optimizers.greater.settings import BEHAVIOURS, SearchSettings

PROMPT = " proper logical reasoning and think step by step."


def settings_for(behaviour: str = "sound", **changes: Any) -> SearchSettings:
    keys: dict[str, Any] = {
        "steps": 12,
        "topk": 20,
        "topq": 4,
        "gradient": LossWeights(),
        "decoding": Decoding(5),
        "progressive": False,
        **BEHAVIOURS[behaviour],
        "objective": "loss",
    }
    return SearchSettings(**(keys | changes))


@pytest.fixture
def make_search(make_model: Any, make_team: Any) -> Any:
    def make(
        settings: SearchSettings, prompt: str = PROMPT, n: int = 6, family: str = "llama-3"
    ) -> GreaterSearch:
        return GreaterSearch([make_team(make_model(family), n, prompt)], prompt, settings)

    return make


def without_times(step: Step) -> Step:
    return dataclasses.replace(step, seconds={}, busy=())


def check_text_is_truth(samples: Samples, step: Step) -> None:
    for scored in [step.incumbent, *(c.scored for c in step.candidates)]:
        if scored.text.endswith("_"):
            continue
        for sample, example in enumerate(samples.examples):
            (head,) = samples.layout.heads([example.question], scored.text)
            assert head.question == samples.questions[sample]
            assert head.prompt == scored.ids


def test_every_prompt_is_its_text(make_search: Any, family: str) -> None:
    search = make_search(settings_for(accept="anneal"), family=family)
    steps = list(search.run())
    assert len(steps) == 12 and any(step.accepted for step in steps)
    for step in steps:
        check_text_is_truth(search.samples, step)


def test_improving_never_raises_the_objective(make_search: Any) -> None:
    search = make_search(settings_for(accept="improve", steps=20))
    before = search.begin().evaluation.objective
    for step in search.run():
        now = step.incumbent.evaluation.objective
        assert now < before if step.accepted else now == before
        if step.accepted:
            assert step.incumbent == step.candidates[step.chosen].scored
        before = now
    assert search.state.best[0].evaluation.objective <= before
    ranks = [scored.rank for scored in search.state.best]
    assert ranks == sorted(ranks) and len({scored.ids for scored in search.state.best}) == len(
        ranks
    )


def test_the_same_seed_gives_the_same_run(make_search: Any) -> None:
    settings = settings_for(accept="anneal", steps=8)
    first, second = (list(make_search(settings).run()) for _ in range(2))
    assert [without_times(s) for s in first] == [without_times(s) for s in second]
    other = list(make_search(dataclasses.replace(settings, seed=1)).run())
    assert [s.proposals for s in other] != [s.proposals for s in first]


def test_ablations_change_what_they_name_and_cost_the_same(make_search: Any) -> None:
    settings = settings_for(accept="improve", steps=1)
    (plain,) = make_search(settings).run()
    likeliest = dataclasses.replace(settings, shortlist="proposal")
    (by_proposal,) = make_search(likeliest).run()
    assert by_proposal.proposals == plain.proposals and by_proposal.gradients == plain.gradients
    assert [c.token for c in by_proposal.candidates] == list(plain.proposals[:3])
    drawn = {
        tuple(c.token for c in step.candidates)
        for seed in range(3)
        for step in make_search(dataclasses.replace(settings, shortlist="random", seed=seed)).run()
    }
    assert len(drawn) > 1 and all(len(tokens) == 3 for tokens in drawn)
    direct = dataclasses.replace(settings, reasoning_gradient=False)
    (without,) = make_search(direct).run()
    assert without.proposals == plain.proposals and without.gradients != plain.gradients


def test_nothing_is_evaluated_twice(make_search: Any) -> None:
    search = make_search(settings_for("published", steps=14))
    asked: list[tuple[Any, int]] = []
    (team,) = search.teams
    begin_run = team.begin_run

    def counted(prompts: Any, decoding: Decoding, samples: Any) -> Any:
        asked.extend((prompt, sample) for prompt in prompts for sample in samples)
        return begin_run(prompts, decoding, samples)

    team.begin_run = counted
    steps = list(search.run())
    assert len(asked) == len(set(asked))
    evaluated = {c.scored.ids for step in steps for c in step.candidates}
    assert {(ids, s) for ids in evaluated for s in range(6)} <= set(asked)
    assert search.evaluator.reused > 0


@pytest.mark.parametrize("objective", ["loss", "mistakes"])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_giving_up_candidates_changes_nothing_else(
    make_search: Any, size: int, objective: str
) -> None:
    settings = settings_for(accept="improve", steps=24, top_prompts=4, objective=objective)
    whole, capped = (
        make_search(dataclasses.replace(settings, sample_chunk=chunk)) for chunk in (0, size)
    )
    for one, other in zip(whole.run(), capped.run(), strict=True):
        assert other.incumbent.text == one.incumbent.text
        assert other.accepted == one.accepted
        assert other.incumbent.evaluation.objective == pytest.approx(
            one.incumbent.evaluation.objective, abs=1e-5
        )
        assert (other.proposals, other.position) == (one.proposals, one.position)
        for a, b in zip(one.candidates, other.candidates, strict=True):
            assert a.scored.ids == b.scored.ids
            if b.scored.evaluation.capped:
                # What was given up was neither taken nor kept, and its bound is one.
                assert b.scored.samples < 6 and b.scored != other.incumbent
                assert b.scored.evaluation.objective <= a.scored.evaluation.objective + 1e-5
    assert [s.ids for s in whole.state.best] == [s.ids for s in capped.state.best]
    if (objective, size) == ("loss", 1):
        decoded = [s.counts["decoded"] for s in (whole, capped)]
        assert decoded[1] < decoded[0], "something should have been given up"


def test_nothing_is_given_up_where_that_could_matter(make_search: Any) -> None:
    for rule in ("anneal", "always"):
        search = make_search(settings_for(accept=rule, steps=12, top_prompts=1, sample_chunk=1))
        for step in search.run():
            assert not any(c.scored.evaluation.capped for c in step.candidates)


def test_positions_advance_append_and_wrap(make_search: Any) -> None:
    search = make_search(settings_for(accept="always", steps=40), prompt=" think step by step")
    length = len(search.initial)
    expected, ended = 0, False
    for step in search.run():
        if step.appended:
            assert step.position == length and not ended
            length += 1
        assert step.position == expected
        assert len(step.incumbent.ids) == length
        expected = step.position + 1
        if expected == length:
            ended = "." in search.tokenizer.decode([step.incumbent.ids[-1]])
            if ended or length >= 64:
                expected = 0
    assert length > len(search.initial), "the sentence had not ended, so tokens were appended"


def test_a_rejected_appended_token_starts_over(make_search: Any) -> None:
    search = make_search(settings_for(accept="improve", steps=60), prompt=" think step by step")
    steps = list(search.run())
    rejected = [i for i, s in enumerate(steps[:-1]) if s.appended and not s.accepted]
    assert rejected and all(steps[i + 1].position == 0 for i in rejected)


def test_published_behaviour(make_search: Any) -> None:
    search = make_search(settings_for("published", steps=30), prompt=" think step by step")
    steps = list(search.run())
    assert all(step.accepted for step in steps if step.candidates)
    for step in steps:
        ends = ["." in search.tokenizer.decode([c.token]) for c in step.candidates]
        if True in ends and step.position >= 0.5 * len(search.initial):
            assert step.chosen == ends.index(True) == len(ends) - 1
    assert any(step.appended or "_" in step.incumbent.text for step in steps)


def test_progressive_goals_add_samples(make_search: Any) -> None:
    settings = settings_for(
        progressive=True, progressive_group=2, early_stopping_steps=2, accept="improve", steps=30
    )
    search = make_search(settings)
    search.begin()
    assert search.state.active == 2
    used = [step.samples for step in search.run()]
    assert used == sorted(used) and used[0] == 2 and used[-1] == 6
    assert search.state.best[0].samples == 6
    solved = make_search(dataclasses.replace(settings, loss_threshold=1e9))
    assert [step.samples for step in solved.run()][:4] == [2, 4, 6, 6]


def test_stop_on_success(make_search: Any) -> None:
    search = make_search(settings_for(steps=50))
    search.stoppers = (stoppers.solved(), *search.stoppers)
    search.begin()
    right = dataclasses.replace(search.state.incumbent.evaluation, mistakes=0.0)
    search.state.incumbent = dataclasses.replace(search.state.incumbent, evaluation=right)
    assert list(search.run()) == [] and search.ended == "every training sample is right"


def test_few_samples_do_not_crash(make_search: Any) -> None:
    assert len(list(make_search(settings_for(steps=3), n=1).run())) == 3


def test_published_behaviour_restarts_when_solved(make_search: Any) -> None:
    search = make_search(settings_for("published", steps=4, loss_threshold=1e9))
    steps = list(search.run())
    assert [step.position for step in steps] == [0, 0, 0, 0]
    assert all(step.events == ("started over",) for step in steps)
