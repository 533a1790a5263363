"""The measurements of a GPU are refused where there is none, and know what decoding has to read."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import floor_seconds

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_machine_without_a_gpu_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "found.md"
    ran = subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert ran.returncode == 2 and not out.exists()
    assert ran.stderr.count("\n") == 1 and "has no GPU" in ran.stderr


def test_a_step_reads_the_weights_once_and_every_column(make_model: Any) -> None:
    model = make_model("llama-3")
    weights = sum(each.numel() for each in model.model.parameters())
    weights -= model.model.get_input_embeddings().weight.numel()
    column = 3 * 2 * 2 * 8  # layers, keys and values, heads, numbers
    rows = [(9,) * 4, (9,) * 6]
    # Three steps: the rows hold 4 and 6 columns, then one more, then two.
    read = 3 * weights + column * (10 + 12 + 14)
    assert floor_seconds(model, rows, 3, bandwidth=4.0) == read
