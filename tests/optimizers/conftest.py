"""What tests of methods share that train a policy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM


@pytest.fixture(scope="session")
def writer(tokenizers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random Llama that knows nothing yet."""
    folder = tmp_path_factory.mktemp("writer")
    tokenizer = tokenizers["llama-3"]
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=256,
            bos_token_id=0,
            eos_token_id=int(tokenizer.eos_token_id),
            pad_token_id=None,
            initializer_range=0.05,
        )
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
