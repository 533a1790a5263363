"""A real model, small as it is, answers the questions and writes the prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import shift
from prompt_optimization.models.kept import KeptModels
from prompt_optimization.paths import data_folder
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.run import run
from tests.runs.harness import values

FLAGS = {
    "train_data": data_folder() / "BBH" / "one_step_arithmetic.json",
    "devices": "cpu",
    "dtype": "float32",
    "n_train_data": 3,
    "n_dev_data": 1,
    "n_test_data": 1,
    "max_new_tokens": 4,
    "answer_tokens": 2,
    "n_steps": 1,
    "top_prompts": 1,
    "writer.max_tokens": 10,
    "writer.accept_raw": True,
}

# As small as still asks for everything.
SETTINGS: dict[str, dict[str, Any]] = {
    "ape": {"subsamples": 2, "demos": 1, "draws": 1, "top": 2, "paraphrases": 1},
    "apo": {"beam": 1, "reasons": 1, "errors": 1},
    "evoprompt": {"population": 4, "demos": 1},
    "gepa": {"minibatch": 2, "parents": 1, "accept": "equal"},
    "gpo": {"batch_size": 2, "proposals": 2, "initial_step_size": 20, "final_step_size": 4},
    "hybrid": {"proposals": 1, "positions": 1, "edit_proposals": 1},
    "opro": {"proposals": 2},
    "pe2": {"beam": 1, "expand": 1},
    "robust": {
        "source": "digits",
        "target": "words",
        "prompts": 2,
        "demos": 2,
        "min_rows": 1,
    },
    "spo": {"questions": 2, "judge": "logprob"},
    "textgrad": {"batch": 2},
}


@pytest.fixture(scope="module")
def kept() -> Iterator[KeptModels]:
    """The model, loaded and checked once for all methods."""
    with KeptModels() as models:
        yield models


@pytest.mark.smollm2
@pytest.mark.parametrize("method", SETTINGS)
def test_a_search(method: str, kept: KeptModels, tmp_path: Path) -> None:
    own = {f"{method}.{name}": value for name, value in SETTINGS[method].items()}
    flags = FLAGS | own | {"method": method, "result_prefix": tmp_path / "run"}
    if method == "robust":
        shift.main(tmp_path)  # two groups
        flags |= {"train_data": tmp_path / "one_step_arithmetic.csv", "n_steps": 3}
    log = run(values(flags), Display(verbose=False), kept.open).data
    assert log["status"] == "finished" and len(log["steps"]) == flags["n_steps"]
    assert log["steps"][0]["tried"]
    assert log["best"][0]["objective"] <= log["initial"]["objective"]
    dev = log["evaluation"]["dev"]
    right = {
        each["prompt"]: each["hits"]["strict"].count("1") for each in (dev["initial"], *dev["best"])
    }
    assert right[log["evaluation"]["chosen"]] == max(right.values())
