"""Data sets of the Hugging Face Hub, without the hub: folders that lie as its repositories do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization import extras
from prompt_optimization.errors import InputError
from prompt_optimization.runs.naming import task_name
from prompt_optimization.tasks.examples import Columns, read_table, rows_of
from prompt_optimization.tasks.registry import task_of

CARD = """---
configs:
- config_name: plain
  data_files:
  - {split: train, path: train.jsonl}
  - {split: test, path: test.jsonl}
- config_name: other
  data_files:
  - {split: held, path: train.jsonl}
  - {split: out, path: test.jsonl}
dataset_info:
- config_name: plain
  features:
  - {name: text, dtype: string}
  - name: label
    dtype: {class_label: {names: {'0': 'bad', '1': 'good'}}}
---
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """No network, an empty cache, and the folder ``toy`` in the current folder."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    toy = Path("toy")
    toy.mkdir()
    (toy / "README.md").write_text(CARD)
    for split, labels in (("train", (1, 0, 1)), ("test", (0, -1))):
        rows = [{"text": f"{split} {i}", "label": label} for i, label in enumerate(labels)]
        (toy / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return datasets


def test_rows_of_a_config_and_a_split(hub: Any) -> None:
    table = read_table("hf:./toy/plain")
    assert [(e.question, e.answer) for e in table.examples] == [
        ("train 0", "good"),
        ("train 1", "bad"),
        ("train 2", "good"),
    ]
    said = "\n".join(table.notes)
    assert "their names bad, good" in said and "as in hf:./toy/plain@test" in said
    assert "'text' of" in said and table.commit == ""
    # The hash is of the rows: not of the name, the split or the file.
    part = read_table("hf:./toy/plain@train[:2]")
    assert len(part.examples) == 2 and part.sha256 != table.sha256
    assert read_table("hf:./toy/plain@train").sha256 == table.sha256
    # A label that is not published is no answer.
    assert [e.labelled for e in read_table("hf:./toy/plain@test", unlabelled=True).examples] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf:./toy", "has the configs plain, other; name one, as in hf:./toy/plain"),
        ("hf:./toy/nope", r"'nope' not found. Available: \['plain', 'other'\]"),
        ("hf:./toy/plain@nope", r"Unknown split .nope.. Should be one of \['train', 'test'\]"),
        ("hf:./toy/other", "has the splits held, out; name one, as in hf:./toy/other@held"),
        ("hf:./toy/plain@train[:0]", "corresponds to no data"),
        ("hf:./toy/plain#abc", "is a folder, without revisions"),
        ("hf:./none/plain", "does not exist; give an existing folder"),
        ("hf:./script", "made by a script of its own, which is not run"),
        ("hf:some/none", "cannot be fetched .* and was not fetched before; check its name"),
        ("hf:folders/toy", "the folder 'folders/toy' is here too; give hf:./folders/toy"),
        ("hf:", "names no data set; give hf:OWNER/NAME/CONFIG@SPLIT#REVISION"),
        ("hf:name", "names no data set"),
        ("hf:a/b/c/d", "names no data set"),
        ("hf:a/b@train@test", "names no data set"),
    ],
)
def test_refused_in_a_sentence(hub: Any, name: str, words: str) -> None:
    Path("script").mkdir()
    Path("script/script.py").write_text("raise AssertionError('this was run')\n")
    Path("folders/toy").mkdir(parents=True)
    with pytest.raises(InputError, match=words) as caught:
        read_table(name, key="train_data")
    assert caught.value.keys == ("train_data",)
    assert name in caught.value.problem and "\n" not in caught.value.problem


def test_a_date_beyond_pythons_is_refused(hub: Any) -> None:
    arrow = pytest.importorskip("pyarrow")
    days = arrow.array([2**31 - 1], arrow.int32()).cast(arrow.date32())
    Path("dates").mkdir()
    table = arrow.table({"question": ["When?"], "answer": days})
    pytest.importorskip("pyarrow.parquet").write_table(table, "dates/train.parquet")
    with pytest.raises(InputError, match=r"data set 'hf:./dates' cannot be read \(days="):
        read_table("hf:./dates")


def test_what_was_fetched_before_serves_without_the_hub(
    hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit is recorded, and another one than that which is asked for is refused."""
    commit = "c0ffee" + "0" * 34
    made = hub.load_dataset_builder("./toy", "plain")
    made.download_and_prepare()
    folder = Path(made.cache_dir)
    there = hub.config.HF_DATASETS_CACHE / "some___toy" / Path(*folder.parts[-3:-1])
    there.mkdir(parents=True)
    folder.rename(there / commit)
    for name in ("hf:some/toy/plain@train", "hf:some/toy/plain@train#c0ffee"):
        found = rows_of(name)
        assert (len(found.cells), found.commit, str(found.path)) == (3, commit, name)
    with pytest.raises(InputError, match=f"another revision of it was fetched before .{commit}"):
        rows_of("hf:some/toy/plain@train#v2")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package datasets; .*optimization\[hub\]'"):
        rows_of("hf:some/toy")


def test_names_of_data_sets_are_no_tasks_of_the_paper() -> None:
    assert task_of("hf:openai/gsm8k") is None and task_of("gsm8k_train.json") is not None
    names = {
        "hf:openai/gsm8k": "gsm8k",
        "hf:openai/gsm8k/main@test#abc": "gsm8k_main",
        "hf:./here/toy@train": "toy",
        "here/mine.csv": "mine",
    }
    assert {name: task_name(name) for name in names} == names


def test_columns_are_named_for_any_table(tmp_path: Path) -> None:
    path = tmp_path / "task.csv"
    path.write_text("Title,question,body,answer,alias\nT,Q,B,A,a\nT,P,B,C,\n")
    named = read_table(path, columns=Columns(("title", "BODY"), ("answer", "alias")))
    first, second = named.examples
    assert (first.question, first.references) == ("T\n\nB", ("A", "a"))
    assert second.references == ("C",)
    with pytest.raises(InputError, match="has no column 'x', only title, question, body") as caught:
        read_table(path, columns=Columns(answer=("x",)))
    assert caught.value.keys == ("task.answer_column",)
