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
from prompt_optimization.models.settings import ModelSettings
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
    """A hub on loopback where one repository is gated and no other exists."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            gated = "gated" in self.path
            self.send_response(403 if gated else 404)
            self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
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
    ],
)
def test_hub_refusals(hub: str, name: str, message: str, tmp_path: Path) -> None:
    code = (
        "from prompt_optimization.models.loading import load_language_model;"
        "from prompt_optimization.models.settings import ModelSettings;"
        "from prompt_optimization.errors import InputError\n"
        f"try: load_language_model(ModelSettings({name!r}, device='cpu'))\n"
        "except InputError as error: print(error)"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path)}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.startswith(f"model '{name}' {message}")


def test_devices_and_dtypes() -> None:
    assert resolve_device("cpu") == CPU
    for name in ("cuda:99", "no-such-device"):
        with pytest.raises(InputError, match=f"device '{name}' does not exist"):
            resolve_device(name)
    assert resolve_dtype("float32", CPU) == torch.float32
    assert resolve_dtype("auto", CPU) in (torch.bfloat16, torch.float32)
    with pytest.raises(InputError, match="dtype 'int3' is unknown"):
        resolve_dtype("int3", CPU)
