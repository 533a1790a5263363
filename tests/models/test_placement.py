"""One copy on several devices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from prompt_optimization.errors import InputError
from prompt_optimization.models import memory
from prompt_optimization.models.cache_check import check_cache
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.loading import load_model
from prompt_optimization.models.memory import RowBudget
from prompt_optimization.models.placement import layer_map, resolve_devices
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.optimizers.greater.differentiate import LossWeights, token_gradients
from tests.conftest import PROMPT
from tests.devices import CPU, lay_on_both, second_device

A, B, C = (torch.device("cuda", index) for index in range(3))


@pytest.fixture
def make_parted(make_model: Any) -> Callable[[str], LanguageModel]:
    """``make_parted(family)``: what ``make_model`` makes, on two devices."""

    def make(family: str) -> LanguageModel:
        whole = make_model(family)
        whole.release()
        return LanguageModel(lay_on_both(whole.model), whole.tokenizer, name=whole.name)

    return make


def test_a_copy_on_two_devices_equals_one_on_one(
    family: str, make_model: Any, make_parted: Any, make_samples: Any
) -> None:
    parted = make_parted(family)
    assert parted.devices == (parted.device, second_device())
    check_cache(parted)
    found = []
    for model in (make_model(family), parted):
        samples = make_samples(model, n=4)
        ids = samples.prompt_ids(PROMPT)
        samples.prefix.reach(ids[:4])
        prompts = [ids, (*ids[:3], *ids[4:])]
        outcomes = Engine(model, max_rows=5).run(samples, prompts, Decoding(6, 4))
        reasonings = [outcome.reasoning for outcome in outcomes[0]]
        gradients = token_gradients(
            model, samples, range(4), ids, 4, [5, 9, 30], reasonings, LossWeights(), RowBudget(2)
        )
        found.append(([each for row in outcomes for each in row], gradients))
    (outcomes, gradients), (others, other_gradients) = found
    for one, other in zip(outcomes, others, strict=True):
        written = one.reasoning, one.mistake, one.answer
        assert written == (other.reasoning, other.mistake, other.answer)
        assert (one.loss, one.nll) == pytest.approx((other.loss, other.nll), abs=1e-4)
    torch.testing.assert_close(gradients, other_gradients, rtol=1e-3, atol=1e-4)


def test_rows_are_cut_and_joined_where_each_layer_lies(
    make_model: Any, make_parted: Any, make_samples: Any
) -> None:
    caches = []
    for model in (make_model("llama-3"), make_parted("llama-3")):
        samples = make_samples(model, n=4)
        samples.prefix.reach(())
        parts = [samples.prefix.kv.select([3, 0]), samples.prefix.kv.select([1, 2])]
        caches.append(KVRows.join(parts, [torch.tensor([2, 0]), torch.tensor([1, 3])]))
    whole, parted = caches
    assert torch.equal(whole.mask, parted.mask) and torch.equal(whole.positions, parted.positions)
    assert parted.column_bytes.keys() == {CPU, second_device()}
    assert parted.column_bytes.total() == whole.column_bytes.total()
    seen = whole.mask[:, None, :, None]
    for one, other in zip(whole.cache.layers, parted.cache.layers, strict=True):
        for mine, theirs in ((one.keys, other.keys), (one.values, other.values)):
            torch.testing.assert_close(mine * seen, theirs.cpu() * seen)


def test_the_poorest_device_sets_the_pool(
    make_parted: Any, make_samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parted = make_parted("llama-3")
    pools = []
    for free in ({}, {CPU: 10**6}, {second_device(): 10**6}, {CPU: 1}):
        monkeypatch.setattr(memory, "pool_bytes", lambda on, cached, free=free: free.get(on, 10**9))
        samples = make_samples(parted, n=4)
        Engine(parted).run(samples, [samples.prompt_ids(PROMPT)], Decoding(2))
        pools.append(samples.pool.rows)
    plenty, first, last, none = pools
    assert plenty > first > none == 1 and plenty > last > none


def test_equal_shares_in_the_order_of_the_layers() -> None:
    def places(tied: bool, devices: list[torch.device]) -> dict[str, int | str]:
        config = LlamaConfig(
            vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=6,
            num_attention_heads=2, tie_word_embeddings=tied,
        )  # fmt: skip
        with torch.device("meta"):
            return layer_map(LlamaForCausalLM(config), devices)

    found = places(False, [A, B, C])
    layers = [found[f"model.layers.{i}"] for i in range(6)]
    assert layers == sorted(layers) and [layers.count(i) for i in range(3)] == [2, 2, 2]
    assert (found["model.embed_tokens"], found["model.rotary_emb"]) == (0, 0)
    assert (found["model.norm"], found["lm_head"]) == (2, 2)
    assert places(True, [A, B])["lm_head"] == 0, "beside the embedding, whose weights it shares"
    assert set(places(False, [CPU, CPU]).values()) == {"cpu"}


def test_devices_of_a_copy(saved_model: Path) -> None:
    alone, _ = load_model(ModelSettings(str(saved_model), device="cpu", dtype="float32"))
    copy, _ = load_model(ModelSettings(str(saved_model), device="cpu+cpu", dtype="float32"))
    assert copy.devices == (CPU,)
    for name, tensor in alone.model.state_dict().items():
        assert torch.equal(tensor, copy.model.state_dict()[name])
    with pytest.raises(InputError, match=r"device 'cuda:99' does not exist .* devices"):
        resolve_devices("cpu+cuda:99")
    second_device()
    with pytest.raises(InputError, match=r"'cpu\+lazy' joins devices of several kinds"):
        resolve_devices("cpu+lazy")


def test_a_model_whose_modules_may_stand_anywhere_is_not_parted() -> None:
    class Own(LlamaForCausalLM):
        pass

    with torch.device("meta"):
        model = Own(LlamaConfig(num_hidden_layers=1))
    model._no_split_modules = set()
    with pytest.raises(InputError, match="a Own cannot be laid on several devices"):
        layer_map(model, [A, B])
