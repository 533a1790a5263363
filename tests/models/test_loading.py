"""Models by name, and each way in which they cannot be had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.loading import (
    load_language_model,
    resolve_dtype,
)
from prompt_optimization.models.placement import resolve_device
from prompt_optimization.models.settings import BUNDLED_NAME, AnswererSettings, ModelSettings
from tests.conftest import tiny_model

CPU = torch.device("cpu")


def load(name: str, **arguments: Any) -> Any:
    return load_language_model(ModelSettings(name, device="cpu", dtype="float32", **arguments))


def test_local_folder(saved_model: Path) -> None:
    model = load(str(saved_model))
    assert not model.model.training
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    stops = {model.tokenizer.decode([i]) for i in model.stop_ids}
    assert stops == {"<|end_of_text|>"}


def test_tokenizer_without_pad_token_works(saved_model: Path) -> None:
    model = load(str(saved_model))
    assert model.tokenizer.pad_token_id is None
    assert model.filler in model.stop_ids


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such", "no.gguf", "a/b/c", "a b"])
def test_missing_path(name: str) -> None:
    with pytest.raises(InputError, match="does not exist; give a hub name"):
        load(name)


@pytest.mark.parametrize("key", ["model_kwargs", "tokenizer_kwargs"])
@pytest.mark.parametrize(
    ("argument", "own"), [("dtype", "dtype"), ("torch_dtype", "dtype"), ("device_map", "devices")]
)
def test_an_argument_that_has_a_setting(key: str, argument: str, own: str) -> None:
    with pytest.raises(InputError, match=f"'{argument}' is given .* set that") as caught:
        AnswererSettings.default(**{key: ({argument: "auto"},)})
    assert caught.value.keys == (key, own)


def test_an_argument_that_nothing_takes(saved_model: Path) -> None:
    with pytest.raises(InputError, match="cannot be loaded"):
        load(str(saved_model), model_arguments={"source": 1, "config": 3})


def test_the_embedded_model_misspelt() -> None:
    with pytest.raises(InputError, match="did you mean 'smollm2-135m-instruct'"):
        load("smollm2-135m-instuct")


def test_folder_without_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no model"):
        load(str(tmp_path))


def test_broken_model(tmp_path: Path, saved_model: Path) -> None:
    for path in saved_model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))
    with pytest.raises(InputError, match="cannot be loaded"):
        load(str(tmp_path))


def test_foreign_tokenizer(tmp_path: Path, saved_model: Path) -> None:
    small = tiny_model("llama-3", 50, 1, torch.float32)
    small.save_pretrained(tmp_path / "small")
    with pytest.raises(InputError, match=r"has \d+ tokens but model"):
        load(str(tmp_path / "small"), tokenizer=str(saved_model))


@pytest.fixture
def hub() -> Iterator[str]:
    """A hub on loopback where one repository is gated, one exists, without the revision that is
    asked for, and no other does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            gated, known = "gated" in self.path, "/known" in self.path
            code = "GatedRepo" if gated else "RevisionNotFound" if known else "RepoNotFound"
            self.send_response(403 if gated else 404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("some/gated-model", "is gated: accept its terms on its hub page and log in"),
        ("some/unknown-model", "is not known to the hub"),
        ("some/known-model", "has no revision 'v9'; its hub page lists"),
    ],
)
def test_hub_refusals(hub: str, name: str, message: str, tmp_path: Path) -> None:
    code = (
        "from prompt_optimization.models.loading import load_language_model;"
        "from prompt_optimization.models.settings import BUNDLED_NAME, ModelSettings;"
        "from prompt_optimization.errors import InputError\n"
        f"try: load_language_model(ModelSettings({name!r}, device='cpu', revision='v9'))\n"
        "except InputError as error: print(error)"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path)}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.startswith(f"model '{name}' {message}")


@pytest.fixture
def fetched(tokenizers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What lies in a hub cache: two revisions of some/model, and a smaller one in a subfolder of
    the second. As arguments of ``load``."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository, tokenizer = tmp_path / "models--some--model", tokenizers["llama-3"]
    (repository / "refs").mkdir(parents=True)
    for seed, (revision, commit) in enumerate((("main", "a" * 40), ("v2", "b" * 40))):
        (repository / "refs" / revision).write_text(commit)
        folder = repository / "snapshots" / commit
        model = tiny_model("llama-3", len(tokenizer), 1, torch.float32, seed)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    model.model.layers = model.model.layers[:2]
    model.config.num_hidden_layers = 2
    model.save_pretrained(folder / "small")
    reached = {"cache_dir": str(tmp_path)}
    return {"name": "some/model", "model_arguments": reached, "tokenizer_arguments": reached}


def test_a_revision_and_a_subfolder(fetched: dict[str, Any], tmp_path: Path) -> None:
    main, second = load(**fetched), load(**fetched, revision="v2")
    assert (main.name, second.name) == ("some/model", "some/model@v2")
    for seed, model in enumerate((main, second)):
        weight = tiny_model("llama-3", 420, 1, torch.float32, seed).lm_head.weight
        assert torch.equal(model.model.lm_head.weight, weight)
    small = load(**fetched, revision="v2", subfolder="small")
    assert small.name == "some/model/small@v2" and len(small.model.model.layers) == 2
    folder = tmp_path / "models--some--model" / "snapshots" / ("b" * 40)
    assert len(load(str(folder), subfolder="small").model.model.layers) == 2


def test_no_such_revision_or_subfolder(
    fetched: dict[str, Any], saved_model: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "top" / "empty"
    empty.mkdir(parents=True)
    (empty / "config.json").write_bytes((saved_model / "config.json").read_bytes())
    local = {"name": str(saved_model)}
    for given, words in (
        (fetched | {"revision": "v2", "subfolder": "no"}, r"some/model/no' .* model\.subfolders"),
        (local | {"subfolder": "no"}, r"no' holds no model .* model\.subfolders"),
        (local | {"revision": "v2"}, r"only hub names have revisions .* model\.revisions"),
        ({"name": BUNDLED_NAME, "revision": "v2"}, "only hub names have revisions"),
        (
            {"name": str(empty.parent), "subfolder": "empty", "tokenizer": str(saved_model)},
            r"empty' cannot be loaded: .* model\.subfolders",
        ),
    ):
        with pytest.raises(InputError, match=words):
            load(**given)


def test_devices_and_dtypes() -> None:
    assert resolve_device("cpu") == CPU
    for name in ("cuda:99", "no-such-device"):
        with pytest.raises(InputError, match=f"device '{name}' does not exist"):
            resolve_device(name)
    assert resolve_dtype("float32", CPU) == torch.float32
    assert resolve_dtype("auto", CPU) in (torch.bfloat16, torch.float32)
    with pytest.raises(InputError, match="dtype 'int3' is unknown"):
        resolve_dtype("int3", CPU)


def test_a_dtype_that_the_device_does_not_compute_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_implemented(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"not implemented for {one.dtype}")

    monkeypatch.setattr(torch.Tensor, "__matmul__", not_implemented)
    with pytest.raises(InputError, match=r"device 'cpu' does not compute in float16; .* dtype"):
        resolve_dtype("float16", CPU)
