"""Pools in static buffers choose what growing pools choose, and their caches score alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertLMHeadModel,
    FalconConfig,
    FalconForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from prompt_optimization.models import static
from prompt_optimization.models.decode import decode, decode_parts
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.graphs import use_graphs
from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import LanguageModel, pad_left
from prompt_optimization.models.sampling import Sampling
from prompt_optimization.models.static import StaticBuffers, bucket
from tests.conftest import DEVICE
from tests.devices import lay_on_both
from tests.models.test_engine import PROMPTS, check_against_plain, prompts_of, stop_at

TINY: dict[str, Any] = {
    "vocab_size": 420,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
BERT = {name: value for name, value in TINY.items() if name != "num_key_value_heads"}


class Recorder:
    """Does steps and notes their keys."""

    def __init__(self) -> None:
        self.keys: list[Any] = []

    def __call__(self, key: Any, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        self.keys.append(key)
        return step()

    def forget(self) -> None:
        pass


@pytest.fixture
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "FEWEST_COLUMNS", 8)


@given(
    count=st.integers(1, 5000), parts=st.sampled_from([1, 2, 4, 8]), least=st.sampled_from([1, 64])
)
def test_a_bucket_wastes_little(count: int, parts: int, least: int) -> None:
    found = bucket(count, parts, least)
    assert count <= found < count + max(least, count / parts)
    assert bucket(found, parts, least) == found
    assert bucket(count + 1, parts, least) >= found


@pytest.mark.usefixtures("small_buckets")
def test_equals_the_plain_path(make_model: Any, make_samples: Any) -> None:
    model = make_model("llama-3")
    samples = make_samples(model)
    stop_at(model, samples, 5)
    recorder = Recorder()
    model.static = StaticBuffers(recorder)
    lengths = check_against_plain(
        Engine(model, 64), samples, prompts_of(samples), Decoding(30, temperature=0.7), range(6)
    )
    assert len(lengths) > 1 and max(lengths) == 30, "rows should end early and at the limit"
    rows = {rows for rows, *_ in recorder.keys}
    columns = {columns for _, columns, *_ in recorder.keys}
    assert len(rows) > 2 and len(columns) > 2
    assert len(set(recorder.keys)) < len(recorder.keys)


@pytest.mark.usefixtures("small_buckets")
@pytest.mark.parametrize("sampling", [None, Sampling(0.8), Sampling(1.3, 20, 0.9, 7)])
def test_whole_outcomes_are_those_of_growing_rows(
    make_model: Any, make_samples: Any, sampling: Sampling | None
) -> None:
    """Drawn and freely written, in pools that are smaller than what is asked."""
    model = make_model("llama-3")
    samples = make_samples(model)
    stop_at(model, samples, 4)
    decoding = Decoding(9, answer_tokens=5, sampling=sampling)
    expected = Engine(model, 64).run(samples, prompts_of(samples), decoding)
    for rows in (64, 7):
        model.static = StaticBuffers(static.Plainly())
        found = Engine(model, rows).run(samples, prompts_of(samples), decoding)
        for one, other in zip(expected, found, strict=True):
            for mine, theirs in zip(one, other, strict=True):
                assert (mine.reasoning, mine.answer) == (theirs.reasoning, theirs.answer)
                assert mine.mistake == theirs.mistake
                assert mine.loss == pytest.approx(theirs.loss, rel=1e-4, abs=1e-4)


@pytest.mark.usefixtures("small_buckets")
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_pools_one_after_the_other(make_model: Any, data: st.DataObject) -> None:
    """Whatever lay in the buffers before, rows are those of the plain loop, and so are their
    caches: what is read after them has the same logits."""
    model: LanguageModel = make_model("llama-3")
    buffers = StaticBuffers(static.Plainly())
    token = st.integers(5, model.vocabulary - 1)
    for _ in range(data.draw(st.integers(1, 3), label="pools")):
        rows = data.draw(st.lists(st.lists(token, min_size=1, max_size=9), min_size=1, max_size=9))
        limit = data.draw(st.integers(1, 12), label="limit")
        model.stop_ids = frozenset(data.draw(st.sets(token, max_size=90), label="stops"))
        sampling = data.draw(st.sampled_from([None, Sampling(1.0), Sampling(1.0, 0, 0.5)]))
        found = []
        for model.static in (None, buffers):
            ids, valid = pad_left(rows, model.filler, model.device)
            kv = KVRows.empty(len(rows), model.device)
            logits, _ = model.read(kv, ids, valid=valid)
            choice = sampling.choice([str(ids) for ids in rows], DEVICE) if sampling else None
            model.counts.clear()
            parts = list(decode_parts(model, kv, logits, limit, 1, choice))
            kv = KVRows.join([part.kv for part in parts], [part.rows for part in parts], 1)
            told = [pair for p in parts for pair in zip(p.rows.tolist(), p.written, strict=True)]
            written = [ids for _, ids in sorted(told)]
            after, _ = model.read(kv, torch.full((len(rows), 1), 9))
            found.append((written, model.counts["decoded"], after, kv.positions, kv.mask.sum(1)))
        (one, counted, logits, *rest), (other, counted_too, logits_too, *rest_too) = found
        assert one == other and counted == counted_too
        torch.testing.assert_close(logits, logits_too, atol=1e-4, rtol=1e-4)
        assert all(map(torch.equal, rest, rest_too))


def test_what_is_not_finite_stops_the_run(make_model: Any, make_samples: Any) -> None:
    model = make_model("llama-3")
    samples = make_samples(model)
    prompts = prompts_of(samples, PROMPTS[:1])
    (sound,) = Engine(model, 64).run(samples, prompts, Decoding(4))
    model.static = StaticBuffers(static.Plainly())
    embedding = model.model.get_input_embeddings().weight
    token = sound[2].reasoning[1]
    kept = embedding[token].clone()
    with torch.no_grad():
        embedding[token] = torch.nan
    with pytest.raises(FloatingPointError, match=r"not finite for prompt ' proper.*' on row"):
        Engine(model, 64).run(samples, prompts, Decoding(4))
    with torch.no_grad():
        embedding[token] = kept
    # What is no number is left in the buffers, and nobody reads it.
    (again,) = Engine(model, 64).run(samples, prompts, Decoding(4))
    assert [o.reasoning for o in again] == [o.reasoning for o in sound]


def test_a_shortage_gives_the_buffers_back(make_model: Any, make_samples: Any) -> None:
    model = make_model("llama-3")
    samples = make_samples(model)
    (expected,) = Engine(model, 64).run(samples, prompts_of(samples, PROMPTS[:1]), Decoding(6))

    class Short(static.Plainly):
        def __call__(self, key: Any, step: Callable[[], torch.Tensor]) -> torch.Tensor:
            if key[0] > 3:
                raise torch.OutOfMemoryError
            return step()

    model.static = StaticBuffers(Short())
    engine = Engine(model, 64)
    (found,) = engine.run(samples, prompts_of(samples, PROMPTS[:1]), Decoding(6))
    assert [o.reasoning for o in found] == [o.reasoning for o in expected]
    assert engine.budget.rows == 3 and model.static.memory.rows == 3


KINDS: dict[str, Any] = {
    "mixture": lambda: MixtralForCausalLM(MixtralConfig(**TINY, num_local_experts=2)),
    "buffers fail|buffers differ": lambda: FalconForCausalLM(
        FalconConfig(vocab_size=420, hidden_size=32, num_attention_heads=4, alibi=True)
    ),
    "not sdpa": lambda: LlamaForCausalLM._from_config(
        LlamaConfig(**TINY), attn_implementation="eager"
    ),
    "several devices": lambda: lay_on_both(LlamaForCausalLM(LlamaConfig(**TINY))),
    "no static cache": lambda: BertLMHeadModel(BertConfig(**BERT, is_decoder=True)),
    "locally": lambda: MistralForCausalLM(MistralConfig(**TINY, sliding_window=4)),
}


@pytest.mark.parametrize("reason", KINDS)
def test_other_kinds_of_models_decode_by_the_plain_loop(reason: str, tokenizers: Any) -> None:
    model = LanguageModel(KINDS[reason](), tokenizers["llama-3"], name="other")
    with pytest.warns(UserWarning, match=f"'other' decodes without CUDA graphs: .*({reason})"):
        use_graphs(model, "on")
    assert model.static is None


def test_a_setting_decides(make_model: Any) -> None:
    for wanted, used in (("auto", DEVICE.type == "cuda"), ("off", False), ("on", True)):
        model = make_model("llama-3")
        use_graphs(model, wanted)
        assert (model.static is not None) == used and not model.counts
        assert model.static is None or model.static.memory is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_graphs_choose_what_the_plain_loop_chooses(make_model: Any, make_samples: Any) -> None:
    model = make_model("llama-3")
    model = LanguageModel(model.model.cuda(), model.tokenizer, name="on a GPU")
    samples = make_samples(model)
    stop_at(model, samples, 5)
    for sampling in (None, Sampling(0.8), Sampling(1.3, 20, 0.9, 7)):
        decoding = Decoding(100, answer_tokens=5, sampling=sampling)
        model.static = None
        expected = Engine(model, 64).run(samples, prompts_of(samples), decoding)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            use_graphs(model, "auto")
            found = Engine(model, 64).run(samples, prompts_of(samples), decoding)
        same = [
            mine.reasoning == theirs.reasoning
            for one, other in zip(expected, found, strict=True)
            for mine, theirs in zip(one, other, strict=True)
        ]
        assert all(same)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_that_cannot_be_captured_is_done_all_the_same(make_model: Any) -> None:
    model = make_model("llama-3")
    model = LanguageModel(model.model.cuda(), model.tokenizer, name="on a GPU")

    def looked_at(*given: Any) -> None:
        given[-1].sum().item()

    model.model.get_output_embeddings().register_forward_hook(looked_at)
    with pytest.warns(UserWarning, match="cannot be captured"):
        use_graphs(model, "auto")
    ids = torch.full((3, 4), 9, device=model.device)
    logits, _ = model.read(kv := KVRows.empty(3, model.device), ids)
    assert len(decode(model, kv, logits, 5)) == 3
