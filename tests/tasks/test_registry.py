"""Every task asks for its own answers in a form that tells right from wrong."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.configs.template import get_config
from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import resolve_chat_format
from prompt_optimization.models.layout import Layout
from prompt_optimization.runs.config import all_keys, plan, values_of
from prompt_optimization.tasks.answers import flexible_match, strict_match
from prompt_optimization.tasks.examples import Example, read_table, split_rows
from prompt_optimization.tasks.official import fetch, official_files
from prompt_optimization.tasks.open import read_task
from prompt_optimization.tasks.registry import STYLES, TABLE_1_BBH, TASKS, task_of
from prompt_optimization.tasks.settings import TaskSettings

# Real answers of each form, and wrong ones that look much like them.
ANSWERS = {
    "True/False": ("True", "False"),
    "Yes/No": ("No", "Yes"),
    "yes/no": ("yes", "no"),
    "valid/invalid": ("valid", "invalid"),
    "True/False/Uncertain": ("Uncertain", "True"),
    "letter": ("B", "A"),
    "count": ("12", "1"),
    "plain": ("48", "4"),
    "integer": ("-50", "50"),
    "brackets": ("] ) }", "] )"),
    "words": ("barn damp dot", "barn dot damp"),
}


def test_the_paper_s_tasks() -> None:
    sizes = Counter(task.benchmark for task in TASKS.values())
    assert sizes == {
        "bbh": 27, "gsm8k": 1, "folio": 1, "ours": 1,
        "gpo_bbh": 27, "gpo_gsm8k": 1, "mmlu": 57, "webnlg": 1, "wsc": 1,
    }  # fmt: skip
    assert len(TABLE_1_BBH) == 21
    published = {Path(file.path).stem for file in official_files(["bbh"])}
    assert published == {name for name, task in TASKS.items() if task.benchmark == "bbh"}
    assert task_of("gsm8k_train") == TASKS["gsm8k"] and task_of("object") is None
    assert {task.answer for task in TASKS.values()} == {*ANSWERS, "text"}
    assert {TASKS["webnlg"].extractor(style) for style in STYLES} == {""}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("form", ANSWERS)
def test_an_extractor_ends_where_the_answer_begins(
    form: str, style: str, family: str, tokenizers: dict[str, Any]
) -> None:
    task = next(task for task in TASKS.values() if task.answer == form)
    right, wrong = ANSWERS[task.answer]
    tokenizer = tokenizers[family]
    layout = Layout(tokenizer, resolve_chat_format(tokenizer), extractor=task.extractor(style))
    examples = [Example("?", answer, row) for row, answer in enumerate((right, wrong))]
    for target, example in zip(layout.targets(examples), examples, strict=True):
        assert tokenizer.decode(target.answer).strip() == example.answer
        text = tokenizer.decode([*target.extractor, *target.answer])
        assert text.endswith(task.extractor(style) + example.answer)


@pytest.mark.parametrize("form", ANSWERS)
def test_right_scores_and_wrong_does_not(form: str) -> None:
    right, wrong = ANSWERS[form]
    for closing in ("", "$", "**", ".", " $ and so on", "\n"):
        for match in (strict_match, flexible_match):
            assert match(f" {right}{closing}", right), (match, closing)
            assert not match(f" {wrong}{closing}", right), (match, closing)


def planned(folder: Path, **settings: Any) -> TaskSettings:
    config = get_config()
    config.train_data = str(folder / "wsc_train.jsonl")
    config.update(settings)
    return plan(values_of(config)).task


def test_each_split_of_gpo_s_is_a_file_and_questions_that_repeat_are_named(tmp_path: Path) -> None:
    asked = {"train": "abc", "dev": "de", "test": "fgEh"}
    for split, questions in asked.items():
        lines = (json.dumps({"goal": f"{each}?", "final_target": "A"}) for each in questions)
        (tmp_path / f"wsc_{split}.jsonl").write_text("\n".join(lines))
    said: list[str] = []
    tables, splits = read_task(planned(tmp_path), said.append)
    assert {name: len(rows) for name, rows in splits.named().items()} == {
        "train": 3, "dev": 2, "test": 3,
    }  # fmt: skip
    assert list(tables) == ["train", "dev", "test"]
    (warning,) = said
    assert warning.startswith("test leaves out 1 of the rows") and "wsc_test.jsonl" in warning
    (tmp_path / "wsc_dev.jsonl").unlink()
    with pytest.raises(InputError, match="which is not beside it; fetch it") as caught:
        planned(tmp_path)
    assert caught.value.keys == ("dev_data",)
    assert not planned(tmp_path, n_dev_data=0).dev_data


def test_a_task_brings_what_scores_it(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / f"webnlg_{split}.jsonl").touch()

    def params(**given: Any) -> dict[str, Any]:
        config = get_config()
        config.train_data = str(tmp_path / "webnlg_train.jsonl")
        config.update(given)
        return plan(values_of(config)).params

    names = ("metric", "task.over_references", "objective", "extractor_text")
    for method in ("opro", "random"):
        found = params(method=method)
        assert [found[name] for name in names] == ["rouge_l", "mean", "answers", ""]
    assert params(metric="f1")["metric"] == "f1"
    assert params(objective="loss")["objective"] == "loss"
    assert {name for task in TASKS.values() for name in task.defaults} <= {
        name for name, each in all_keys().items() if each.by_task
    }


@pytest.mark.skipif("GREATER_OFFICIAL" not in os.environ, reason="needs the official data")
@pytest.mark.parametrize("name", sorted(_ for _ in TASKS if TASKS[_].benchmark == "bbh"))
def test_real_answers_of_every_task(name: str) -> None:
    path = Path(os.environ["GREATER_OFFICIAL"]) / "bbh" / f"{name}.json"
    if not path.exists():
        pytest.skip("not among the files at hand")
    answers = [example.answer for example in read_table(path).examples]
    for answer, other in zip(answers, answers[1:] + answers[:1], strict=True):
        for match in (strict_match, flexible_match):
            assert match(f" {answer}$", answer)
            if other != answer and not other.startswith(answer):
                assert not match(f" {other}$", answer), (other, answer)


@pytest.mark.skipif("GREATER_OFFICIAL" not in os.environ, reason="needs the official data")
@pytest.mark.parametrize("benchmark", ["bbh", "gsm8k", "folio"])
def test_the_official_files_give_the_paper_s_splits(benchmark: str, tmp_path: Path) -> None:
    mirror = os.environ["GREATER_OFFICIAL"]
    for file in official_files([benchmark]):
        if not (Path(mirror) / file.path).exists():
            continue
        fetch(file, tmp_path, mirror, lambda text: None)
    for path in sorted(tmp_path.glob("*/*.json")):
        task = task_of(path.stem)
        assert task is not None
        if path.name == task.test_file or task.name not in {*TABLE_1_BBH, "gsm8k", "folio"}:
            continue
        config = get_config()
        config.train_data = str(path)
        params = plan(values_of(config)).params
        assert (params["test_data"] != "") == bool(task.test_file)
        splits = split_rows(
            read_table(path),
            read_table(params["test_data"]) if params["test_data"] else None,
            offset=0,
            n_train=params["n_train_data"],
            n_dev=params["n_dev_data"],
            n_test=params["n_test_data"],
        )
        assert (len(splits.train), len(splits.test)) == (task.train, task.test), task.name
        assert task.dev - 2 <= len(splits.dev) <= task.dev or len(read_table(path).examples) < 250
