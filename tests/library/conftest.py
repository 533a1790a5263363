"""A tiny model in the user's hands: half of it frozen, in training mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from GReaTer import GreaterDataSet, GreaterOptimizer
from tests.conftest import QUESTIONS, tiny_model

PROMPT = "Use logical reasoning and think step by step."
EXTRACTOR = "\nNext, only give the exact answer, no extract words or any punctuation:"


def entries(count: int, start: int = 0, prompt: str = PROMPT) -> list[dict[str, str]]:
    """Different questions, however many."""
    found = []
    for number in range(start, start + count):
        question, answer = QUESTIONS[number % len(QUESTIONS)]
        text = f"Question {number}. {question}"
        found.append({"question": text, "prompt": prompt, "answer": answer})
    return found


@pytest.fixture
def model(tokenizers: dict[str, Any]) -> Any:
    tokenizer = tokenizers["llama-3"]
    made = tiny_model("llama-3", len(tokenizer), int(tokenizer.eos_token_id), torch.float32)
    made.train()
    made.model.layers[0].eval()
    for parameter in made.model.layers[1].parameters():
        parameter.requires_grad_(False)
    return made


@pytest.fixture
def make_optimizer(model: Any, tokenizers: dict[str, Any]) -> Callable[..., GreaterOptimizer]:
    """``make_optimizer(**config)``, with little reasoning."""

    def make(**config: Any) -> GreaterOptimizer:
        own = {"generate_config": {"max_new_tokens": 5}, "answer_tokens": 4, **config}
        return GreaterOptimizer(model, tokenizers["llama-3"], own)

    return make


@pytest.fixture
def inputs() -> GreaterDataSet:
    return GreaterDataSet(custom_inputs=entries(4))
