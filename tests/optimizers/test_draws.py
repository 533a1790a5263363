"""Which draws the likelihood ratio reads, by what weights, and which edits it is asked about."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.models.layout import Ids
from prompt_optimization.optimizers.base import Step
from prompt_optimization.optimizers.greater.settings import GreaterSettings
from tests import plain
from tests.conftest import PROMPT
from tests.optimizers.conftest import MakeSearch, halfway, run, settings_for


def reusing(least: float = 0.01, **changes: Any) -> GreaterSettings:
    own = {"shortlist": "likelihood_ratio", "draws": 3, "accept": "always", "reuse_draws": least}
    return settings_for(**own | changes)


def used(step: Step) -> tuple[int, int]:
    return step.details["draws"]["drawn"], step.details["draws"]["reused"]


def test_draws_are_weighted_against_the_prompt_that_drew_them(make_search: MakeSearch) -> None:
    search = make_search(reusing(), n=2, steps=3)
    texts, prefilled, evaluations = [], [], []
    for _ in range(3):
        texts.append(search.incumbent.text)
        before = search.scorer.ledger.record()
        step = search.step()
        assert step is not None
        now = search.scorer.ledger.record()
        evaluations.append(now["evaluations"] - before["evaluations"])
        prefilled.append(now["tokens"]["prefilled"] - before["tokens"]["prefilled"])
    assert len({*texts}) == 3 and used(step) == (0, 2)
    assert evaluations[0] >= 2 * 3 and max(evaluations[1:]) <= 2 * 3, "three are tried in a step"
    # The same by the plain path: the third incumbent's proposal, the draws of the first one.
    model = search.models[0].executor.worker.model
    samples = search.models[0].executor.worker.examples
    first, third = (search.scorer.ids(text) for text in (texts[0], texts[2]))
    position, told = step.details["position"], step.details["proposals"][0]
    edited = (*third[:position], told["token"], *third[position + 1 :])
    drawn = [outcomes for _, _, source, outcomes, *_ in search.signal.draws.state_dict()]

    def log_probs(prompt: Ids, sample: int) -> np.ndarray:
        return np.array(
            [
                plain.log_prob(model, samples, prompt, sample, each.reasoning, 0.7, 5)
                for each in drawn[sample]
            ]
        )

    total, sizes = 0.0, []
    for sample in range(2):
        ratios = np.exp(log_probs(third, sample) - log_probs(first, sample))
        weights = ratios / ratios.sum()
        sizes.append(1 / (weights**2).sum() / 3)
        losses = np.array(
            [
                plain.answer_loss(model, samples, third, sample, each.reasoning, 1.0)[0]
                for each in drawn[sample]
            ]
        )
        change = np.clip(log_probs(edited, sample) - log_probs(third, sample), -5, 5)
        for i in range(3):
            others = np.arange(3) != i
            baseline = (weights @ (losses * others)) / weights[others].sum()
            total += weights[i] * (losses[i] - baseline) * change[i] / 2
    assert told["likelihood_ratio"] == pytest.approx(total, abs=1e-3)
    size = step.details["draws"]["effective_sample_size"]
    assert size == pytest.approx(np.mean(sizes), abs=1e-3) and 1 / 3 < size < 1


def test_draws_that_hold_too_little_are_drawn_anew(make_search: MakeSearch) -> None:
    steps = run(make_search(reusing(0.9999), n=4, steps=3))
    assert [used(step) for step in steps] == [(4, 0)] * 3
    sizes = [step.details["draws"].get("effective_sample_size") for step in steps]
    assert sizes[0] is None and all(size is not None and size < 0.9999 for size in sizes[1:])
    never = make_search(reusing(1.0), n=4, steps=3)
    for step in run(never):
        assert step.details["draws"] == {"drawn": 4, "reused": 0}
    assert {state[2] for state in never.signal.draws.state_dict()} != {PROMPT}


def test_rows_that_come_again_or_come_new(make_search: MakeSearch) -> None:
    growing = {"progressive_goals": True, "progressive_group": 2, "loss_threshold": 1e9}
    steps = run(make_search(reusing(1.0, **growing), steps=3))
    assert [step.details["samples"] for step in steps] == [2, 4, 6]
    assert [used(step) for step in steps] == [(2, 0), (4, 0), (6, 0)], "all were accepted"
    steps = run(make_search(reusing(**growing), steps=4))
    assert [used(step) for step in steps] == [(2, 0), (2, 2), (2, 4), (0, 6)]
    # The six rows are drawn once and serve whenever they come.
    steps = run(make_search(reusing(rows_per_step=2), steps=6))
    assert [used(step) for step in steps] == [(2, 0)] * 3 + [(0, 2)] * 3
    still = make_search(reusing(1.0, rows_per_step=2, accept="improve"), steps=12)
    unseen, text = set(range(6)), PROMPT
    for step in run(still):
        rows = {*step.details["rows"]}
        assert used(step) == (len(rows & unseen), 0)
        unseen -= rows
        if step.incumbent.text != text:
            unseen, text = set(range(6)), step.incumbent.text


def test_a_prompt_that_comes_back_has_its_own_draws(make_search: MakeSearch) -> None:
    settings = reusing(accept="improve", restart_after=1, restart_from="initial")
    search = make_search(settings, n=3, steps=8)
    readers = []
    for _ in range(8):
        readers.append(search.incumbent.text)
        search.step()
        for _, _, source, outcomes, _, reader, change, losses in search.signal.draws.state_dict():
            assert source == PROMPT and reader == readers[-1]
            if reader == PROMPT:
                assert change == (0.0,) * 3 and losses == tuple(o.loss for o in outcomes)
    assert PROMPT in readers[readers.index(next(each for each in readers if each != PROMPT)) :]


@pytest.mark.parametrize("rows", [0, 2])
def test_it_goes_on_from_its_state(make_search: MakeSearch, rows: int) -> None:
    settings = reusing(0.7, rows_per_step=rows, prefilter=4)
    whole, other = halfway(make_search, settings, 8)
    assert [other.step() for _ in range(4)] == [whole.step() for _ in range(4)]
    assert other.state_dict() == whole.state_dict()
    assert other.scorer.ledger.tokens == whole.scorer.ledger.tokens


def check_prefilter(step: Step, most: int) -> int:
    """What a prefilter of ``most`` tokens leaves is read and tried; how many tokens it stops."""
    tokens = [each for each in step.details["proposals"] if "edit" not in each]
    read = [each for each in tokens if "likelihood_ratio" in each]
    larger = [each for each in step.details["proposals"] if "edit" in each]
    assert all("likelihood_ratio" in each and "gradient" not in each for each in larger)
    tried = [each["likelihood_ratio"] for each in step.details["shortlist"]]
    assert tried == sorted(each["likelihood_ratio"] for each in [*read, *larger])[:3]
    if len(tokens) <= most:
        assert read == tokens and not any("gradient" in each for each in tokens)
        return 0
    slopes = sorted(each["gradient"] for each in tokens)
    assert sorted(each["gradient"] for each in read) == slopes[:most]
    return len(tokens) - most


@pytest.mark.parametrize("most", [4, 1000])
def test_the_gradient_chooses_what_is_read(make_search: MakeSearch, most: int) -> None:
    kinds = ("token", "insert", "delete")
    search = make_search(reusing(prefilter=most, edits=kinds), n=3, steps=3)
    stopped = sum(check_prefilter(step, most) for step in run(search))
    assert bool(stopped) == (most == 4)
    assert ("differentiated" in search.scorer.ledger.tokens) == (most == 4)


def test_settings_that_do_nothing_are_told() -> None:
    with pytest.raises(InputError, match="prefilter=2 leaves fewer tokens than shortlist_size=3"):
        reusing(prefilter=2).check()
    reusing(prefilter=3).check()
    assert not reusing(prefilter=3).warnings
    warnings = settings_for(reuse_draws=0.5, prefilter=9).warnings
    assert warnings == [
        f"greater.{name} has no effect under shortlist=gradient"
        for name in ("reuse_draws", "prefilter")
    ]
