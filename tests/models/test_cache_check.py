"""Models that continue a cache pass, and others are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from prompt_optimization.errors import InputError
from prompt_optimization.models.cache_check import check_cache
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.language_model import LanguageModel
from tests import plain

USUAL = {
    "vocab_size": 420,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "eos_token_id": 1,
    "bos_token_id": 0,
    "pad_token_id": None,
    "initializer_range": 0.3,
}
OLD = {"vocab_size": 420, "n_embd": 32, "n_layer": 2, "n_head": 4, "eos_token_id": 1}
SOUND = {
    "llama": USUAL,
    "qwen3": USUAL | {"head_dim": 8},
    "mistral": USUAL | {"sliding_window": 16},
    "mixtral": USUAL | {"num_local_experts": 4},
    "gemma3_text": USUAL | {"head_dim": 8, "sliding_window": 16},
    "phi3": USUAL,
    "cohere": USUAL,
    "gpt_oss": USUAL | {"head_dim": 8, "num_local_experts": 4, "sliding_window": 16},
    "llama4_text": USUAL
    | {
        "head_dim": 8,
        "num_local_experts": 2,
        "attention_chunk_size": 16,
        "intermediate_size_mlp": 64,
    },
    "gpt_neox": USUAL,
    "gpt2": OLD | {"initializer_range": 0.3},
    "gptj": OLD | {"rotary_dim": 4, "initializer_range": 0.3},
    "bloom": OLD | {"hidden_size": 32, "initializer_range": 0.3},
    "mpt": {"vocab_size": 420, "d_model": 32, "n_heads": 4, "n_layers": 2, "eos_token_id": 1},
}
UNSOUND = {
    "mamba2": {
        "vocab_size": 420, "hidden_size": 32, "num_hidden_layers": 2, "num_heads": 8, "head_dim": 8,
        "state_size": 8, "n_groups": 1, "chunk_size": 8, "pad_token_id": None,
        "initializer_range": 0.3,
    },
    "lfm2": USUAL | {"layer_types": ["conv", "full_attention"], "block_multiple_of": 8},
    "bert": {
        "vocab_size": 420, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "initializer_range": 0.3,
    },
}  # fmt: skip


def make(kind: str, options: dict[str, Any], tokenizers: Any, dtype: torch.dtype) -> LanguageModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**options)).to(dtype)
    return LanguageModel(model, tokenizers["llama-3"], name=kind)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", SOUND)
def test_decoders_with_a_cache_pass(kind: str, tokenizers: Any, dtype: torch.dtype) -> None:
    model = make(kind, SOUND[kind], tokenizers, dtype)
    check_cache(model)
    assert not model.counts, "it counts for nothing"


@pytest.mark.parametrize("kind", SOUND)
def test_the_engine_equals_the_plain_path(kind: str, tokenizers: Any, make_samples: Any) -> None:
    model = make(kind, SOUND[kind], tokenizers, torch.float32)
    samples = make_samples(model, n=3)
    prompts = [samples.prompt_ids(text) for text in (" careful thought, count.", " think now.")]
    outcomes = Engine(model, 4).run(samples, prompts, Decoding(6))
    for prompt, found in zip(prompts, outcomes, strict=True):
        for sample, outcome in enumerate(found):
            reasoning = plain.reason(model, samples, prompt, sample, 6)
            loss, mistake = plain.answer_loss(model, samples, prompt, sample, reasoning, 1.0)
            assert (outcome.reasoning, outcome.mistake) == (reasoning, mistake)
            assert outcome.loss == pytest.approx(loss, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kind", UNSOUND)
def test_others_are_refused(kind: str, tokenizers: Any) -> None:
    model = make(kind, UNSOUND[kind], tokenizers, torch.float32)
    with pytest.raises(InputError, match=rf"model '{kind}' .* does not continue cached text"):
        check_cache(model)
