"""Runs on models as people have them: with an adapter, in half precision, on several devices."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import normalizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from prompt_optimization.errors import InputError
from prompt_optimization.runs.store.log import RunLog
from tests.runs.harness import carry_out


@pytest.fixture
def flags(small_run: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    return small_run | {
        "objective": "loss",
        "n_dev_data": 0,
        "n_test_data": 6,
        "n_steps": 2,
        "max_new_tokens": 5,
        "resume": "auto",
        "result_prefix": tmp_path / "run",
    }


@pytest.fixture
def adapter(saved_model: Path, tmp_path: Path) -> Path:
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(saved_model)
    adapted = get_peft_model(base, LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "lora")
    AutoTokenizer.from_pretrained(saved_model).save_pretrained(tmp_path / "lora")
    return tmp_path / "lora"


def stop_after_a_step(flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of a run that was interrupted."""
    step = RunLog.step

    def interrupted(self: RunLog, *arguments: Any) -> None:
        step(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunLog, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            carry_out(flags)
    (log,) = Path(flags["result_prefix"]).parent.glob("run_*.json")
    return log


def test_another_adapter_or_tokenizer_is_another_run(
    flags: dict[str, Any], adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags |= {"model.adapters": adapter}
    log = stop_after_a_step(flags, monkeypatch)
    environment = json.loads(log.read_text())["environment"]
    assert environment["model"] == f"{flags['model_paths']} + {adapter}"

    with pytest.raises(InputError, match=r"model\.adapters was \['.*'\] and is \[\]"):
        carry_out(flags | {"model.adapters": ()})
    trained = load_file(adapter / "adapter_model.safetensors")
    first = min(trained)
    further = trained | {first: trained[first] + 0.1}
    save_file(further, adapter / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"the model's weights changed"):
        carry_out(flags)
    save_file(trained, adapter / "adapter_model.safetensors", {"format": "pt"})
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    before = (adapter / "tokenizer.json").read_bytes()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    tokenizer.save_pretrained(adapter)
    with pytest.raises(InputError, match=r"the tokenizer changed \(tokenizer was"):
        carry_out(flags)
    # A log of when there was no hash of it.
    data = json.loads(log.read_text())
    del data["environment"]["tokenizer"]
    log.write_text(json.dumps(data))
    (adapter / "tokenizer.json").write_bytes(before)
    assert carry_out(flags).data["status"] == "finished"


def test_half_precision_ends_with_numbers(flags: dict[str, Any]) -> None:
    log = carry_out(flags | {"dtype": "float16"}).data
    assert log["environment"]["dtype"] == "float16" and log["status"] == "finished"
    assert all(map(math.isfinite, log["losses"]))
    gradients = [p["gradient"] for step in log["steps"] for p in step["proposals"]]
    assert gradients and any(gradients) and all(map(math.isfinite, gradients))


def test_copies_on_several_devices_in_processes_of_their_own(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    alone = carry_out(flags | {"result_prefix": tmp_path / "alone"}).data
    log = carry_out(flags | {"devices": ("cpu+cpu", "cpu")}).data
    assert log["controls"] == alone["controls"]
    assert log["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    assert log["environment"]["weights"] == alone["environment"]["weights"]


def test_as_many_entries_as_models(flags: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"2 entries .* for 1 models; .*setting model\.revisions"):
        carry_out(flags | {"model.revisions": ("a", "b")})
