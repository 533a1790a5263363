"""Runs with several workers and several models: the same search, and no worker is missed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from prompt_optimization.errors import InputError
from prompt_optimization.models.process_executor import ProcessExecutor
from prompt_optimization.runs.store.log import RunLog
from prompt_optimization.signals import Interrupted, interruptible
from tests.runs.harness import carry_out, without_times


@pytest.fixture(scope="module")
def flags(small_run: dict[str, Any]) -> dict[str, Any]:
    return small_run | {
        "objective": "loss",
        "n_dev_data": 6,
        "n_test_data": 6,
        "n_steps": 4,
        "top_prompts": 2,
        "max_new_tokens": 5,
        "resume": "auto",
    }


@pytest.fixture(scope="module")
def other_model(saved_model: Path, tmp_path_factory: Any) -> Path:
    """The same tokenizer, other weights."""
    folder: Path = tmp_path_factory.mktemp("other")
    model = AutoModelForCausalLM.from_pretrained(saved_model)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(saved_model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def alone(flags: dict[str, Any], tmp_path_factory: Any) -> dict[str, Any]:
    prefix = tmp_path_factory.mktemp("alone") / "run"
    return carry_out(flags | {"devices": ("cpu",), "result_prefix": prefix}).data


def check_same_search(log: dict[str, Any], alone: dict[str, Any]) -> None:
    """Identical choices; other pools change the last bits of a loss."""
    assert log["controls"] == alone["controls"]
    assert log["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    for step, other in zip(log["steps"], alone["steps"], strict=True):
        assert [c["token"] for c in step["shortlist"]] == [c["token"] for c in other["shortlist"]]
        assert [p["token"] for p in step["proposals"]] == [p["token"] for p in other["proposals"]]
        assert step["tokens"] == other["tokens"], "nothing is computed twice"
    assert log["evaluation"]["test"]["best"]["hits"] == alone["evaluation"]["test"]["best"]["hits"]


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_nothing(
    flags: dict[str, Any], alone: dict[str, Any], tmp_path: Path, workers: int
) -> None:
    log = carry_out(flags | {"devices": ("cpu",) * workers, "result_prefix": tmp_path / "run"}).data
    check_same_search(log, alone)
    assert all(len(step["busy"]) == workers for step in log["steps"])
    assert all(min(step["busy"]) > 0 for step in log["steps"])


@pytest.mark.parametrize("phase", ["move_prefix", "gradients_of", "run", "run_block"])
def test_a_worker_killed_in_any_phase(
    flags: dict[str, Any],
    alone: dict[str, Any],
    tmp_path: Path,
    phase: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sent, kills = ProcessExecutor._send, [0]

    def deadly(self: ProcessExecutor, worker: int, job: Any, arguments: Any) -> None:
        sent(self, worker, job, arguments)
        if job.__name__ == phase and worker == 1 and kills[0] < 1:
            kills[0] += 1
            os.kill(self.pids[worker], signal.SIGKILL)

    monkeypatch.setattr(ProcessExecutor, "_send", deadly)
    log = carry_out(flags | {"devices": ("cpu", "cpu"), "result_prefix": tmp_path / "run"}).data
    assert kills == [1]
    assert "worker 1 was killed by signal 9; starting another" in capsys.readouterr().out
    check_same_search(log, alone)


def test_workers_share_the_likelihood_ratio(
    flags: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = flags | {"shortlist": "likelihood_ratio", "greater.draws": 2, "n_steps": 3}
    flags |= {"accept": "always", "greater.reuse_draws": 0.1}
    alone = carry_out(flags | {"devices": ("cpu",), "result_prefix": tmp_path / "alone"}).data
    sent, kills = ProcessExecutor._send, [0]

    def deadly(self: ProcessExecutor, worker: int, job: Any, arguments: Any) -> None:
        sent(self, worker, job, arguments)
        if job.__name__ == "reread_rows" and worker == 1 and kills[0] < 1:
            kills[0] += 1
            os.kill(self.pids[worker], signal.SIGKILL)

    monkeypatch.setattr(ProcessExecutor, "_send", deadly)
    log = carry_out(flags | {"devices": ("cpu", "cpu"), "result_prefix": tmp_path / "run"}).data
    assert kills == [1]
    check_same_search(log, alone)
    for step, other in zip(log["steps"], alone["steps"], strict=True):
        ratios, others = (
            [each["likelihood_ratio"] for each in of["proposals"]] for of in (step, other)
        )
        assert ratios == pytest.approx(others, abs=1e-4)
    assert [step["draws"]["reused"] > 0 for step in log["steps"]] == [False, True, True]


def test_a_run_whose_workers_keep_dying_continues_later(
    flags: dict[str, Any],
    alone: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = ProcessExecutor._send
    here = flags | {"devices": ("cpu", "cpu"), "result_prefix": tmp_path / "run"}

    def deadly(self: ProcessExecutor, worker: int, job: Any, arguments: Any) -> None:
        sent(self, worker, job, arguments)
        if job.__name__ == "gradients_of" and arguments[2] == 2:
            os.kill(self.pids[worker], signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(ProcessExecutor, "_send", deadly)
        with pytest.raises(InputError, match=r"killed by signal 9, after 3 .*setting resume"):
            carry_out(here)
    log = carry_out(here).data
    assert log["status"] == "finished" and len(log["sessions"]) == 2
    assert log["sessions"][1]["first_step"] == 2
    check_same_search(log, alone)


def test_a_finished_run_with_other_settings_is_no_finished_run(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    here = flags | {"devices": ("cpu",), "n_steps": 1, "result_prefix": tmp_path / "run"}
    log = carry_out(here)
    assert carry_out(here | {"devices": ("cpu", "cpu")}).path == log.path
    for change, words in (
        ({"n_steps": 3}, "n_steps was 1 and is 3"),
        ({"control_init": " other words now"}, "control_init was .* and is ' other words now'"),
    ):
        with pytest.raises(InputError, match=rf"is finished, with other settings: .*{words}"):
            carry_out(here | change)
    assert len(list(tmp_path.glob("run_*.json"))) == 1


def test_one_prompt_for_two_models(
    flags: dict[str, Any], other_model: Path, alone: dict[str, Any], tmp_path: Path
) -> None:
    both = flags | {
        "model_paths": (str(flags["model_paths"]), str(other_model)),
        "num_train_models": 2,
        "devices": ("cpu",),
    }
    log = carry_out(both | {"result_prefix": tmp_path / "both"}).data
    assert log["initial"]["samples"] == 12 and len(log["environment"]["other_models"]) == 1
    single = carry_out(
        flags | {"model_paths": other_model, "devices": ("cpu",), "result_prefix": tmp_path / "b"}
    ).data
    (transfer,) = log["evaluation"]["transfer"]
    assert transfer["model"]["model"] == str(other_model)
    mean = (alone["initial"]["objective"] + single["initial"]["objective"]) / 2
    assert log["initial"]["objective"] == pytest.approx(mean, rel=1e-5)
    proposed = [{p["token"] for p in run["steps"][0]["proposals"]} for run in (log, alone, single)]
    assert proposed[0], "the models agree on something"
    # The same model twice is that model.
    twice = carry_out(
        flags
        | {
            "model_paths": (str(flags["model_paths"]),) * 2,
            "num_train_models": 2,
            "devices": ("cpu",),
            "result_prefix": tmp_path / "twice",
        }
    ).data
    assert twice["controls"] == alone["controls"]
    assert twice["losses"] == pytest.approx(alone["losses"], rel=1e-5)


def test_models_with_a_device_each_work_side_by_side(
    flags: dict[str, Any], other_model: Path, tmp_path: Path
) -> None:
    both = flags | {
        "model_paths": (str(flags["model_paths"]), str(other_model)),
        "num_train_models": 2,
    }
    logs = [
        carry_out(both | {"devices": devices, "result_prefix": tmp_path / f"{len(devices)}"}).data
        for devices in (("cpu",), ("cpu", "cpu"))
    ]
    check_same_search(logs[1], logs[0])
    assert all(min(step["busy"]) > 0 for step in logs[1]["steps"])


def test_without_ray_the_message_says_what_to_install(
    flags: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "prompt_optimization.models.ray_executor", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)  # what an import of it finds, is an error
    with pytest.raises(InputError, match=r"needs the package ray; .*\[ray\]' \(setting workers"):
        carry_out(flags | {"workers": "ray", "result_prefix": tmp_path / "run"})
    assert not list(tmp_path.glob("run_*.json"))


def test_models_are_added_when_the_samples_are_all_in_use(
    flags: dict[str, Any], other_model: Path, tmp_path: Path
) -> None:
    log = carry_out(
        flags
        | {
            "model_paths": (str(flags["model_paths"]), str(other_model)),
            "num_train_models": 2,
            "devices": ("cpu",),
            "progressive_goals": True,
            "progressive_models": True,
            "progressive_group": 3,
            "loss_threshold": 1e9,
            "result_prefix": tmp_path / "run",
        }
    ).data
    assert [step["events"] for step in log["steps"][:3]] == [["samples: 6"], ["models: 2"], []]
    assert [step["incumbent"]["samples"] for step in log["steps"][:3]] == [6, 12, 12]


def test_other_models_test_what_was_found(
    flags: dict[str, Any], other_model: Path, alone: dict[str, Any], tmp_path: Path
) -> None:
    log = carry_out(
        flags
        | {
            "model_paths": (str(flags["model_paths"]), str(other_model)),
            "devices": ("cpu",),
            "result_prefix": tmp_path / "run",
        }
    ).data
    assert log["controls"] == alone["controls"]
    (transfer,) = log["evaluation"]["transfer"]
    assert transfer["model"]["model"] == str(other_model)
    assert transfer["best"]["prompt"] == log["evaluation"]["chosen"]
    assert transfer["best"]["strict"]["n"] == 6 and set(transfer["difference"]) >= {"strict"}


def test_a_test_model_that_does_not_exist_is_refused_at_once(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    paths = (str(flags["model_paths"]), "/no/such/model")
    with pytest.raises(InputError, match="model path '/no/such/model' does not exist"):
        carry_out(
            flags | {"model_paths": paths, "devices": ("cpu",), "result_prefix": tmp_path / "run"}
        )
    assert not list(tmp_path.glob("run_*.json"))


def test_two_models_continue_elsewhere(
    flags: dict[str, Any], other_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = flags | {
        "model_paths": (str(flags["model_paths"]), str(other_model)),
        "num_train_models": 2,
        "devices": ("cpu",),
    }
    whole = carry_out(both | {"result_prefix": tmp_path / "whole"}).data
    stopped = both | {"result_prefix": tmp_path / "stopped"}
    carried, made = RunLog.step, [0]

    def interrupting(self: RunLog, *arguments: Any) -> None:
        carried(self, *arguments)
        made[0] += 1
        if made[0] == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch, interruptible(), pytest.raises(Interrupted):
        patch.setattr(RunLog, "step", interrupting)
        carry_out(stopped)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    log = carry_out(stopped).data
    assert len(log["sessions"]) == 2 and log["sessions"][1]["first_step"] == 2
    assert without_times(log)["steps"] == without_times(whole)["steps"]
    assert log["evaluation"]["test"] == whole["evaluation"]["test"]


def test_another_tokenizer_is_refused(
    flags: dict[str, Any], tmp_path: Path, tokenizers: Any
) -> None:
    from tests.conftest import tiny_model

    folder = tmp_path / "gemma"
    tokenizer = tokenizers["gemma-2"]
    model = tiny_model("gemma-2", len(tokenizer), int(tokenizer.eos_token_id), torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with pytest.raises(InputError, match=r"another tokenizer than .*setting num_train_models"):
        carry_out(
            flags
            | {
                "model_paths": (str(flags["model_paths"]), str(folder)),
                "num_train_models": 2,
                "devices": ("cpu",),
                "result_prefix": tmp_path / "run",
            }
        )
    assert not list(tmp_path.glob("run_*.json"))
