"""Runs of the harness: outcomes are collected, and a policy is trained, writes and is measured."""

from __future__ import annotations

import json
import signal
import string
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.oirl.outcomes import read_outcomes
from prompt_optimization.runs.store.log import read_log
from tests.conftest import ENCODER_WORDS
from tests.runs.harness import carry_out, die_at_write, outcome, session, without_times

pytest.importorskip("trl")

STAGES = ["table", "policy 0", "written 1", "policy 1", "shuffled"]


@pytest.fixture(scope="module")
def flags(small_run: dict[str, Any], encoder_folder: Path, tmp_path_factory: Any) -> dict[str, Any]:
    """A run whose answers are right by chance: where their last letter is one of half of them."""
    path = tmp_path_factory.mktemp("letters") / "letters.jsonl"
    letters = [*string.ascii_lowercase[::2]]
    with path.open("w") as file:
        for n in range(30):
            words = " ".join(ENCODER_WORDS[i % 8] for i in range(n, n + 1 + n % 4))
            json.dump({"question": f"{words} {n}?", "answer": letters}, file)
            file.write("\n")
    return small_run | {
        "train_data": path,
        "method": "qpo",
        "metric": "regex",
        "task.pattern": "[a-z]",
        "qpo.prompts": ("steps", "count each one."),
        "qpo.draws": 2,
        "qpo.batch": 6,
        "qpo.epochs": 1,
        "qpo.rank": 2,
        "qpo.collect_rows": 3,
        "qpo.probe": 2,
        "qpo.length": 5,
        "embed.model": encoder_folder,
        "n_train_data": 12,
        "n_dev_data": 3,
        "n_test_data": 3,
        "max_new_tokens": 3,
        "answer_tokens": 5,
        "resume": "auto",
    }


@pytest.fixture(scope="module")
def whole(flags: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of a run that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    carry_out(flags | {"result_prefix": folder / "run"})
    (path,) = folder.glob("run_*.json")
    return path


def kept(log: Path) -> Path:
    return log.with_name(f"{log.name}.artifacts")


def test_every_stage_is_a_step_and_what_was_written_is_scored(whole: Path) -> None:
    log = read_log(whole)
    assert [step["stage"] for step in log["steps"]] == ["collect"] * 2 + STAGES
    table = read_outcomes(kept(whole) / "table.npz", "qpo.table")
    assert table.test.sum() == 3 and (table.draws == 2).all()
    steps = {step["stage"]: step for step in log["steps"]}
    written = steps["written 1"]["written"]
    assert len(written) + steps["written 1"]["dropped"] <= 2 * 3 and written
    aside = {question for question, test in zip(table.questions, table.test, strict=True) if test}
    for each in written:
        assert each["question"] in aside and 0 <= each["right"] <= 1 and 0 <= each["mean"] <= 1
    # Failures are learnt from, too.
    assert steps["policy 0"]["pairs"] == 9 * 2
    assert steps["policy 1"]["pairs"] == steps["shuffled"]["pairs"] == 18 + len(written)
    for stage in ("policy 0", "policy 1", "shuffled"):
        assert all(0 < loss < 20 for loss in steps[stage]["losses"])
    first, second = (load_file(kept(whole) / f"policy-{n}.safetensors") for n in (0, 1))
    assert first.keys() == second.keys() and all("lora" in name for name in first)
    assert any((first[name] != second[name]).any() for name in first)


def test_dev_elects_and_test_measures_every_control(whole: Path) -> None:
    evaluation = read_log(whole)["evaluation"]
    on_dev = [each["prompt"] for each in evaluation["dev"]["best"]]
    assert on_dev[:2] == ["qpo policy 1 writes", "qpo policy 0 writes"] and len(on_dev) == 4
    contenders = evaluation["test"]["contenders"]
    assert [*contenders] == [
        "policy", "lowest return", "shuffled returns", "best single prompt", "oirl's choice",
        "nearest question", "random prompt",
    ]  # fmt: skip
    chosen = evaluation["test"]["best"]["regex"]["value"]
    for each in contenders.values():
        lead = each["to_best"]["regex"]
        assert lead["value"] == pytest.approx(chosen - each["regex"]["value"])
        assert lead["low"] <= lead["value"] <= lead["high"]
    wrote = json.loads((kept(whole) / "wrote" / "policy-1-9.json").read_text())
    assert len(wrote) == 6  # Questions of dev and test.


def test_killed_at_every_write_it_ends_as_without_a_kill(
    flags: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    own, killed = flags | {"result_prefix": tmp_path / "run"}, 0
    while (code := outcome(session(own, partial(die_at_write, 9 + 2 * killed, killed % 3)))) != 0:
        assert code == -signal.SIGKILL
        killed += 1
    assert killed >= 3
    (path,) = tmp_path.glob("run_*.json")
    assert without_times(read_log(path)) == without_times(read_log(whole))
    for name in ("policy-1.safetensors", "shuffled.safetensors"):
        assert (kept(path) / name).read_bytes() == (kept(whole) / name).read_bytes()


def test_a_wrong_policy_is_refused_before_anything_is_computed(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="'/no-such-folder' does not exist") as caught:
        carry_out(flags | {"qpo.policy_model": "/no-such-folder", "result_prefix": tmp_path / "r"})
    assert caught.value.keys == ("qpo.policy_model",)
    assert not list(tmp_path.glob("*.json"))


def test_prompts_that_are_all_alike_teach_nothing(flags: dict[str, Any], tmp_path: Path) -> None:
    own = flags | {"metric": "strict", "objective": "loss", "result_prefix": tmp_path / "run"}
    log = carry_out({name: own[name] for name in own if name != "task.pattern"}).data
    assert log["status"] == "finished"
    assert any("no policy is trained" in event for step in log["steps"] for event in step["events"])
    assert not list(tmp_path.glob("*.artifacts/*.safetensors"))


def test_a_search_that_ends_early_offers_what_it_has(flags: dict[str, Any], tmp_path: Path) -> None:
    log = carry_out(flags | {"n_steps": 4, "result_prefix": tmp_path / "run"}).data
    on_dev = [each["prompt"] for each in log["evaluation"]["dev"]["best"]]
    assert on_dev[0] == "qpo policy 0 writes"
    contenders = log["evaluation"]["test"]["contenders"]
    assert "policy" in contenders and "shuffled returns" not in contenders
