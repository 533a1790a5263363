"""Adapters that peft has written, merged into the model they were made for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from prompt_optimization.errors import InputError
from prompt_optimization.models.loading import load_model, load_tokenizer
from prompt_optimization.models.settings import ModelSettings
from tests.conftest import tiny_model


def base_of(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


@pytest.fixture
def adapter(saved_model: Path, tmp_path: Path) -> Path:
    torch.manual_seed(1)
    config = LoraConfig(r=2, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(base_of(saved_model), config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:  # zero to begin with
            torch.nn.init.normal_(parameter, std=0.3)
    adapted.save_pretrained(tmp_path / "lora")
    return tmp_path / "lora"


def settings(name: Path, **given: Any) -> ModelSettings:
    return ModelSettings(str(name), **{"device": "cpu", "dtype": "float32", **given})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_merged_as_peft_merges(saved_model: Path, adapter: Path, dtype: str) -> None:
    plain = base_of(saved_model, getattr(torch, dtype))
    merged = PeftModel.from_pretrained(plain, adapter).merge_and_unload().state_dict()
    for asked in (
        settings(adapter, dtype=dtype),
        settings(saved_model, adapter=str(adapter), dtype=dtype),
        settings(adapter, device="cpu+cpu", dtype=dtype),
    ):
        model, _ = load_model(asked)
        found = model.model.state_dict()
        assert found.keys() == merged.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in merged.items())
        assert str(adapter) in model.name
        assert not any(parameter.requires_grad for parameter in model.model.parameters())


def test_a_tokenizer_beside_the_adapter_is_the_one(
    saved_model: Path, adapter: Path, tokenizers: Any
) -> None:
    assert load_tokenizer(settings(adapter))[0].name_or_path == str(saved_model)
    tokenizers["llama-3"].save_pretrained(adapter)
    for asked in (settings(adapter), settings(saved_model, adapter=str(adapter))):
        assert load_tokenizer(asked)[0].name_or_path == str(adapter)
    own = settings(adapter, tokenizer=str(saved_model))
    assert load_tokenizer(own)[0].name_or_path == str(saved_model)


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("/no/where", r"names the base model '/no/where', and model path '/no/where' does not ex"),
        ("nobody/has-this", r"names the base model 'nobody/has-this', and model 'nobody/has-this'"),
        (None, "names no base model"),
    ],
)
def test_the_base_cannot_be_had(
    adapter: Path, base: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(
        json.dumps(config | {"base_model_name_or_path": base})
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=words) as refused:
        load_model(settings(adapter))
    assert "give the base as the model, and the adapter beside it" in str(refused.value)
    assert refused.value.keys == ("model_paths", "model.adapters")


def test_made_for_another_model(
    saved_model: Path, adapter: Path, tokenizers: Any, tmp_path: Path
) -> None:
    rows = len(tokenizers["llama-3"])
    shallow = tiny_model("llama-3", rows, 1, torch.float32)
    shallow.model.layers = shallow.model.layers[:2]
    shallow.config.num_hidden_layers = 2
    other = GPT2LMHeadModel(GPT2Config(vocab_size=rows, n_embd=8, n_layer=1, n_head=1))
    for net, words in ((shallow, "4 weights have no counterpart"), (other, "Target modules")):
        folder = tmp_path / type(net).__name__
        net.save_pretrained(folder)
        tokenizers["llama-3"].save_pretrained(folder)
        with pytest.raises(InputError, match=rf"does not fit a {type(net).__name__}.*{words}"):
            load_model(settings(folder, adapter=str(adapter)))


def test_what_is_no_adapter_for_weights(
    saved_model: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    get_peft_model(base_of(saved_model), config).save_pretrained(tmp_path / "soft")
    both = shutil.copytree(saved_model, tmp_path / "both")
    shutil.copytree(adapter, both, dirs_exist_ok=True)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "adapter_config.json").write_text("[]")
    for asked, words in (
        (settings(tmp_path / "soft"), "is a PROMPT_TUNING, which is no part of the weights"),
        (settings(saved_model, adapter=str(saved_model)), r"holds no adapter \(no adapter_config"),
        (settings(adapter, adapter=str(adapter)), "is a second one; give their base model"),
        (settings(both), "holds a model and an adapter; move"),
        (settings(tmp_path / "broken"), "adapter_config.json of .* cannot be read"),
    ):
        with pytest.raises(InputError, match=words):
            load_model(asked)
    monkeypatch.setattr("prompt_optimization.extras.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package peft; .*\[adapters\]"):
        load_model(settings(adapter))
