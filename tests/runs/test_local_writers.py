"""Which model writes: another local one, or one without a chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from prompt_optimization.errors import InputError
from prompt_optimization.models.loading import load_model
from prompt_optimization.models.model import Model
from prompt_optimization.models.worker import Worker
from prompt_optimization.models.writers import LocalWriter, Reply, Request
from prompt_optimization.runs.assemble import open_writer
from prompt_optimization.runs.config import plan
from tests.runs.harness import values


@pytest.fixture
def plain_model(saved_model: Path, tmp_path: Path) -> Path:
    """The same weights, with a tokenizer that has no chat template."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for file in saved_model.iterdir():
        if file.name != "chat_template.jinja":
            (folder / file.name).symlink_to(file)
    tokenizer = AutoTokenizer.from_pretrained(saved_model)
    tokenizer.chat_template = None
    for file in folder.glob("tokenizer*"):
        file.unlink()
    tokenizer.save_pretrained(folder)
    return folder


def test_another_local_model_writes(small_run: dict[str, Any], plain_model: Path) -> None:
    """It is loaded beside the one that answers; without a chat template it writes after plain text,
    and only where its replies are accepted as they are."""
    flags = small_run | {"method": "opro", "writer.model": plain_model}
    said: list[str] = []
    settings = plan(values(flags | {"writer.accept_raw": True}))
    answers = Model.in_process(Worker(*load_model(settings.models.models()[0])))
    with open_writer(settings, [answers], said.append, said.append) as writer:
        assert isinstance(writer, LocalWriter) and writer.model is not answers
        assert any("plain" in note for note in said) and "plain" in writer.name
        assert writer.model.chat.name == "plain"
        found: dict[int, list[Reply]] = {}
        writer.write([Request("How many apples?", draws=2, max_tokens=4)], found.__setitem__)
        assert [reply.written for reply in found[0]] and len(found[0]) == 2
    with (
        pytest.raises(InputError, match="has no chat template, so it would not do what it is") as e,
        open_writer(plan(values(flags)), [answers], said.append, said.append),
    ):
        pass
    assert e.value.keys == ("writer.model", "writer.accept_raw")
    # The model itself is not loaded twice.
    own = plan(values(small_run | {"method": "opro"}))
    with open_writer(own, [answers], said.append, said.append) as writer:
        assert isinstance(writer, LocalWriter) and writer.model is answers
