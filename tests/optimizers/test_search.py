"""The loop on a tiny model: laws that every step keeps, under every rule."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.engine import Decoding
from prompt_optimization.models.layout import Ids
from prompt_optimization.optimizers.base import Step, Tools
from prompt_optimization.optimizers.greater.differentiate import submit_gradient
from prompt_optimization.optimizers.greater.search import GreaterSearch
from prompt_optimization.optimizers.greater.settings import GreaterSettings
from prompt_optimization.optimizers.random.search import RandomSearch
from prompt_optimization.tasks.templates import END
from prompt_optimization.tasks.texts import lacking_words
from tests import plain
from tests.conftest import PLACES, PROMPT
from tests.optimizers.conftest import MakeSearch, annealed, improving, run, settings_for

SHORT = " think step by step"


def proposed(step: Step) -> list[int]:
    return [each["token"] for each in step.details["proposals"]]


def slopes(step: Step) -> list[float]:
    return [each["gradient"] for each in step.details["proposals"]]


def tried(step: Step) -> list[int]:
    return [each["token"] for each in step.details["shortlist"]]


def check_text_is_truth(search: GreaterSearch, step: Step) -> None:
    encoded = search.scorer.encoded
    prompts = [(each["prompt"], tuple(each["ids"])) for each in step.details["shortlist"]]
    prompts.append((step.incumbent.text, search.scorer.ids(step.incumbent.text)))
    assert [text for text, _ in prompts[:-1]] == [each.scored.text for each in step.tried]
    for text, ids in prompts:
        for example, before in zip(encoded.examples, encoded.before, strict=True):
            (context,) = encoded.layout.contexts([example.question], text)
            assert context.before == before and context.prompt == ids


@pytest.mark.parametrize("place", PLACES)
def test_every_prompt_is_its_text(make_search: MakeSearch, family: str, place: str) -> None:
    search = make_search(annealed(), family=family, template=place)
    steps = run(search)
    assert len(steps) == 12 and any(step.accepted for step in steps)
    assert all(step.details["proposals"] for step in steps)
    for step in steps:
        check_text_is_truth(search, step)


def test_words_that_stay_are_never_edited(make_search: MakeSearch, family: str) -> None:
    prompt = " careful thought, count each one and think step by step"
    keep = ("count each one", "step")
    search = make_search(
        annealed(), family=family, prompt=prompt, keep=keep, steps=24, template="system"
    )
    steps = run(search)
    assert any(step.accepted for step in steps) and any(s.details["appended"] for s in steps)
    for step in steps:
        for tried in step.tried:
            assert lacking_words(tried.scored.text, keep) is None
    ids, decode = search.scorer.ids(prompt), search.tokenizer.decode
    start = decode(list(ids)).index("count each one")
    kept = [
        place
        for place in range(len(ids))
        if len(decode(list(ids[: place + 1]))) > start
        and len(decode(list(ids[:place]))) < start + len("count each one")
    ]
    assert kept and {step.details["position"] for step in steps}.isdisjoint(kept)
    assert search.scorer.problem(" count each one slowly") == (
        "it lacks the words 'step', which have to stay"
    )
    assert search.scorer.problem(" count each one, step by step") is None


def test_words_that_stay_leave_something_to_edit(make_search: MakeSearch) -> None:
    with pytest.raises(InputError, match="leave no token of the initial prompt 'think step by"):
        make_search(improving(), prompt=SHORT, keep=("think step by step",))


def test_a_row_steers_the_gradient_by_its_weight(make_search: MakeSearch) -> None:
    search = make_search(settings_for(), n=2)
    ids = search.scorer.ids(PROMPT)
    reasonings = search.incumbent.scored.reasonings
    examples = search.scorer.examples

    def gradient(*weights: float) -> torch.Tensor:
        search.scorer.examples = tuple(
            dataclasses.replace(each, weight=weight)
            for each, weight in zip(examples, weights, strict=True)
        )
        (model,) = search.models
        rows = list(enumerate(reasonings))
        arguments = (ids, 1, [50, 60, 70], search.signal.weights)
        return submit_gradient(model, rows, arguments, search.rows.weights).result()

    one, other = gradient(1, 1e-6), gradient(1e-6, 1)
    mixed = gradient(3, 1)
    solved = torch.linalg.lstsq(torch.stack([one, other], dim=1), mixed[:, None]).solution[:, 0]
    assert torch.stack([one, other], dim=1) @ solved == pytest.approx(mixed, abs=1e-4)
    equal = torch.linalg.lstsq(torch.stack([one, other], dim=1), gradient(1, 1)[:, None]).solution[
        :, 0
    ]
    ratio = (solved[0] / solved[1]) / (equal[0] / equal[1])
    assert float(ratio) == pytest.approx(3, rel=1e-2)


def test_improving_never_raises_the_objective(make_search: MakeSearch) -> None:
    search = make_search(improving(), steps=20)
    before = search.initial.scored.objective
    for step in run(search):
        now = step.incumbent.scored.objective
        assert now < before if step.accepted else now == before
        if step.accepted:
            assert step.incumbent.scored == step.tried[step.details["chosen"]].scored
        before = now
    entries = search.leaderboard.entries
    assert entries[0].scored.objective <= before
    ranks = [entry.rank for entry in entries]
    assert ranks == sorted(ranks) and len({entry.text for entry in entries}) == len(ranks)


def test_the_same_seed_gives_the_same_run(make_search: MakeSearch) -> None:
    first, second = (run(make_search(annealed(), steps=8)) for _ in range(2))
    assert first == second
    other = run(make_search(annealed(), steps=8, seed=1))
    assert [proposed(step) for step in other] != [proposed(step) for step in first]


@pytest.mark.parametrize("place", [END, "system"])
@pytest.mark.parametrize("rule", ["gradient", "likelihood_ratio"])
def test_a_search_goes_on_from_its_state(make_search: MakeSearch, place: str, rule: str) -> None:
    settings = annealed(shortlist=rule)
    whole = make_search(settings, steps=8, template=place)
    steps = [whole.step() for _ in range(4)]
    state, known, rng = whole.state_dict(), whole.scorer.state_dict(), whole.tools.rng.getstate()
    rest = [whole.step() for _ in range(4)]
    other = make_search(settings, steps=8, template=place)
    other.scorer.load_state_dict(known)
    other.load_state_dict(state)
    other.tools.rng.setstate(rng)
    assert len(steps) == other.steps and [other.step() for _ in range(4)] == rest
    assert other.scorer.ledger.tokens == whole.scorer.ledger.tokens


def test_ablations_change_what_they_name_and_cost_the_same(make_search: MakeSearch) -> None:
    (plain,) = run(make_search(improving(), steps=1))
    (by_proposal,) = run(make_search(improving(shortlist="proposal"), steps=1))
    assert proposed(by_proposal) == proposed(plain) and slopes(by_proposal) == slopes(plain)
    assert tried(by_proposal) == proposed(plain)[:3]
    drawn = {
        tuple(tried(step))
        for seed in range(3)
        for step in run(make_search(improving(shortlist="random"), steps=1, seed=seed))
    }
    assert len(drawn) > 1 and all(len(tokens) == 3 for tokens in drawn)
    (without,) = run(make_search(improving(reasoning_gradient=False), steps=1))
    assert proposed(without) == proposed(plain) and slopes(without) != slopes(plain)


def test_the_random_search_takes_no_gradient(make_search: MakeSearch) -> None:
    (plain,) = run(make_search(improving(), steps=1))
    search = make_search(improving(), kind=RandomSearch, steps=1)
    (step,) = run(search)
    assert proposed(step) == proposed(plain) and len(tried(step)) == 3
    assert set(tried(step)) <= set(proposed(step))
    assert not any("gradient" in each for each in step.details["proposals"])
    assert "differentiated" not in search.scorer.ledger.tokens


def by_ratio(**changes: Any) -> GreaterSettings:
    return settings_for(**{"shortlist": "likelihood_ratio", "draws": 3} | changes)


def ratios(step: Step) -> list[float]:
    return [each["likelihood_ratio"] for each in step.details["proposals"]]


def test_the_likelihood_ratio_is_read_off_the_incumbents_draws(make_search: MakeSearch) -> None:
    search = make_search(by_ratio(accept="improve"), n=2, steps=1)
    incumbent = search.scorer.ids(PROMPT)
    (step,) = run(search)
    told = dict(zip(proposed(step), ratios(step), strict=True))
    assert tried(step) == sorted(proposed(step), key=told.__getitem__)[:3]
    assert not any("gradient" in each for each in step.details["proposals"])
    assert "differentiated" not in search.scorer.ledger.tokens
    drawn = [outcomes for _, _, source, outcomes, *_ in search.signal.draws.state_dict()]
    assert [len(outcomes) for outcomes in drawn] == [3, 3]
    assert any(len({each.reasoning for each in outcomes}) > 1 for outcomes in drawn)
    # The same by the plain path, for the first proposal.
    model = search.models[0].executor.worker.model
    samples = search.models[0].executor.worker.examples
    position, token = step.details["position"], proposed(step)[0]
    edited = (*incumbent[:position], token, *incumbent[position + 1 :])

    total = 0.0
    for sample in range(2):
        outcomes = drawn[sample]
        for number, outcome in enumerate(outcomes):
            others = [each.loss for i, each in enumerate(outcomes) if i != number]
            after, before = (
                plain.log_prob(model, samples, prompt, sample, outcome.reasoning, 0.7, 5)
                for prompt in (edited, incumbent)
            )
            change = after - before
            total += (outcome.loss - sum(others) / 2) * max(-5, min(5, change)) / 6
    assert ratios(step)[0] == pytest.approx(total, abs=1e-3)


def test_fixed_reasonings_tell_what_answers_an_edit_gives(make_search: MakeSearch) -> None:
    search = make_search(by_ratio(accept="improve", shortlist="fixed_reasoning"), n=2, steps=1)
    incumbent = search.scorer.ids(PROMPT)
    (step,) = run(search)
    position, proposals = step.details["position"], step.details["proposals"]
    told = {each["token"]: each["fixed_reasoning"] for each in proposals}
    assert tried(step) == sorted(proposed(step), key=told.__getitem__)[:3]
    drawn = [outcomes for _, _, source, outcomes, *_ in search.signal.draws.state_dict()]
    model = search.models[0].executor.worker.model
    samples = search.models[0].executor.worker.examples

    def mean(prompt: Ids) -> float:
        answers = [
            plain.answer_loss(model, samples, prompt, sample, outcome.reasoning, 1.0)[0]
            for sample in range(2)
            for outcome in drawn[sample]
        ]
        return sum(answers) / len(answers)

    for token in proposed(step)[:2]:
        edited = (*incumbent[:position], token, *incumbent[position + 1 :])
        assert told[token] == pytest.approx(mean(edited) - mean(incumbent), abs=1e-3)


def test_reasonings_are_drawn_once_for_an_incumbent(make_search: MakeSearch) -> None:
    search = make_search(by_ratio(accept="improve"), steps=16)
    ledger, spent, texts = search.scorer.ledger, [], []
    for _ in range(16):
        texts.append(search.incumbent.text)
        before = ledger.evaluations + ledger.reused
        step = search.step()
        assert step is not None
        spent.append(ledger.evaluations + ledger.reused - before - 6 * len(step.tried))
    new = [i == 0 or texts[i] != texts[i - 1] for i in range(16)]
    assert spent == [6 * 3 if fresh else 0 for fresh in new] and 1 < sum(new) < 16


def test_several_models_share_the_likelihood_ratio(make_model: Any, make_scorer: Any) -> None:
    alone, twice = (
        GreaterSearch(by_ratio(), make_scorer(*models), Tools(random.Random(0), 3))
        for models in ([make_model()], [make_model(), make_model()])
    )
    steps = []
    for search in (alone, twice):
        search.start(PROMPT)
        steps.append(search.step())
    one, two = steps
    assert one is not None and two is not None
    assert ratios(two) == pytest.approx(ratios(one), abs=1e-4) and tried(two) == tried(one)


def test_nothing_is_evaluated_twice(make_search: MakeSearch) -> None:
    search = make_search(settings_for("published"), steps=14)
    initial = {(search.scorer.ids(PROMPT), example) for example in range(6)}
    asked: list[tuple[Any, int]] = list(initial)
    (model,) = search.models
    submit_run = model.submit_run

    def counted(prompts: Any, decoding: Decoding, examples: Any) -> Any:
        asked.extend((prompt, example) for prompt in prompts for example in examples)
        return submit_run(prompts, decoding, examples)

    model.submit_run = counted  # type: ignore[method-assign]
    steps = run(search)
    assert len(asked) == len(set(asked)) == search.scorer.ledger.evaluations
    evaluated = {tuple(each["ids"]) for step in steps for each in step.details["shortlist"]}
    assert {(ids, example) for ids in evaluated for example in range(6)} <= set(asked)
    assert search.scorer.ledger.reused > 0


@pytest.mark.parametrize("objective", ["loss", "mistakes"])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_giving_up_candidates_changes_nothing_else(
    make_search: MakeSearch, size: int, objective: str
) -> None:
    whole, capped = (
        make_search(improving(sample_chunk=chunk), steps=24, top_prompts=4, objective=objective)
        for chunk in (0, size)
    )
    for one, other in zip(run(whole), run(capped), strict=True):
        assert other.incumbent.text == one.incumbent.text
        assert other.accepted == one.accepted
        assert other.incumbent.scored.objective == pytest.approx(
            one.incumbent.scored.objective, abs=1e-5
        )
        assert proposed(other) == proposed(one)
        assert other.details["position"] == one.details["position"]
        for a, b in zip(one.tried, other.tried, strict=True):
            assert a.scored.text == b.scored.text
            if b.scored.capped:
                # What was given up was neither accepted nor kept, and its bound is one.
                assert b.scored.rows < 6 and b.scored != other.incumbent.scored
                assert b.scored.objective <= a.scored.objective + 1e-5
        assert other.details["capped"] == {
            "candidates": sum(b.scored.capped for b in other.tried),
            "rows": sum(6 - b.scored.rows for b in other.tried),
        }
    assert [entry.text for entry in whole.leaderboard.entries] == [
        entry.text for entry in capped.leaderboard.entries
    ]
    if (objective, size) == ("loss", 1):
        decoded = [search.scorer.ledger.tokens["decoded"] for search in (whole, capped)]
        assert decoded[1] < decoded[0], "something should have been given up"


def test_nothing_is_given_up_where_that_could_matter(make_search: MakeSearch) -> None:
    for rule in ("anneal", "always"):
        search = make_search(settings_for(accept=rule, sample_chunk=1), top_prompts=1)
        for step in run(search):
            assert not any(each.scored.capped for each in step.tried)


def test_positions_advance_append_and_wrap(make_search: MakeSearch) -> None:
    search = make_search(settings_for(accept="always"), prompt=SHORT, steps=40)
    first = length = len(search.scorer.ids(SHORT))
    expected, ended = 0, False
    for step in run(search):
        ids = search.scorer.ids(step.incumbent.text)
        if step.details["appended"]:
            assert step.details["position"] == length and not ended
            length += 1
        assert step.details["position"] == expected
        assert len(ids) == length
        expected = step.details["position"] + 1
        if expected == length:
            ended = "." in search.tokenizer.decode([ids[-1]])
            if ended or length >= search.tools.max_prompt_tokens:
                expected = 0
    assert length > first, "the sentence had not ended, so tokens were appended"


def test_a_rejected_appended_token_starts_over(make_search: MakeSearch) -> None:
    steps = run(make_search(improving(), prompt=SHORT, steps=60))
    rejected = [
        i for i, step in enumerate(steps[:-1]) if step.details["appended"] and not step.accepted
    ]
    assert rejected and all(steps[i + 1].details["position"] == 0 for i in rejected)


def test_published_behaviour(make_search: MakeSearch) -> None:
    search = make_search(settings_for("published"), prompt=SHORT, steps=30)
    length = len(search.scorer.ids(SHORT))
    steps = run(search)
    assert all(step.accepted for step in steps if step.tried)
    for step in steps:
        ends = ["." in search.tokenizer.decode([token]) for token in tried(step)]
        if True in ends and step.details["position"] >= 0.5 * length:
            assert step.details["chosen"] == ends.index(True) == len(ends) - 1
    assert any(step.details["appended"] or "_" in step.incumbent.text for step in steps)


def test_progressive_goals_add_samples(make_search: MakeSearch) -> None:
    growing = improving(progressive_goals=True, progressive_group=2, early_stopping_steps=2)
    search = make_search(growing, steps=30)
    assert len(search.rows.examples) == search.initial.scored.rows == 2
    used = [step.details["samples"] for step in run(search)]
    assert used == sorted(used) and used[0] == 2 and used[-1] == 6
    assert search.leaderboard.best.scored.rows == 6
    solved = make_search(dataclasses.replace(growing, loss_threshold=1e9), steps=4)
    assert [step.details["samples"] for step in run(solved)] == [2, 4, 6, 6]


@pytest.mark.parametrize("objective", ["loss", "mistakes"])
def test_the_temperature_follows_the_noise(make_search: MakeSearch, objective: str) -> None:
    search = make_search(annealed(anneal_noise=1.0), objective=objective, steps=8)
    before, pairs = search.incumbent.scored, []
    for step in run(search):
        for each in step.tried:
            pairs.append(
                [
                    (now.loss - then.loss) if objective == "loss" else now.mistake - then.mistake
                    for now, then in zip(each.scored.outcomes, before.outcomes, strict=True)
                ]
            )
        before = step.incumbent.scored
    variances = [torch.tensor(pair, dtype=torch.float64).var() / len(pair) for pair in pairs]
    assert search.noise.count == len(pairs)
    expected = torch.stack(variances).mean().sqrt()
    assert search.noise.standard_error == pytest.approx(float(expected))


@pytest.mark.parametrize("units", [1e-9, 1000.0])
def test_a_cold_search_improves_and_a_hot_one_takes_what_comes(
    make_search: MakeSearch, units: float
) -> None:
    search = make_search(annealed(anneal_noise=units), steps=8)
    before, worse = search.incumbent.scored.objective, 0
    for step in run(search)[:-1]:  # the last temperature is 0
        best = min(each.scored.objective for each in step.tried)
        worse += best > before
        assert step.accepted == (best <= before or units > 1)
        before = step.incumbent.scored.objective
    assert worse


def test_few_samples_do_not_crash(make_search: MakeSearch) -> None:
    assert len(run(make_search(settings_for(), n=1, steps=3))) == 3


def test_published_behaviour_restarts_when_solved(make_search: MakeSearch) -> None:
    steps = run(make_search(settings_for("published", loss_threshold=1e9), steps=4))
    assert [step.details["position"] for step in steps] == [0, 0, 0, 0]
    assert all(step.events == ("started over",) for step in steps)
