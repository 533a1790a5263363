"""Steps recorded from the published code, computed again by this project's search.

The recordings are not part of the project: ``GREATER_PARITY`` names their folder. They were made
with SmolLM2-135M-Instruct in float32, in a ChatML layout without system prompt.

Two accidents of the published evaluation are rebuilt here, because recorded numbers depend on them:
the end of turn is dropped from the middle of the sequence that scores an answer, and the prompt's
likelihood is read off the ids of the step before for every sample but the first.
"""

from __future__ import annotations

import json
import os
import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

from prompt_optimization.models.answers import score_answers
from prompt_optimization.models.bundled import BUNDLED_NAME
from prompt_optimization.models.chat import ChatFormat
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.layout import Layout
from prompt_optimization.models.loading import load_language_model
from prompt_optimization.models.memory import RowBudget
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.optimizers.greater.differentiate import (
    LossWeights,
    aggregate,
    token_gradients,
)
from prompt_optimization.optimizers.greater.propose import (
    banned_ids,
    intersect,
    top_tokens,
)
from prompt_optimization.optimizers.greater.select import choose, shortlist, until_period
from prompt_optimization.tasks.examples import Example

FOLDER = os.environ.get("GREATER_PARITY", "")
FILES = ("object_counting.json", "object_counting_k4.json", "boolean_tail.json")
CHATML = ChatFormat(
    "chatml", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", trims=False
)
END_OF_TURN = 2

pytestmark = [
    pytest.mark.smollm2,
    pytest.mark.skipif(not FOLDER, reason="GREATER_PARITY names no folder of recordings"),
]


@lru_cache
def recording(name: str) -> dict[str, Any]:
    return json.loads((Path(FOLDER) / name).read_text())


def steps() -> list[Any]:
    if not FOLDER:
        return [pytest.param(("", 0), id="no recordings")]
    return [
        pytest.param((name, index), id=f"{name.removesuffix('.json')}-{index}")
        for name in FILES
        for index in range(len(recording(name)["steps"]))
    ]


@lru_cache
def language_model() -> Any:
    return load_language_model(ModelSettings(BUNDLED_NAME, device="cpu", dtype="float32"))


@lru_cache(maxsize=2)
def samples_of(name: str) -> CachedExamples:
    """The recording's samples, laid out by the product from the recorded texts."""
    model, meta, first = language_model(), recording(name)["meta"], recording(name)["steps"][0]
    layout = Layout(model.tokenizer, CHATML, extractor=meta["extractor_text"])
    examples = [
        Example(prompt["goal"].removesuffix(". Use"), prompt["final_target"], row)
        for row, prompt in enumerate(first["prompts"])
    ]
    return CachedExamples(model, layout, examples, Layout.normalise(meta["control_init"]))


@pytest.fixture(params=steps())
def recorded(
    request: pytest.FixtureRequest,
) -> tuple[dict[str, Any], dict[str, Any], CachedExamples]:
    name, index = request.param
    data = recording(name)
    return data["meta"], data["steps"][index], samples_of(name)


def test_layout_ids(recorded: Any) -> None:
    _, step, samples = recorded
    prompt = tuple(step["control_toks_before"])
    text = step["control_str_before"]
    if not text.endswith("_"):
        assert samples.prompt_ids(Layout.normalise(text)) == prompt
    for sample, one in enumerate(step["prompts"]):
        ids, spans = one["input_ids"], {k: slice(*v) for k, v in one["slices"].items()}
        assert samples.before[sample] == tuple(ids[: spans["control"].start])
        assert tuple(ids[spans["control"]]) == prompt
        assert samples.after[sample] == tuple(ids[spans["assistant_role"]])
        target = samples.targets[sample]
        assert target.extractor + target.answer == tuple(ids[spans["target"]])
        assert target.answer == tuple(ids[spans["focused_target"]])


def test_proposals(recorded: Any) -> None:
    _, step, samples = recorded
    model = language_model()
    prompt, position = tuple(step["control_toks_before"]), step["pos"]
    banned = banned_ids(model.tokenizer, model.vocabulary, allow_non_ascii=False)
    assert set(banned.nonzero()[:, 0].tolist()) | {step["previous_token"]} >= set(
        json.loads((Path(FOLDER) / "banned_ids.json").read_text())
    )
    # The published code bans the previous token, which at position 0 is the prompt's last one.
    assert step["previous_token"] == prompt[position - 1] or step["previous_token"] in prompt
    banned[prompt[position - 1]] = True
    samples.prefix.reach(prompt[:position])
    for attempt in step["tries"]:
        lists = top_tokens(samples.prefix.log_probs, banned, attempt["topk"])
        assert lists == attempt["lm_topks"]
        for group, intersection in zip(attempt["subsets"], attempt["intersections"], strict=True):
            assert intersect(lists, [group]) == set(intersection)
        union = intersect(lists, attempt["subsets"])
        assert union == set(attempt["union_in_order"])
    assert set(step["candidates"]) == union | {step["current_token"]}


def test_gradient_and_shortlist(recorded: Any) -> None:
    meta, step, samples = recorded
    prompt, position = tuple(step["control_toks_before"]), step["pos"]
    # The published gradient reads the reasoning after it was stripped and tokenised again.
    reasonings = [
        tuple(one["input_ids"][slice(*one["slices"]["current_solution"])])
        for one in step["prompts"]
    ]
    gradients = token_gradients(
        language_model(),
        samples,
        range(len(samples)),
        prompt,
        position,
        step["candidates"],
        reasonings,
        LossWeights(answer=1.0, nll=meta["control_weight"], temperature=meta["temperature"]),
        RowBudget(4),
    )
    for mine, theirs in zip(gradients, step["per_sample_grad"], strict=True):
        expected = torch.tensor(theirs["grad"])
        assert (mine - expected).norm() <= 1e-3 * expected.norm()
    total = aggregate(gradients)
    expected = torch.tensor(step["agg_grad_normalised"])
    assert (total - expected).norm() <= 1e-3
    best = shortlist("gradient", total.tolist(), step["candidates"], 3, random.Random(0))
    ends = [token == step["ending_token"] for token in best]
    at = until_period(ends, position, step["initial_length"])
    seen = best if at is None else best[: at + 1]
    assert best == step["three"]
    assert seen == [choice["token"] for choice in step["choices"]]


def test_reasoning(recorded: Any) -> None:
    meta, step, samples = recorded
    prompt, position = tuple(step["control_toks_before"]), step["pos"]
    edits = [
        (*prompt[:position], choice["token"], *prompt[position + 1 :]) for choice in step["choices"]
    ]
    outcomes = Engine(language_model(), 24).run(
        samples, [prompt, *edits], Decoding(meta["max_new_tokens"])
    )
    generated = [step["update_generate"], *(choice["generate"] for choice in step["choices"])]
    for mine, theirs in zip(outcomes, generated, strict=True):
        rows = [row for batch in theirs for row in batch["new_ids"]]
        assert [outcome.reasoning for outcome in mine] == [
            tuple(i for i in row if i not in (meta["pad_id"], meta["eos_id"])) for row in rows
        ]


def test_selection(recorded: Any) -> None:
    meta, step, samples = recorded
    position = step["pos"]
    scores = []
    for choice in step["choices"]:
        loss, mistakes, nll = published_scores(meta, step, choice, samples)
        assert loss == pytest.approx(choice["per_sample_loss"], rel=1e-3, abs=1e-3)
        assert mistakes == [bool(m) for m in choice["per_sample_mistake"]]
        assert nll == pytest.approx(choice["control_loss"], rel=1e-3)
        scores.append(sum(mistakes) / len(mistakes) + 0.02 * nll)
        assert scores[-1] == pytest.approx(choice["score"], rel=1e-3)
    at = until_period(
        [choice["token"] == step["ending_token"] for choice in step["choices"]],
        position,
        step["initial_length"],
    )
    chosen = choose(scores, "last") if at is None else at
    token = step["choices"][chosen]["token"]
    assert token == step["selected_token"]

    prompt = list(step["control_toks_before"])
    prompt[position] = token
    (text,) = samples.roundtrip_text([tuple(prompt)])
    assert text == Layout.normalise(step["next_control"].removesuffix("_"))


def published_scores(
    meta: dict[str, Any], step: dict[str, Any], choice: dict[str, Any], samples: CachedExamples
) -> tuple[list[float], list[bool], float]:
    """Answer losses, mistakes and mean prompt likelihood over the published sequence."""
    model = language_model()
    position = step["pos"]
    prompt = list(step["control_toks_before"])
    prompt[position] = choice["token"]
    rows = [row for batch in choice["generate"] for row in batch["new_ids"]]
    dropped = (meta["pad_id"], meta["eos_id"])
    reasonings = [tuple(i for i in row if i not in dropped) for row in rows]
    pool = [(0, sample) for sample in range(len(samples))]
    samples.prefix.reach(())
    kv = samples.prefix.kv.select(range(len(samples)), spare=128)
    suffix = [i for i in samples.after[0] if i != END_OF_TURN]
    ids = torch.tensor([[*prompt, *suffix]] * len(samples))
    logits, _ = model.read(kv, ids[:, :1])
    # The logits before each prompt token, for labels that are not the tokens read.
    before = [samples.prefix.log_probs]
    for column in range(len(prompt)):
        before.append(logits.log_softmax(-1))
        logits, _ = model.read(kv, ids[:, column + 1 : column + 2])
    labels = torch.tensor(
        [choice["control_ids_seen_by_sample0"]]
        + [choice["control_ids_seen_by_sample1"]] * (len(samples) - 1)
    )
    nll = -torch.stack(before[: len(prompt)], 1).gather(2, labels[:, :, None])[:, :, 0]
    model.read(kv, ids[:, len(prompt) + 1 :])
    loss, mistakes, _ = score_answers(
        model, samples, pool, kv, reasonings, Decoding(1, temperature=meta["temperature"])
    )
    return loss, mistakes, float(nll.mean())
