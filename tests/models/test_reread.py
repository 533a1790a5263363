"""Reading a reasoning again equals the plain path: whole text, one row, no cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.reread import reread
from prompt_optimization.models.sampling import Sampling
from tests import plain
from tests.conftest import PLACES

TEMPERATURE = 0.7
LIMIT = 5
DRAWN = Decoding(LIMIT, sampling=Sampling(TEMPERATURE))
# Cut by the limit, ended by itself, and ended before it began.
REASONINGS = [(40, 41, 42, 43, 44), (50, 51), ()]


@pytest.mark.parametrize("place", PLACES)
def test_equals_the_plain_path(family: str, place: str, make_model: Any, make_samples: Any) -> None:
    model = make_model(family)
    model.stop_ids |= {7}
    samples = make_samples(model, n=3, template=place)
    texts = (" proper logical reasoning", " proper careful thought and think step by step.")
    prompts = [samples.prompt_ids(text) for text in texts]
    asked = [(2, REASONINGS), (0, REASONINGS[::-1]), (1, [(60,), (60,), (61, 62, 63, 64, 65)])]
    for reached in ((), prompts[0][:1], prompts[1]):
        samples.prefix.reach(reached)
        found = reread(Engine(model), samples, asked, prompts, DRAWN, answers=True)
        for (sample, reasonings), by_prompt in zip(asked, found, strict=True):
            for prompt, by_draw in zip(prompts, by_prompt, strict=True):
                for reasoning, read in zip(reasonings, by_draw, strict=True):
                    expected = plain.log_prob(
                        model, samples, prompt, sample, reasoning, TEMPERATURE, LIMIT
                    )
                    assert read.log_prob == pytest.approx(expected, abs=1e-3)
                    assert len(read.log_probs) == len(reasoning) + (len(reasoning) < LIMIT)
                    loss, mistake = plain.answer_loss(
                        model, samples, prompt, sample, reasoning, 1.0
                    )
                    assert read.loss == pytest.approx(loss, abs=1e-3)
                    assert read.mistake == mistake


def test_pieces_do_not_matter_and_the_stem_is_read_once(make_model: Any, make_samples: Any) -> None:
    model = make_model()
    samples = make_samples(model, n=4)
    prompts = [samples.prompt_ids(text) for text in (" think step by step", " count each one")]
    asked = [(sample, [(40, 41, 42, 43, 44), (50, 51)]) for sample in range(4)]
    samples.prefix.reach(())
    results, counts = [], []
    for rows in (1, 4, 64):
        model.counts.clear()
        results.append(reread(Engine(model, rows), samples, asked, prompts, DRAWN))
        counts.append(dict(model.counts))
    stems = sum(
        len(prompt) + len(samples.following(s, prompt)) for prompt in prompts for s in range(4)
    )
    assert counts == [{"prefilled": stems + 2 * 4 * 7}] * 3
    values = [
        [each.log_prob for item in result for by_prompt in item for each in by_prompt]
        for result in results
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-4)
    assert values[0] == pytest.approx(values[2], abs=1e-4)


def test_what_is_drawn_is_as_likely_as_it_was(make_model: Any, make_samples: Any) -> None:
    """The shares of first tokens that are drawn are the probabilities that are read."""
    model = make_model()
    samples = make_samples(model, n=1)
    prompt = samples.prompt_ids(" think step by step")
    engine = Engine(model)
    drawn = [
        engine.run(samples, [prompt], Decoding(1, sampling=Sampling(2.0, seed=seed)))[0][0]
        for seed in range(400)
    ]
    firsts = [each.reasoning for each in drawn]
    common = max(set(firsts), key=firsts.count)
    decoding = Decoding(1, sampling=Sampling(2.0))
    [[[read]]] = reread(engine, samples, [(0, [common])], [prompt], decoding)
    share = torch.tensor(read.log_prob).exp()
    assert firsts.count(common) / len(firsts) == pytest.approx(float(share), abs=0.08)


def test_logits_that_are_no_number_are_told(make_model: Any, make_samples: Any) -> None:
    model = make_model()
    samples = make_samples(model, n=1)
    prompt = samples.prompt_ids(" think step by step")
    with torch.no_grad():
        model.model.get_output_embeddings().weight[7] = torch.nan
    with pytest.raises(FloatingPointError, match="log-probability is not finite"):
        reread(Engine(model), samples, [(0, [(40,)])], [prompt], DRAWN)
