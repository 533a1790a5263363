"""What tests of methods share: a model that learns to write, and searches of ``greater``."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from prompt_optimization.optimizers.base import Step, Tools
from prompt_optimization.optimizers.greater.search import GreaterSearch
from prompt_optimization.optimizers.greater.settings import GreaterSettings
from tests.conftest import PROMPT

MakeSearch = Callable[..., GreaterSearch]


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


def settings_for(behaviour: str = "sound", **changes: Any) -> GreaterSettings:
    return GreaterSettings.default(behaviour=behaviour, topk=20, topq=4, **changes)


def annealed(**changes: Any) -> GreaterSettings:
    return settings_for(accept="anneal", **changes)


def improving(**changes: Any) -> GreaterSettings:
    return settings_for(accept="improve", **changes)


@pytest.fixture
def make_search(make_model: Any, make_scorer: Any) -> MakeSearch:
    """``make_search(settings)``: a search that has scored its initial prompt."""

    def make(
        settings: GreaterSettings,
        *,
        kind: type[GreaterSearch] = GreaterSearch,
        prompt: str = PROMPT,
        n: int = 6,
        family: str = "llama-3",
        objective: str = "loss",
        seed: int = 0,
        steps: int = 12,
        top_prompts: int = 10,
        **more: Any,
    ) -> GreaterSearch:
        scorer = make_scorer(make_model(family), n=n, prompt=prompt, objective=objective, **more)
        search = kind(settings, scorer, Tools(random.Random(seed), steps, top_prompts))
        search.start(prompt)
        return search

    return make


def halfway(
    make_search: MakeSearch, settings: GreaterSettings, steps: int
) -> tuple[GreaterSearch, GreaterSearch]:
    """A search after half of its steps, and another one that was given its state."""
    whole, other = (make_search(settings, steps=steps) for _ in range(2))
    for _ in range(steps // 2):
        whole.step()
    other.scorer.load_state_dict(whole.scorer.state_dict())
    other.load_state_dict(whole.state_dict())
    other.tools.rng.setstate(whole.tools.rng.getstate())
    return whole, other


def run(search: GreaterSearch) -> list[Step]:
    """All steps of ``search``."""
    made = [search.step() for _ in range(search.tools.max_steps)]
    steps = [step for step in made if step is not None]
    assert len(steps) == len(made) == search.steps, "there is always something left to try"
    return steps
