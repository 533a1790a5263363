"""Searches in memory: the best of three prompts, one a step."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.models.engine import Decoding
from prompt_optimization.models.template import PromptTemplate
from prompt_optimization.optimizers.base import Optimizer, Tools
from prompt_optimization.optimizers.best_of_n.search import BestOfN
from prompt_optimization.optimizers.best_of_n.settings import BestOfNSettings
from prompt_optimization.optimizers.stoppers import StopSettings
from prompt_optimization.runs.observers import Observer, Observers
from prompt_optimization.runs.session import Session
from prompt_optimization.runs.store.store import Store
from prompt_optimization.scoring.held_out import HeldOutScorer
from prompt_optimization.tasks.examples import Example
from tests.conftest import PROMPT, QUESTIONS

PROMPTS = (
    " careful thought, count each one.",
    " proper logical thought and think step by step.",
    " think.",
)


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def make_session(make_scorer: Any, warnings: list[str]) -> Callable[..., Session]:
    """``make_session(*observers, method, splits, path, batch, chunk, **stop)``: a search on six
    examples that starts from ``PROMPT`` and is kept in memory or in the log at ``path``."""

    def make(
        *observers: Observer,
        method: type[Optimizer] = BestOfN,
        splits: Sequence[str] = ("dev", "test"),
        path: Path | None = None,
        batch: int = 1,
        chunk: int = 0,
        **stop: Any,
    ) -> Session:
        scorer = make_scorer()
        (model,) = scorer.models
        layout = model.training.layout
        template = PromptTemplate(layout.extractor, layout.connector, layout.separator)
        rows = [Example(f"Again: {q}", a, 10 + row) for row, (q, a) in enumerate(QUESTIONS)]
        settings = BestOfNSettings.default(prompts=PROMPTS, batch=batch, chunk=chunk)
        return Session(
            method(settings, scorer, Tools(random.Random(0), 10, top_prompts=2)),
            scorer,
            HeldOutScorer(model, template, Decoding(5, answer_tokens=4)),
            {name: rows[i * 3 : i * 3 + 3] for i, name in enumerate(splits)},
            PROMPT,
            StopSettings.default(**stop),
            Store.create(path, {"method": "best_of_n"}, {"dtype": "float32"}),
            Observers(observers, warnings.append),
        )

    return make
