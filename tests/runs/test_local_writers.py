"""Which model writes and which one judges: another local one, or one without a chat template."""

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
from prompt_optimization.runs.assemble import open_writers
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
    with open_writers(settings, [answers], said.append, said.append) as writers:
        writer = writers["writer"]
        assert isinstance(writer, LocalWriter) and writer.model is not answers
        assert any("plain" in note for note in said) and "plain" in writer.name
        assert writer.model.chat.name == "plain"
        found: dict[int, list[Reply]] = {}
        writer.write([Request("How many apples?", draws=2, max_tokens=4)], found.__setitem__)
        assert [reply.written for reply in found[0]] and len(found[0]) == 2
    with (
        pytest.raises(InputError, match="has no chat template, so it would not do what it is") as e,
        open_writers(plan(values(flags)), [answers], said.append, said.append),
    ):
        pass
    assert e.value.keys == ("writer.model", "writer.accept_raw")
    # The model itself is not loaded twice.
    own = plan(values(small_run | {"method": "opro"}))
    with open_writers(own, [answers], said.append, said.append) as writers:
        writer = writers["writer"]
        assert isinstance(writer, LocalWriter) and writer.model is answers


def test_a_judge_that_is_loaded_already_is_not_loaded_again(
    small_run: dict[str, Any], plain_model: Path
) -> None:
    said: list[str] = []
    flags = small_run | {"method": "spo", "writer.model": plain_model, "writer.accept_raw": True}
    answers = Model.in_process(Worker(*load_model(plan(values(flags)).models.models()[0])))

    def opened(own: dict[str, Any]) -> tuple[Any, Any]:
        with open_writers(plan(values(flags | own)), [answers], said.append, said.append) as found:
            return found["writer"], found.get("judge")

    writer, judge = opened({})
    assert judge is writer
    writer, judge = opened({"judge.model": plain_model, "judge.accept_raw": True})
    assert judge is not writer and judge.model is writer.model and judge.role == "judge"
    writer, judge = opened({"judge.model": answers.info.name})
    assert judge.model is answers and writer.model is not answers
    assert opened({"spo.judge": "random"})[1] is None
    with pytest.raises(InputError, match=r"the judge '.*plain' has no chat template") as caught:
        opened({"judge.model": plain_model})
    assert caught.value.keys == ("judge.model", "judge.accept_raw")
