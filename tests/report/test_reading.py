"""Only what was read alike is averaged or compared, and files of older versions stay readable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.report import reading
from prompt_optimization.report.facts import details, headline, steps
from prompt_optimization.report.measured import read_results
from prompt_optimization.report.reading import READING, UNKNOWN
from prompt_optimization.report.table_facts import table_facts
from prompt_optimization.report.tables import ablations, per_task, significance, table_1
from prompt_optimization.runs.store.evaluations import read_evaluation
from tests.report.records import (
    OLD,
    OLD_EVALUATION,
    TEMPLATE,
    evaluation,
    folder_of,
    held_out,
    log,
)

VICUNA = {
    "name": "vicuna_v1.1",
    "sha256": "a1b2c3d4e5f6",
    "before": "USER: ",
    "after": " ASSISTANT:",
}

# What may differ between two runs in how a prompt is read, and another value of it.
OTHER: dict[str, Any] = {
    "extractor_text": "So it is",
    "connector": " Answer the opposite. Then use",
    "template": "system",
    "chat_template_kwargs": {"date_string": "26 Jul 2024"},
    "chat_template": VICUNA,
    "stop_ids": [2],
    **{name: 99 for name in READING},
}


def accuracies(folder: Path) -> dict[str, float]:
    data = per_task(read_results(folder).measurements).data
    return dict(zip(data["prompt"], data["measured"], strict=True))


def test_three_templates_are_three_columns(tmp_path: Path) -> None:
    runs = [
        log("a"),
        log("b", connector=OTHER["connector"]),
        log("c", chat_template=VICUNA, stop_ids=[2]),
    ]
    for run, before, after in zip(
        runs, ("1000", "1110", "1100"), ("1100", "1111", "0000"), strict=True
    ):
        run["evaluation"]["test"] |= {
            "initial": held_out(" think", before), "best": held_out(" think well", after)
        }  # fmt: skip
    results = read_results(folder_of(tmp_path, *runs))
    found = accuracies(tmp_path)
    usual, vicuna = (
        f"chat_template={TEMPLATE['sha256'][:6]}",
        f"chat_template={VICUNA['sha256'][:6]}",
    )
    read = {
        f"{usual}, connector='. Use'": (25.0, 50.0),
        f"{usual}, connector=' Answer the opposite. Then use'": (75.0, 100.0),
        f"{vicuna}, connector='. Use'": (50.0, 0.0),
    }
    start = "initial prompt 'think'"
    assert found == {
        f"{name} ({start}, {label})": values[place]
        for label, values in read.items()
        for place, name in enumerate(("initial prompt", "GReaTer"))
    }
    compared = significance(results.measurements).data
    assert sorted(compared["difference"]) == [-50.0, 25.0, 25.0]
    for line in compared.to_dict("records"):
        assert line["from"].partition("(")[2] == line["to"].partition("(")[2]
    assert len(ablations(results).data) == 3


@pytest.mark.parametrize("key", OTHER)
def test_a_single_difference_parts_two_runs(key: str, tmp_path: Path) -> None:
    folder_of(tmp_path, log("a"), log("b", **{key: OTHER[key]}))
    found = read_results(tmp_path).measurements
    assert len({m.label for m in found}) == 2 and len(accuracies(tmp_path)) == 4
    assert len(significance(found).data) == 2, "each search against its own initial prompt"


def test_precision_and_weights_part_runs_of_the_papers_models(tmp_path: Path) -> None:
    model = "meta-llama/Meta-Llama-3-8B-Instruct"
    runs = [log(run, model=model, weights=run * 12) for run in ("a", "b")]
    assert len(accuracies(folder_of(tmp_path, *runs))) == 4


@given(st.lists(st.sets(st.sampled_from(sorted(OTHER)), max_size=2), min_size=1, max_size=5))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_runs_share_a_column_if_and_only_if_they_were_read_alike(
    tmp_path: Path, different: list[set[str]]
) -> None:
    for old in tmp_path.glob("*.json"):
        old.unlink()
    folder_of(tmp_path, *(
        log(str(run), **{key: OTHER[key] for key in keys}) for run, keys in enumerate(different)
    ))  # fmt: skip
    found = read_results(tmp_path).measurements
    for name in ("initial", "greater"):
        ours = [m for m in found if m.method == name]
        assert len(ours) == len(different)
        for one, keys in zip(ours, different, strict=True):
            for other, other_keys in zip(ours, different, strict=True):
                assert (one.title == other.title) == (keys == other_keys)


def test_the_initial_prompt_is_averaged_like_the_searches(tmp_path: Path) -> None:
    runs = [log("a"), log("b")]
    runs[1]["evaluation"]["test"]["initial"] = held_out(" think", "1110")
    found = accuracies(folder_of(tmp_path, *runs))
    assert found["initial prompt (initial prompt 'think')"] == 50.0  # of 25 and 75


def test_other_test_data_are_another_task(tmp_path: Path) -> None:
    train = OLD["environment"]["data"]["train"]
    runs = [log(run, data={"train": train, "test": train | {"sha256": run * 12}}) for run in "ab"]
    found = read_results(folder_of(tmp_path, *runs)).measurements
    assert {m.task for m in found} == {"task (data 8e02c7 aaaaaa)", "task (data 8e02c7 bbbbbb)"}


def test_an_old_run_and_its_evaluation(tmp_path: Path) -> None:
    folder_of(tmp_path, OLD, OLD_EVALUATION)
    results = read_results(tmp_path)
    assert results.left_out == [] and not any(m.label for m in results.measurements)
    # The run's own measurement and that of its prompt in the evaluation are one.
    assert [m.method for m in results.measurements] == ["initial", "greater", "zero_shot_cot"]
    compared = significance(results.measurements).data
    # A baseline has its own connector, and is compared all the same.
    assert list(compared["from"]) == ["initial prompt (initial prompt 'think')", "ZS-CoT"]
    assert list(compared["difference"]) == [50.0, 50.0]


def test_what_an_evaluation_lacks_equals_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A setting that has come since.
    monkeypatch.setattr(reading, "READING", (*reading.READING, "temperature"))
    for key, lacking in (
        ("stop_ids", evaluation(stop_ids=None)),
        ("chat_template", evaluation(chat_template=None)),
        ("temperature", OLD_EVALUATION),
    ):
        folder_of(tmp_path / key, log("old", temperature=0.5), lacking)
        found = read_results(tmp_path / key).measurements
        assert {m.reading[key] == UNKNOWN for m in found} == {True, False}
        searched = [m.title for m in found if m.method == "greater"]
        assert len(set(searched)) == 2 and f"{key}={UNKNOWN}" in searched[1]
        compared = significance(found).data
        assert list(compared["to"]) == searched
        # Each is compared to what was read like it: the run to its own initial prompt only.
        assert list(compared["from"].str.partition(" (")[0]) == ["initial prompt", "ZS-CoT"]


def test_template_arguments_are_known_by_what_they_make(tmp_path: Path) -> None:
    """An evaluation tells the hash of what the template adds, arguments included."""
    dated = log("a", chat_template_kwargs={"date_string": "26 Jul 2024"})
    folder_of(tmp_path / "agree", dated, OLD_EVALUATION)
    assert not any(m.label for m in read_results(tmp_path / "agree").measurements)
    folder_of(tmp_path / "differ", dated, log("b"), OLD_EVALUATION)
    found = read_results(tmp_path / "differ").measurements
    assert found[-1].reading["chat_template_kwargs"] == UNKNOWN
    folder_of(tmp_path / "other", dated, evaluation(chat_template=VICUNA))
    found = read_results(tmp_path / "other").measurements
    assert found[-1].reading["chat_template_kwargs"] == UNKNOWN
    folder_of(tmp_path / "told", dated, evaluation(chat_template_kwargs={}))
    assert read_results(tmp_path / "told").measurements[-1].reading["chat_template_kwargs"] == "{}"


def test_an_old_log_is_shown() -> None:
    assert details(OLD)["figure"]["points"] == [(-0.5, -0.25)]
    assert details(OLD)["seconds"] == {"propose": 3.0, "select": 2.0}
    found = steps(OLD)
    assert [each["objective"] for each in found] == [0.5, 0.5]
    assert [each["best"]["mistakes"] for each in found] == [0.5, 0.5]
    assert [(each["label"], each["capped"], each["taken"]) for each in found[0]["tried"]] == [
        (" well", False, True), (" not", True, False),
    ]  # fmt: skip


def test_a_method_that_is_not_known_here(tmp_path: Path) -> None:
    folder_of(tmp_path, log("a", "hill climbing"), OLD)
    results = read_results(tmp_path)
    titles = [m.title.partition(" (")[0] for m in results.measurements]
    assert titles == ["initial prompt", "hill climbing", "initial prompt", "GReaTer"]
    unknown = log("a", "hill climbing")
    assert headline(unknown)["method"] == "hill climbing" and details(unknown)["figure"] is None
    assert steps(unknown)[0]["tried"] == steps(OLD)[0]["tried"]
    assert [each["method"] for each in table_facts(tmp_path)["figures"]] == ["GReaTer"]
    between = significance(results.measurements).data.iloc[-1]
    assert (between["from"], between["to"]) == tuple(
        f"{name} (initial prompt 'think')" for name in ("GReaTer", "hill climbing")
    )
    assert set(ablations(results).data["runs"]) == {1}


def test_methods_follow_the_papers_in_table_1(tmp_path: Path) -> None:
    data = {"train": OLD["environment"]["data"]["train"] | {"official": True}}
    default = (
        " proper logical reasoning and think step by step. Finally give the actual correct answer."
    )
    made = log("a", "hill climbing", train_data="navigate.json", data=data, control_init=default)
    ours = table_1(read_results(folder_of(tmp_path, made)).measurements).data
    ours = ours[ours["model"] == "tiny"]
    assert list(dict.fromkeys(ours["method"])) == ["initial prompt", "hill climbing"]
    assert list(ours[ours["benchmark"] == "BBH"]["tasks"]) == ["1 of 21"] * 2


DAMAGE = {
    "kind": {"kind": "run"},
    "format": {"format": "one"},
    "params": {"params": {"max_new_tokens": 6}},
    "results": {"results": {}},
    "environment": {"environment": {"model": "m"}},
    "data": {"environment": OLD_EVALUATION["environment"] | {"data": {"task train": {}}}},
    "task": {"results": [OLD_EVALUATION["results"][0] | {"task": "other"}]},
    "rows": {"results": [OLD_EVALUATION["results"][0] | {"rows": [1]}]},
    "origin": {"results": [OLD_EVALUATION["results"][0] | {"origin": {"kind": "guess"}}]},
    "baseline": {"results": [OLD_EVALUATION["results"][0] | {"origin": {"kind": "baseline"}}]},
    "result": {"results": [7]},
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_evaluation_is_left_out(case: str, tmp_path: Path) -> None:
    results = read_results(folder_of(tmp_path, OLD, OLD_EVALUATION | DAMAGE[case]))
    (reason,) = results.left_out
    assert reason.startswith(f"'{tmp_path / '1.evaluation.json'}' is no evaluation, or damaged")


def test_files_are_checked_without_assertions_too(tmp_path: Path) -> None:
    folder_of(tmp_path, *(OLD_EVALUATION | changes for changes in DAMAGE.values()))
    code = f"""
from pathlib import Path
from prompt_optimization.errors import InputError
from prompt_optimization.runs.store.evaluations import read_evaluation
for path in Path({str(tmp_path)!r}).iterdir():
    try:
        read_evaluation(path)
    except InputError:
        print("refused")
"""
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True)
    assert done.stdout.count("refused") == len(DAMAGE), done.stderr


def test_evaluations_of_other_versions(tmp_path: Path) -> None:
    folder_of(tmp_path, OLD_EVALUATION, OLD_EVALUATION | {"format": 2, "results": None})
    assert read_evaluation(tmp_path / "0.evaluation.json") == OLD_EVALUATION
    with pytest.raises(InputError, match="format 2 and this version knows up to 1"):
        read_evaluation(tmp_path / "1.evaluation.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_evaluation(tmp_path / "none.evaluation.json")


def test_the_tokenizer_parts_runs(tmp_path: Path) -> None:
    runs = [log("a"), log("a"), log("b")]
    for run, tokenizer in zip(runs, ("1" * 64, "2" * 64, "1" * 64), strict=True):
        run["environment"]["tokenizer"] = tokenizer
        run["sessions"][0]["run"] = f"{run['params']['seed']} {tokenizer}"
    found = read_results(folder_of(tmp_path, *runs)).measurements
    searched = [m.label for m in found if m.method == "greater"]
    assert sorted(searched) == ["tokenizer=111111", "tokenizer=111111", "tokenizer=222222"]
