"""A sentence encoder: vectors of unit length that depend on their own text alone."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel, T5Config, T5Model

from prompt_optimization.errors import InputError
from prompt_optimization.models.embedder import MAX_TOKENS, Embedder
from prompt_optimization.models.settings import ENCODER_PACKAGE, EmbedSettings
from tests.conftest import ENCODER_WORDS

TEXTS = st.lists(st.sampled_from(ENCODER_WORDS), min_size=1, max_size=12).map(" ".join)


def embedder_of(model: Path | str, **others: Any) -> Embedder:
    return Embedder(EmbedSettings.default(model=str(model), **others))


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(TEXTS, max_size=5))
def test_unit_rows_that_depend_on_their_text_alone(encoder_folder: Path, texts: list[str]) -> None:
    embedder, other = embedder_of(encoder_folder), embedder_of(encoder_folder)
    found = embedder.embed(texts)
    assert found.shape == (len(texts), 16) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    for text, row in zip(reversed(texts), found[::-1], strict=True):
        assert np.array_equal(other.embed(["one", text])[1], row)


def test_it_is_the_mean_over_the_tokens(encoder_folder: Path) -> None:
    embedder = embedder_of(encoder_folder)
    (row,) = embedder.embed(["Count each ONE"])
    ids = torch.tensor(
        [[2, *(4 + ENCODER_WORDS.index(word) for word in ("count", "each", "one")), 3]]
    )
    with torch.no_grad():
        mean = BertModel.from_pretrained(encoder_folder).eval()(ids).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(row, (mean / mean.norm()).numpy(), atol=1e-6)


def test_a_text_is_encoded_once(encoder_folder: Path) -> None:
    embedder = embedder_of(encoder_folder)
    encoded = []
    embedder.model.register_forward_hook(lambda *_: encoded.append(1))
    embedder.embed(["think", "count", "think"])
    embedder.embed(["count"])
    assert len(encoded) == 2


def test_a_long_text_counts_to_the_encoders_limit(encoder_folder: Path) -> None:
    embedder = embedder_of(encoder_folder)
    beginning = "think " * (MAX_TOKENS - 2)
    one, other, shorter = embedder.embed([beginning, beginning + "count", beginning[6:]])
    assert np.array_equal(one, other) and not np.array_equal(one, shorter)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/no/such/folder", "does not exist; give a hub name, a local folder, or 'all-minilm"),
        ("a b", "does not exist"),
        ("{}", r"cannot be used \(.*\); give a text encoder, such as all-minilm"),
    ],
)
def test_what_is_no_encoder(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        embedder_of(name.format(tmp_path))
    assert caught.value.keys == ("embed.model",) and "\n" not in caught.value.problem


def test_an_encoder_with_a_decoder(encoder_folder: Path, tmp_path: Path) -> None:
    small = T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    T5Model(small).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((encoder_folder / name).read_bytes())
    with pytest.raises(InputError, match="cannot be used"):
        embedder_of(tmp_path)


def test_code_of_an_encoders_own_is_not_run(encoder_folder: Path, tmp_path: Path) -> None:
    for path in encoder_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'was run')!r}, 'w')")
    with pytest.raises(InputError, match="cannot be used"):
        embedder_of(tmp_path)
    assert not (tmp_path / "was run").exists()


def test_a_foreign_tokenizer(encoder_folder: Path, tmp_path: Path) -> None:
    for path in encoder_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    small = BertConfig(vocab_size=6, hidden_size=8, num_attention_heads=1, num_hidden_layers=1)
    BertModel(small).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="knows 6 tokens, and its tokenizer 13"):
        embedder_of(tmp_path)


def test_no_such_device(encoder_folder: Path) -> None:
    with pytest.raises(InputError, match="device 'gpu' does not exist") as caught:
        embedder_of(encoder_folder, device="gpu")
    assert caught.value.keys == ("embed.device",)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, ENCODER_PACKAGE, None)  # as if it were not installed
    with pytest.raises(InputError, match=r"greater-prompt-optimization\[embed\]") as caught:
        Embedder(EmbedSettings.default())
    assert caught.value.keys == ("embed.model",)


@pytest.mark.skipif(find_spec(ENCODER_PACKAGE) is None, reason="needs the extra embed")
def test_the_real_encoder() -> None:
    embedder = Embedder(EmbedSettings.default())
    asked, alike, other, known = embedder.embed(
        [
            "Take the steps one at a time.",
            "Reason about the problem one step after another.",
            "The harbour was full of boats.",
            "This is an example sentence",
        ]
    )
    assert asked @ alike > 0.4 and abs(asked @ other) < 0.1
    # As sentence-transformers has it for these weights.
    np.testing.assert_allclose(known[:4], [0.06766, 0.06350, 0.04871, 0.07931], atol=1e-4)
    assert known.shape == (384,)
