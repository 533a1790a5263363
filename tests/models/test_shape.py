"""What a model's shape says of memory and arithmetic is what the model has and takes."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    Gemma3nTextConfig,
    GPT2Config,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    PreTrainedConfig,
)

from prompt_optimization.models.shape import Shape

TOKENS = 96
CONFIG = LlamaConfig(
    vocab_size=100, hidden_size=96, intermediate_size=256, num_hidden_layers=3,
    num_attention_heads=6, num_key_value_heads=2,
)  # fmt: skip
SHAPE = Shape.of(CONFIG, torch.bfloat16)


@pytest.fixture(scope="module")
def network() -> LlamaForCausalLM:
    return LlamaForCausalLM(CONFIG).bfloat16().requires_grad_(False)


def test_two_operations_a_weight_of_every_matrix(network: LlamaForCausalLM) -> None:
    matrices = sum(p.numel() for p in network.model.layers.parameters() if p.ndim == 2)
    assert SHAPE.reading_flops(0) == 2 * matrices
    assert SHAPE.decoding_flops(0) == 2 * (matrices + network.lm_head.weight.numel())


def test_a_backward_pass_keeps_no_more_than_is_planned(network: LlamaForCausalLM) -> None:
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    vectors = torch.randn(1, TOKENS, 96, dtype=torch.bfloat16, requires_grad=True)
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network.model(inputs_embeds=vectors)
    found = sum(size for pointer, size in kept.items() if pointer not in weights) / TOKENS
    assert SHAPE.gradient_bytes / 2 < found < SHAPE.gradient_bytes


@pytest.mark.parametrize(
    ("config", "inner", "kv_heads"),
    [
        (GPT2Config(n_embd=32, n_head=4), 128, 4),
        (Gemma3nTextConfig(num_hidden_layers=2, intermediate_size=[8, 64]), 64, 2),
        (MambaConfig(hidden_size=32, intermediate_size=64), 64, 1),
    ],
)
def test_sizes_may_be_absent_or_differ(config: PreTrainedConfig, inner: int, kv_heads: int) -> None:
    shape = Shape.of(config, torch.float32)
    assert (shape.inner, shape.kv_heads) == (inner, kv_heads)
