"""Evaluation on its own: the same numbers as a run's, and nothing lost when it is killed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from prompt_optimization.configs.template import get_config
from prompt_optimization.errors import InputError
from prompt_optimization.runs import evaluate as module
from prompt_optimization.runs import evaluation_jobs as jobs
from prompt_optimization.runs.config import all_keys, values_of
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.evaluate import evaluate
from prompt_optimization.runs.evaluation_jobs import Request
from prompt_optimization.runs.store.evaluations import read_evaluation
from prompt_optimization.runs.store.outputs import KEY, VALUES, Outputs
from tests.runs.harness import carry_out


@pytest.fixture(scope="module")
def flags(small_run: dict[str, Any]) -> dict[str, Any]:
    return small_run | {
        "n_dev_data": 8,
        "n_test_data": 10,
        "n_steps": 3,
        "max_new_tokens": 6,
        "top_prompts": 3,
    }


@pytest.fixture(scope="module")
def log(flags: dict[str, Any], tmp_path_factory: Any) -> Path:
    """The log of a finished run."""
    folder = tmp_path_factory.mktemp("runs")
    return carry_out(flags | {"result_prefix": folder / "run"}).path


def judge(
    flags: dict[str, Any],
    folder: Path,
    overridden: Any = (),
    display: Display | None = None,
    **request: Any,
) -> dict[str, Any]:
    config = get_config()
    for key, value in (flags | {"result_prefix": folder / "judged"}).items():
        group, _, name = key.rpartition(".")
        place = config[group] if group else config
        kind = place.get_type(name)
        place[name] = (str(value),) if kind is tuple else str(value) if kind is str else value
    display = display or Display(verbose=False)
    return evaluate(values_of(config), set(overridden), Request(**request), display)


def changed(log: Path, path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A copy of ``log`` at ``path`` in which ``change`` has changed something."""
    data = json.loads(log.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


def outputs_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "judged.outputs.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_it_finds_what_the_run_found(flags: dict[str, Any], log: Path, tmp_path: Path) -> None:
    run = json.loads(log.read_text())
    # The log brings its task along: the config need not name any.
    bare = {key: value for key, value in flags.items() if not key.startswith(("n_", "train_"))}
    prefix = Path(re.sub(r"_\d{8}-\d{6}\.json$", "", str(log)))
    assert not prefix.exists()  # the newest of its logs is meant
    report = judge(bare | {"n_steps": 1}, tmp_path, logs=(prefix,), baselines=("initial",))
    by = {result["origin"].get("name", "log"): result for result in report["results"]}
    for name, key in (("log", "best"), ("initial", "initial")):
        expected = run["evaluation"]["test"][key]
        assert by[name]["prompt"] == expected["prompt"]
        assert by[name]["hits"] == expected["hits"]
        assert by[name]["loss"] == pytest.approx(expected["loss"])
        assert by[name]["rows"] == run["environment"]["rows"]["test"]
    assert by["log"]["origin"]["run"] == run["sessions"][0]["run"]
    assert by["log"]["origin"]["method"] == "greater"
    assert report["params"] == {
        "max_new_tokens": 6, "answer_tokens": 16, "extractor_separator": " ", "max_rows": 0,
        "reasoning.temperature": 0.0, "reasoning.top_k": 0, "reasoning.top_p": 1.0,
        "reasoning.think_end": "auto", "task.fold_system": False, "chat_template_kwargs": {},
        "scoring.must_end": True, "model.label_words": {},
        "model.masked_template": "{question} {prompt} {mask} .",
    }  # fmt: skip
    written = outputs_of(tmp_path)
    prompts = {result["prompt"] for result in report["results"]}
    assert len(written) == 10 * len(prompts)
    assert set(written[0]) == {
        *KEY, "question", "reasoning", "answer", "reference", "strict", "flexible",
        "teacher_forced", "loss",
    }  # fmt: skip
    assert read_evaluation(tmp_path / "judged.evaluation.json") == json.loads(json.dumps(report))


def test_another_prompt_is_added_and_nothing_asked_twice(
    flags: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(flags, tmp_path, prompts=("think.",), split="dev")
    before = (tmp_path / "judged.outputs.jsonl").read_bytes()
    report = judge(flags, tmp_path, prompts=("think.", "count the apples."), split="dev")
    after = (tmp_path / "judged.outputs.jsonl").read_bytes()
    assert after.startswith(before) and len(outputs_of(tmp_path)) == 16
    assert [result["prompt"] for result in report["results"]] == [" think.", " count the apples."]
    judge(flags, tmp_path, baselines=("zero_shot_cot",), split="train")
    assert len(outputs_of(tmp_path)) == 22
    (last,) = [o for o in outputs_of(tmp_path) if o["split"] == "train"][:1]
    assert (last["connector"], last["prompt"]) == ("", " Let's think step by step.")


def test_prompts_are_scored_in_any_template(
    flags: dict[str, Any], log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = '[{"role": "user", "content": "Use {prompt} now: {question}"}]'
    lines = "count each one,\nthen add."
    asked: dict[str, Any] = {"logs": (log,), "prompts": (lines,), "baselines": ("zero_shot_cot",)}
    usual = judge(flags, tmp_path, **asked)
    # As the file was before there were templates.
    path = tmp_path / "judged.outputs.jsonl"
    records = [{k: v for k, v in each.items() if k != "template"} for each in outputs_of(tmp_path)]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in records))
    evaluation = tmp_path / "judged.evaluation.json"

    def forget(data: dict[str, Any]) -> None:
        for result in data["results"]:
            del result["template"]

    changed(evaluation, evaluation, forget)
    before = path.read_bytes()
    # A log brings its template along; the command's counts more.
    shown = Display(verbose=False)
    for template in ("end", "system", own):
        named = {"template"} if template != "end" else set()
        report = judge(flags | {"template": template}, tmp_path, named, shown, **asked)
    assert path.read_bytes().startswith(before)
    shown.results(report["results"], evaluation)
    assert "count each one,\\nthen add. (system)" in capsys.readouterr().out
    by = {
        (result.get("template", "end"), result["prompt"]): result["hits"]
        for result in report["results"]
    }
    # The baseline has a place of its own.
    assert len(report["results"]) == 3 + 2 * 2 and len(by) == 7
    assert {place for place, prompt in by if prompt == f" {lines}"} == {
        "end", "system", json.dumps(json.loads(own)),
    }  # fmt: skip
    for result in usual["results"]:
        assert by["end", result["prompt"]] == result["hits"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.71, 0.99])
def test_it_goes_on_where_it_was_killed(
    flags: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    asked: dict[str, Any] = {"prompts": ("think.",), "baselines": ("initial",)}
    whole = judge(flags, tmp_path / "whole", **asked)
    judge(flags, tmp_path / "killed", **asked)
    # A writer that is killed leaves a file that ends anywhere, and a report that says running.
    path = tmp_path / "killed" / "judged.outputs.jsonl"
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    summary = tmp_path / "killed" / "judged.evaluation.json"
    summary.write_text(json.dumps(whole | {"status": "running", "results": []}))
    again = judge(flags, tmp_path / "killed", **asked)
    assert again["results"] == whole["results"]
    assert path.read_bytes() == (tmp_path / "whole" / "judged.outputs.jsonl").read_bytes()


def test_what_it_refuses(flags: dict[str, Any], log: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prompt to evaluate"):
        judge(flags, tmp_path)
    with pytest.raises(InputError, match="empty prompt"):
        judge(flags, tmp_path, prompts=("  ",))
    with pytest.raises(InputError, match=r"dev split .* is empty"):
        judge(flags | {"n_dev_data": 0}, tmp_path, prompts=("think.",), split="dev")
    unfinished = tmp_path / "unfinished.json"
    unfinished.write_text(json.dumps(json.loads(log.read_text()) | {"status": "running"}))
    with pytest.raises(InputError, match="not finished"):
        judge(flags, tmp_path, logs=(unfinished,))
    with pytest.raises(InputError, match="no log of a finished run"):
        judge(flags, tmp_path, logs=(tmp_path,))
    stale = changed(
        log,
        tmp_path / "stale.json",
        lambda data: data["environment"]["data"]["train"].update(sha256="0" * 64),
    )
    with pytest.raises(InputError, match="has changed since"):
        judge(flags, tmp_path, logs=(stale,))
    rule = changed(log, tmp_path / "rule.json", lambda data: data["evaluation"].update(kind="rule"))
    with pytest.raises(InputError, match=r"'.*rule\.json' has chosen something of kind 'rule'"):
        judge(flags, tmp_path, logs=(rule,))
    assert not list(tmp_path.glob("judged*")), "nothing was begun"


def test_outputs_of_another_making_are_not_mixed(flags: dict[str, Any], tmp_path: Path) -> None:
    judge(flags, tmp_path, prompts=("think.",))
    before = (tmp_path / "judged.outputs.jsonl").read_bytes()
    with pytest.raises(InputError, match="max_new_tokens was 6 and is 7"):
        judge(flags | {"max_new_tokens": 7}, tmp_path, prompts=("think.",))
    with pytest.raises(InputError, match="precision changed"):
        judge(flags | {"dtype": "bfloat16"}, tmp_path, prompts=("think.",))
    file = tmp_path / "judged.evaluation.json"
    # As it was written before there was the setting.
    changed(file, file, lambda data: data["params"].pop("scoring.must_end"))
    with pytest.raises(InputError, match=r"scoring\.must_end was False and is True"):
        judge(flags, tmp_path, prompts=("think.",))
    judge(flags | {"behaviour": "published"}, tmp_path, prompts=("think.",))
    assert (tmp_path / "judged.outputs.jsonl").read_bytes() == before


def test_reasonings_are_drawn_as_they_are_in_a_search(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    reasonings = []
    for temperature in (0.0, 2.0):
        folder = tmp_path / f"{temperature}"
        judge(flags | {"reasoning.temperature": temperature}, folder, prompts=("think.",))
        reasonings.append([output["reasoning"] for output in outputs_of(folder)])
    assert reasonings[0] != reasonings[1]


def test_logs_and_evaluations_from_before_there_were_several_methods(
    flags: dict[str, Any], log: Path, tmp_path: Path
) -> None:
    old = changed(log, tmp_path / "old.json", lambda data: data.pop("method"))
    now = judge(flags, tmp_path, logs=(old,), prompts=("think.",))
    file = tmp_path / "judged.evaluation.json"

    def as_before(data: dict[str, Any]) -> None:
        data["results"][0]["origin"].pop("method")
        data["params"].pop("chat_template_kwargs")

    changed(file, file, as_before)
    written = (tmp_path / "judged.outputs.jsonl").read_bytes()
    again = judge(flags, tmp_path, logs=(old,))
    assert again == now and again["results"][0]["origin"]["method"] == "greater"
    assert (tmp_path / "judged.outputs.jsonl").read_bytes() == written


def test_every_log_brings_its_metric(flags: dict[str, Any], log: Path, tmp_path: Path) -> None:
    f1 = changed(log, tmp_path / "f1.json", lambda data: data["params"].update(metric="f1"))
    results = judge(flags, tmp_path, logs=(log, f1))["results"]
    assert [(each["origin"]["log"], each["metric"]) for each in results] == [
        (log.name, "strict"),
        ("f1.json", "f1"),
    ]


def test_progress_is_shown(flags: dict[str, Any], tmp_path: Path) -> None:
    seen = []

    class Watching(Display):
        def activity(self, phase: str, done: int, of: int) -> None:
            seen.append((phase, done, of))

    judge(flags, tmp_path, prompts=("think.",), display=Watching(verbose=False))
    assert {phase for phase, _, _ in seen} == {"evaluate"}
    assert all(0 <= done <= of == 10 for _, done, of in seen)


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"task": 1}\n', "line 1 of"), ("my notes", "the end of"), ('{"task": 1}\nx', "line 1 of")],
)
def test_what_is_no_output_is_not_touched(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        Outputs(path)
    assert path.read_text() == text


RECORDS = st.lists(
    st.fixed_dictionaries(
        {name: st.text() for name in KEY if name != "row"}
        | {"row": st.integers(0)}
        | {name: st.booleans() | st.text() | st.floats(0, 9) for name in VALUES}
    ).map(lambda record: {name: record[name] for name in (*KEY, *VALUES)}),
    unique_by=lambda record: tuple(record[name] for name in KEY),
    max_size=4,
)


@given(RECORDS, st.floats(0, 1))
def test_outputs_are_complete_again_wherever_their_writer_was_killed(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], share: float
) -> None:
    path = tmp_path_factory.mktemp("outputs") / "x.jsonl"
    Outputs(path).add(records)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    again = Outputs(path)
    kept = list(again.records.values())
    assert kept == records[: len(kept)] and whole.startswith(path.read_bytes())
    again.add(records[len(kept) :])
    assert path.read_bytes() == whole
    assert list(Outputs(path).records.values()) == records


# Files that hold no evaluation and no outputs.
DAMAGED = {
    "list.evaluation.json": "[]",
    "text.evaluation.json": "notes",
    "deep.evaluation.json": "[" * 100_000,
    "kind.evaluation.json": '{"format": 1, "kind": "run"}',
    "params.evaluation.json": json.dumps(
        {"format": 1, "kind": "evaluation", "results": [], "params": [], "environment": {}}
    ),
    "result.evaluation.json": json.dumps(
        {
            "format": 1,
            "kind": "evaluation",
            "results": [{"task": "a"}],
            "params": {"max_new_tokens": 1, "answer_tokens": 1, "extractor_separator": " "},
            "environment": {"data": {}},
        }
    ),
    "line.outputs.jsonl": '{"task": "a"}\n',
    "list.outputs.jsonl": '["task"]\n',
}
READ = """
import sys
from pathlib import Path
from prompt_optimization.errors import InputError
from prompt_optimization.runs.store.evaluations import read_evaluation
from prompt_optimization.runs.store.outputs import Outputs
for path in map(Path, sys.argv[1:]):
    try:
        (Outputs if path.suffix == ".jsonl" else read_evaluation)(path)
    except InputError as error:
        print(error)
"""


@pytest.mark.parametrize("options", [(), ("-O",)])
def test_damaged_files_are_refused_in_a_sentence(tmp_path: Path, options: tuple[str, ...]) -> None:
    paths = [tmp_path / name for name in DAMAGED]
    for path, text in zip(paths, DAMAGED.values(), strict=True):
        path.write_text(text)
    command = [sys.executable, *options, "-c", READ, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert len(said) == len(paths)
    for path, sentence in zip(paths, said, strict=True):
        assert str(path) in sentence
        assert "is no evaluation, or damaged" in sentence or "is no output" in sentence


def test_a_newer_format_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.evaluation.json"
    params = {"max_new_tokens": 1, "answer_tokens": 1, "extractor_separator": " "}
    data = {"format": 2, "kind": "evaluation", "results": [], "params": params}
    path.write_text(json.dumps(data | {"environment": {"data": {}}}))
    with pytest.raises(InputError, match="has format 2 and this version knows up to 1"):
        read_evaluation(path)


def test_its_help_loads_no_torch() -> None:
    code = (
        "import sys; from prompt_optimization.commands.evaluate import main;"
        "main(['--help'], 'evaluate'); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for flag in ("--log", "--prompt", "--baseline", "--split", "all_best", "zero_shot_cot"):
        assert flag in done.stdout


def test_outputs_without_what_made_them(flags: dict[str, Any], tmp_path: Path) -> None:
    judge(flags, tmp_path, prompts=("think.",))
    (tmp_path / "judged.evaluation.json").unlink()
    with pytest.raises(InputError, match="which tells what made them, is gone"):
        judge(flags, tmp_path, prompts=("think.",))


def test_rows_that_a_run_has_used_are_not_held_out(
    flags: dict[str, Any], log: Path, tmp_path: Path
) -> None:
    # On the command line a key may be called by its flat name, or within its group.
    for names in ({"n_train_data", "n_dev_data"}, {"task.n_train_data", "task.n_dev_data"}):
        given = {"logs": (log,), "overridden": names}
        with pytest.raises(InputError, match="rows 2, 3, 4, 5, 6 and 5 more are rows that the"):
            judge(flags | {"n_train_data": 1, "n_dev_data": 1}, tmp_path, **given)


def test_only_what_was_overridden_counts_more_than_the_log(
    flags: dict[str, Any], log: Path, tmp_path: Path
) -> None:
    """For every key of the task: the log's value without, the given value with its name."""
    data = json.loads(log.read_text())
    given = values_of(get_config()) | {"train_data": "other.json", "extractor_text": "So it is"}
    names = [name for name, each in all_keys().items() if each.of_task] + ["extractor_text"]
    for name in names:
        assert jobs._of_log(given, set(), data)[name] == data["params"][name]
        assert jobs._of_log(given, {name}, data)[name] == given[name]
    others = given.keys() - set(names)
    assert all(jobs._of_log(given, set(), data)[name] == given[name] for name in others)


def test_logits_that_are_no_numbers(
    flags: dict[str, Any], saved_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved_model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][:] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"not finite.*try float32"):
        judge(flags | {"model_paths": folder}, tmp_path, prompts=("think.",))


def test_a_task_of_the_paper_is_asked_in_the_reader_s_own_style(
    flags: dict[str, Any], task_file: Path, tmp_path: Path
) -> None:
    named = tmp_path / "object_counting.json"
    named.write_bytes(task_file.read_bytes())
    given = flags | {"train_data": named, "extractor_text": "", "n_steps": 1}
    run = carry_out(given | {"result_prefix": tmp_path / "runs" / "run"})
    stars = judge(given | {"extractor_style": "stars"}, tmp_path, logs=(run.path,))
    (result,) = stars["results"]
    assert result["task"] == "object_counting" and result["extractor"].endswith("**")
    assert run.data["params"]["extractor_text"].endswith("$")


def test_dev_rows_of_another_file_are_not_mistaken_for_test_rows(
    flags: dict[str, Any], task_file: Path, tmp_path: Path
) -> None:
    dev = tmp_path / "dev.jsonl"
    dev.write_text("".join(f'{{"question": "Dev {i}?", "answer": "2"}}\n' for i in range(12)))
    given = flags | {"dev_data": dev, "n_dev_data": 12, "n_steps": 1}
    run = carry_out(given | {"result_prefix": tmp_path / "runs" / "run"}).data
    rows, data = run["environment"]["rows"], run["environment"]["data"]
    assert rows["dev"] == list(range(12)) and rows["test"] == list(range(6, 16))
    assert list(data) == ["train", "dev"] and data["dev"]["rows"] == 12
    report = judge(flags, tmp_path, logs=(tmp_path / "runs" / "run",))
    (result,) = report["results"]
    assert result["hits"] == run["evaluation"]["test"]["best"]["hits"]
