"""Exported files are what the other tools read, and lm-eval finds the log's figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from prompt_optimization.commands.export import main
from prompt_optimization.models.bundled import bundled_folder
from prompt_optimization.paths import data_folder
from prompt_optimization.report.export.rows import quoted
from tests.runs.harness import carry_out

FLAGS = {"method": "best_of_n", "n_steps": 0, "n_dev_data": 0, "max_new_tokens": 4}


@pytest.fixture(scope="module")
def run(small_run: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of a run on a tiny model, which has no chat template."""
    path = tmp_path_factory.mktemp("run") / "run.json"
    carry_out(small_run | FLAGS | {"n_test_data": 3, "logfile": path, "best_of_n.prompts": ["x"]})
    return path


def test_a_configuration_of_promptfoo(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "made"
    for _ in range(2):  # in its own place a second time
        assert main([str(run), "--to=promptfoo", f"--out={folder}"], "greater export") == 0
    config = yaml.safe_load((folder / "promptfooconfig.yaml").read_text())
    log = json.loads(run.read_text())
    assert [prompt["label"] for prompt in config["prompts"]] == ["found"], (
        "the initial one was kept"
    )
    (turn,) = json.loads((folder / "found.json").read_text())
    assert turn["content"].startswith("{{question}}. Use ")
    assert len(config["tests"]) == len(log["environment"]["rows"]["test"]) == 3
    assert config["tests"][0]["assert"][0]["type"] == "icontains-any"
    assert "not those of the log" in capsys.readouterr().err

    (folder / "notes.txt").write_text("mine")
    assert main([str(run), "--to=promptfoo", f"--out={folder}"], "greater export") == 2
    assert "holds something else (notes.txt)" in capsys.readouterr().err


def test_a_task_of_lm_eval(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "task"
    assert main([str(run), "--to=lm-eval", f"--out={folder}"], "greater export") == 0
    log = json.loads(run.read_text())
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == log["environment"]["rows"]["test"]
    task = (folder / "greater_run.yaml").read_text()
    # The tag names a class, which lm-eval alone imports.
    read = yaml.safe_load(task.replace("!function ", ""))
    assert read["metadata"]["extractor"] == f" {log['params']['extractor_text']}"
    assert read["metadata"]["reasoning_tokens"] == 4 and read["num_fewshot"] == 0

    log["environment"]["chat_template"]["name"] = "plain"
    (tmp_path / "plain.json").write_text(json.dumps(log))
    assert main([str(tmp_path / "plain.json"), "--to=lm-eval"], "greater export") == 2
    assert "has no chat template" in capsys.readouterr().err


def test_rows_that_have_changed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = json.loads(run.read_text())
    moved = tmp_path / "task.json"
    moved.write_bytes(Path(log["params"]["train_data"]).read_bytes() + b"What is new?,1,1\n")
    log["params"]["train_data"] = str(moved)
    (tmp_path / "log.json").write_text(json.dumps(log))
    assert main([str(tmp_path / "log.json"), "--to=promptfoo"], "greater export") == 2
    assert "has changed since the run" in capsys.readouterr().err


@pytest.mark.parametrize("text", ['"\\', "a: b # c", "\x7f\x85\u2028\ufeff", "😀 {{x}}", "\n\t- x"])
def test_quoted_texts_are_yaml(text: str) -> None:
    assert yaml.safe_load(f"- {quoted({'key': text})}") == [{"key": text}]


@pytest.mark.smollm2
def test_lm_eval_reads_what_the_log_reads(tmp_path: Path) -> None:
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoModelForCausalLM, AutoTokenizer

    log = carry_out({
        **FLAGS, "train_data": data_folder() / "BBH" / "one_step_arithmetic.json",
        "devices": "cpu", "model_paths": "smollm2-135m-instruct", "n_train_data": 2,
        "n_test_data": 12, "max_new_tokens": 16, "answer_tokens": 6, "dtype": "float32",
        "logfile": tmp_path / "run.json",
        "control_init": "proper Roman numerals and the step by step. Finally give the actual "
        "correct answer.", "best_of_n.prompts": ["x"],
    }).data  # fmt: skip
    folder = tmp_path / "task"
    assert main([f"{tmp_path}/run.json", "--to=lm-eval", f"--out={folder}"], "greater export") == 0
    network = AutoModelForCausalLM.from_pretrained(bundled_folder(), dtype="float32")
    found = lm_eval.simple_evaluate(
        model=HFLM(
            network, tokenizer=AutoTokenizer.from_pretrained(bundled_folder()), batch_size=1
        ),
        tasks=["greater_run"],
        task_manager=TaskManager(include_path=str(folder)),
        apply_chat_template=True,
    )
    hits = log["evaluation"]["test"]["best"]["hits"]
    assert 0 < hits["strict"].count("1") < 12
    for metric in ("strict", "flexible"):
        read = [sample[metric][0] for sample in found["samples"]["greater_run"]]
        assert read == list(map(float, hits[metric]))
        assert found["results"]["greater_run"][f"{metric},none"] == sum(read) / 12
