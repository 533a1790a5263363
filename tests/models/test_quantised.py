"""Checkpoints whose weights are kept in few bits, by a method that transformers learns here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.quantizers import auto
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from prompt_optimization.errors import InputError
from prompt_optimization.models.loading import load_model
from prompt_optimization.models.memory import RowBudget
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.models.worker import Worker
from prompt_optimization.optimizers.greater.differentiate import LossWeights, token_gradients
from prompt_optimization.runs.environment import describe_model
from tests.conftest import PROMPT

METHOD = "bytes"


class Rows(QuantizationConfigMixin):  # type: ignore[misc]
    """Every row of a layer in whole numbers from -127 to 127, with one scale."""

    def __init__(self, **given: Any) -> None:
        self.quant_method = METHOD


class RowsLinear(torch.nn.Module):
    def __init__(self, like: torch.nn.Linear) -> None:
        super().__init__()
        rows, columns = like.weight.shape
        self.register_buffer("whole", torch.zeros(rows, columns, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(rows, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (self.whole * self.scale).to(x.dtype).T


def replaced(model: Any) -> Any:
    for layer in model.model.layers:
        layer.mlp.up_proj = RowsLinear(layer.mlp.up_proj)
        layer.self_attn.v_proj = RowsLinear(layer.self_attn.v_proj)
    return model


class RowsQuantizer(HfQuantizer):  # type: ignore[misc]
    requires_calibration = True
    is_trainable = True

    def is_serializable(self, **_: Any) -> bool:
        return True

    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> None:
        replaced(model)


@pytest.fixture
def checkpoint(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    monkeypatch.setitem(auto.AUTO_QUANTIZATION_CONFIG_MAPPING, METHOD, Rows)
    monkeypatch.setitem(auto.AUTO_QUANTIZER_MAPPING, METHOD, RowsQuantizer)
    folder = shutil.copytree(saved_model, tmp_path / "quantised")
    model = AutoModelForCausalLM.from_pretrained(saved_model, dtype=torch.float32)
    weights = dict(model.state_dict())
    replaced(model)
    for name in model.state_dict():
        if name.endswith(".whole"):
            weight = weights[name.replace(".whole", ".weight")]
            scale = weight.abs().amax(1, keepdim=True) / 127
            layer = model.get_submodule(name.removesuffix(".whole"))
            layer.whole.copy_((weight / scale).round())
            layer.scale.copy_(scale)
    model.save_pretrained(folder)
    write_method(folder, quant_method=METHOD)
    yield folder


def write_method(folder: Path, **method: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": method}))


def settings(folder: Path, **given: Any) -> ModelSettings:
    return ModelSettings(str(folder), **{"device": "cpu", "dtype": "float32", **given})


def gradients(model: Any, samples: Any) -> torch.Tensor:
    ids = samples.prompt_ids(PROMPT)
    return token_gradients(
        model, samples, [0, 1], ids, 2, [5, 9, 30], [(4,), (4, 6)], LossWeights(), RowBudget(2)
    )


def test_a_quantised_checkpoint(checkpoint: Path, saved_model: Path, make_samples: Any) -> None:
    plain, chat = load_model(settings(saved_model))
    model, _ = load_model(settings(checkpoint))
    assert model.quantised and not plain.quantised
    assert model.model.model.layers[1].mlp.up_proj.whole.dtype == torch.int8
    expected, found = (gradients(each, make_samples(each, n=2)) for each in (plain, model))
    assert torch.nn.functional.cosine_similarity(expected.flatten(), found.flatten(), 0) > 0.9
    parted, _ = load_model(settings(checkpoint, device="cpu+cpu"))
    hashes = [describe_model(Worker(each, chat))["weights"] for each in (plain, model, parted)]
    assert hashes[1] == hashes[2] != hashes[0]
    model.model.model.layers[1].mlp.up_proj.whole[0, 0] += 1
    assert describe_model(Worker(model, chat))["weights"] != hashes[1]


def test_no_gradient_passes(checkpoint: Path, make_samples: Any) -> None:
    model, _ = load_model(settings(checkpoint))
    for layer in model.model.model.layers:  # as kernels without a backward pass do
        layer.register_forward_hook(lambda _, inputs, output: output.detach())
    with pytest.raises(InputError, match=r"no gradient passes the quantised layers.* method"):
        gradients(model, make_samples(model, n=2))


@pytest.mark.parametrize("method", ["torchao", "gptq", "bitsandbytes", "compressed-tensors"])
def test_the_package_of_a_method_is_missing(checkpoint: Path, method: str) -> None:
    bits = {"load_in_4bit": True} if method == "bitsandbytes" else {"bits": 4}
    write_method(checkpoint, quant_method=method, **bits)
    with pytest.raises(InputError, match=r"(needs a package|cannot be loaded): .*"):
        load_model(settings(checkpoint))
