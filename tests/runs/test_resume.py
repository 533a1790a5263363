"""No run is ever lost: killed anywhere, it continues to the log it would have had."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import chat_template_utils

from prompt_optimization.errors import InputError
from prompt_optimization.files import remove_leftovers
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.optimizers.greater.search import GreaterSearch
from prompt_optimization.runs import session
from prompt_optimization.runs.store.checkpoint import checkpoint_path, load_checkpoint
from prompt_optimization.runs.store.lock import RunLock
from prompt_optimization.runs.store.log import RunLog
from prompt_optimization.scoring import scorer
from prompt_optimization.signals import Interrupted, interruptible, shielded
from tests.runs.harness import carry_out, without_times

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def flags(small_run: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    return small_run | {
        "objective": "loss",
        "n_dev_data": 6,
        "n_test_data": 6,
        "n_steps": 4,
        "test_steps": 3,
        "top_prompts": 2,
        "max_new_tokens": 5,
        "resume": "auto",
        "result_prefix": tmp_path / "run",
    }


def logs(flags: dict[str, Any]) -> list[Path]:
    prefix = Path(flags["result_prefix"])
    return sorted(prefix.parent.glob(f"{prefix.name}_*.json"))


def read(flags: dict[str, Any]) -> dict[str, Any]:
    (path,) = logs(flags)
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def uninterrupted(flags: dict[str, Any]) -> dict[str, Any]:
    other = flags | {"result_prefix": f"{flags['result_prefix']}-whole"}
    data: dict[str, Any] = json.loads(carry_out(other).path.read_text())
    return without_times(data)


def harness(mode: str, count: int, flags: dict[str, Any], folder: Path) -> dict[str, Any]:
    given = folder / "flags"
    given.write_text(json.dumps(flags, default=str))
    done = subprocess.run(
        [sys.executable, "-m", "tests.runs.harness", mode, str(count), str(given)],
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONPATH": str(ROOT / "experiments"),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["code"] == 0, done.stderr
    return result


def only_log_left(flags: dict[str, Any]) -> bool:
    """Nothing lies beside the log but what was written on test rows, neither its checkpoint nor its
    lock nor what writers left."""
    (log,) = logs(flags)
    left = {path.name for path in log.parent.iterdir() if log.name in path.name}
    return left == {log.name, f"{log.name}.outputs.jsonl"}


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any]) -> None:
    """Leave an unfinished run with ``steps`` steps."""
    step = RunLog.step

    def interrupted(self: RunLog, record: dict[str, Any], best: list[Any]) -> None:
        if len(self.data["steps"]) == steps:
            raise KeyboardInterrupt
        step(self, record, best)

    with monkeypatch.context() as patch:
        patch.setattr(RunLog, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            carry_out(flags)


def test_killed_at_every_write(flags: dict[str, Any], tmp_path: Path) -> None:
    flags |= {"n_steps": 12}
    result = harness("writes", 0, flags, tmp_path)
    assert result["killed"] >= 18
    assert without_times(read(flags)) == uninterrupted(flags)
    assert only_log_left(flags)


def test_ten_kills_at_random(flags: dict[str, Any], tmp_path: Path) -> None:
    """The stress test: three kinds of rule draw from the generator, goals grow, tests are made."""
    flags |= {
        "n_steps": 60,
        "answer_tokens": 4,
        "behaviour": "sound",
        "anneal": True,
        "progressive_goals": True,
        "progressive_group": 2,
        "early_stopping_steps": 10,
        "test_steps": 20,
    }
    result = harness("random", 10, flags, tmp_path)
    assert result["killed"] == 10
    data = read(flags)
    assert len(data["sessions"]) > 5 and len(data["steps"]) == 60
    assert without_times(data) == uninterrupted(flags)
    assert only_log_left(flags)


def test_twice_the_same(flags: dict[str, Any]) -> None:
    first, second = (carry_out(flags | {"resume": "no"}) for _ in range(2))
    assert first.path != second.path
    texts = [json.dumps(without_times(json.loads(log.path.read_text()))) for log in (first, second)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("resume", ["no", "True", "auto"])
def test_what_a_second_command_does(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch, resume: str
) -> None:
    stop_after(2, monkeypatch, flags)
    assert read(flags)["status"] == "interrupted" and len(read(flags)["steps"]) == 2
    before = logs(flags)
    log = carry_out(flags | {"resume": resume})
    assert log.data["status"] == "finished" and len(log.data["steps"]) == 4
    assert (log.path in before) == (resume != "no")
    # With everything finished, auto does nothing and True has nothing to continue.
    if resume == "True":
        with pytest.raises(InputError, match="only a finished run"):
            carry_out(flags | {"resume": "True"})
        assert carry_out(flags).path == log.path and logs(flags) == before
        with pytest.raises(InputError, match=r"is finished, with other settings: model_paths was"):
            carry_out(flags | {"resume": "auto", "model_paths": ("another/model",)})


def test_nothing_to_continue(flags: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"there is no run of .* start one \(setting resume\)"):
        carry_out(flags | {"resume": "True"})
    assert not logs(flags)


def test_a_log_is_not_overwritten(flags: dict[str, Any], tmp_path: Path) -> None:
    log = tmp_path / "mine.json"
    carry_out(flags | {"logfile": log, "n_steps": 1})
    held = log.read_bytes()
    with pytest.raises(InputError, match="exists; continue it or"):
        carry_out(flags | {"logfile": log, "resume": "no"})
    assert log.read_bytes() == held
    log.write_text("something else")
    with pytest.raises(InputError, match="no log of a run, or damaged"):
        carry_out(flags | {"logfile": log})
    assert log.read_text() == "something else"


def test_a_template_is_its_words(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    template = tmp_path / "chat.txt"
    template.write_text("Use {prompt} now. {question}")
    flags |= {"template": template}
    stop_after(2, monkeypatch, flags)
    held = read(flags)
    assert json.loads(held["params"]["template"])[0]["content"] == template.read_text()
    assert held["environment"]["chat_template"]["pieces"][1] == " now. "
    template.write_text("Use {prompt} soon. {question}")
    with pytest.raises(InputError, match=r"template was .* now\. .* and is .* soon\. "):
        carry_out(flags)
    template.write_text("Use {prompt} now. {question}\n")
    carry_out(flags)
    assert without_times(read(flags)) == uninterrupted(flags)


def test_a_log_from_before_there_was_a_setting(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(2, monkeypatch, flags)
    (log,) = logs(flags)
    data = read(flags)
    later = {"template", "metric", "keep", "task.fold_system", "reasoning.think_end"}
    data["params"] = {name: held for name, held in data["params"].items() if name not in later}
    log.write_text(json.dumps(data))
    with pytest.raises(InputError, match="template was 'end' and is 'system'"):
        carry_out(flags | {"template": "system"})
    with pytest.raises(InputError, match="metric was 'strict' and is 'f1'"):
        carry_out(flags | {"metric": "f1"})
    assert carry_out(flags).data["status"] == "finished"


def test_what_changed_is_named(
    flags: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    saved_model: Path,
    task_file: Path,
) -> None:
    data, model = tmp_path / "task.json", tmp_path / "model"
    shutil.copy(task_file, data)
    shutil.copytree(saved_model, model)
    flags |= {"train_data": data, "model_paths": model}
    stop_after(2, monkeypatch, flags)
    held = logs(flags)[0].read_bytes()

    with pytest.raises(InputError, match=r"topk was 10 and is 12; .* by force \(setting resume\)"):
        carry_out(flags | {"topk": 12})
    whole = data.read_bytes()
    data.write_bytes(whole + b"another,1,1\r\n")
    with pytest.raises(InputError, match=r"the task file changed \(data.train"):
        carry_out(flags)
    data.write_bytes(whole)
    weights = load_file(model / "model.safetensors")
    kept = {name: tensor.clone() for name, tensor in weights.items()}
    weights["model.layers.1.mlp.up_proj.weight"][3, 3] += 1e-3
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="the model's weights changed"):
        carry_out(flags)
    assert logs(flags)[0].read_bytes() == held, "a refused run leaves the log as it was"

    save_file(kept, model / "model.safetensors", metadata={"format": "pt"})
    log = carry_out(flags | {"resume": "force", "topk": 12, "n_train_data": 8, "n_dev_data": 0})
    assert log.data["status"] == "finished" and log.data["params"]["topk"] == 12
    forced = log.data["sessions"][-1]["forced"]
    assert "topk was 10 and is 12" in forced and len(forced) == 4
    assert log.data["steps"][-1]["samples"] == 8 and log.data["initial"]["samples"] == 8
    assert log.data["evaluation"]["dev"] is None


class Calendar:
    """The clock that chat templates read."""

    def __init__(self, day: str) -> None:
        self.day = day

    def now(self) -> datetime:
        return datetime.strptime(self.day, "%d %b %Y")


def test_a_template_that_writes_the_date(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saved_model: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(saved_model, model)
    template = "Cutting Knowledge Date: December 2023\nToday Date: {{ date_string }}\n"
    clock = "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
    file = model / "chat_template.jinja"
    file.write_text(clock + "{% endif %}" + template + file.read_text())
    flags |= {"model_paths": model}
    with monkeypatch.context() as patch:
        patch.setattr(chat_template_utils, "datetime", Calendar("26 Jul 2024"))
        stop_after(2, monkeypatch, flags)
        patch.setattr(chat_template_utils, "datetime", Calendar("27 Jul 2024"))
        with pytest.raises(InputError, match=r"Date: 26 Jul 2024.* Date: 27 Jul 2024") as caught:
            carry_out(flags)
        assert "today's date by a variable of the chat template such as" in str(caught.value)
        assert caught.value.keys == ("resume", "chat_template_kwargs")
        with pytest.raises(InputError, match=r"Date: 26 Jul 2024.* Date: 28 Jul 2024.*; set it"):
            carry_out(flags | {"chat_template_kwargs": {"date_string": "28 Jul 2024"}})
        then = flags | {"chat_template_kwargs": {"date_string": "26 Jul 2024"}}
        log = carry_out(then).data
    assert log["status"] == "finished" and len(log["steps"]) == 4
    assert log["params"]["chat_template_kwargs"] == {"date_string": "26 Jul 2024"}


def test_a_forced_change_is_carried_through_however_often_it_is_killed(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log names the new settings before the prompts have been scored under them."""
    stop_after(2, monkeypatch, flags)
    wider = flags | {"n_train_data": 8}
    with monkeypatch.context() as patch:
        patch.setattr(GreaterSearch, "start", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        for resume in ("force", "auto"):
            with pytest.raises(KeyboardInterrupt):
                carry_out(wider | {"resume": resume})
    log = carry_out(wider).data
    assert log["status"] == "finished" and log["initial"]["samples"] == 8
    assert [step["samples"] for step in log["steps"]] == [6, 6, 8, 8]
    assert [len(session.get("forced", [])) for session in log["sessions"]] == [0, 2, 0, 0]


def test_a_checkpoint_of_another_run(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(2, monkeypatch, flags)
    (log,) = logs(flags)
    data = json.loads(log.read_text())
    data["sessions"][0]["run"] = "another"
    log.write_text(json.dumps(data))
    with pytest.raises(InputError, match="belongs to another run"):
        carry_out(flags)
    data["sessions"] = []
    log.write_text(json.dumps(data))
    with pytest.raises(InputError, match="no log of a run, or damaged"):
        carry_out(flags)


def test_a_prefix_that_is_a_folder(flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    flags |= {"result_prefix": f"{flags['result_prefix']}/"}
    stop_after(2, monkeypatch, flags)
    log = carry_out(flags)
    assert [session["first_step"] for session in log.data["sessions"]] == [0, 2]


def test_two_that_start_together(flags: dict[str, Any]) -> None:
    prefix = Path(flags["result_prefix"])
    with RunLock(prefix), pytest.raises(InputError, match="another process works on"):
        carry_out(flags)
    assert not logs(flags)


def test_memory_may_be_changed(flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after(2, monkeypatch, flags)
    pools: list[int] = []
    extend = LanguageModel.extend

    def watched(self: LanguageModel, kv: Any, new: Any, where: Any, valid: Any = None) -> Any:
        if new.shape[1] == 1 and kv.columns > 60:
            pools.append(len(new))
        return extend(self, kv, new, where, valid)

    monkeypatch.setattr(LanguageModel, "extend", watched)
    assert carry_out(flags | {"max_rows": 4}).data["status"] == "finished"
    assert pools and max(size for size in pools if size != 6) <= 4


def test_only_its_own_leftovers_are_removed(tmp_path: Path) -> None:
    ours = [".a[1]-abcdefgh", ".a[1].checkpoint-0123456_"]
    others = [".a[1]0-abcdefgh", ".b-abcdefgh", ".a[1]-longer-than-that", "a[1]"]
    for name in ours + others:
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path / "a[1]")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_more_steps_may_be_asked_for(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(2, monkeypatch, flags)
    assert len(carry_out(flags | {"n_steps": 6}).data["steps"]) == 6

    # Even when the search had ended and its prompts were being measured.
    fewer = flags | {"result_prefix": f"{flags['result_prefix']}b"}
    with monkeypatch.context() as patch:
        patch.setattr(session, "compare", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            carry_out(fewer)
    assert read(fewer)["ended"] == "4 steps"
    more = carry_out(fewer | {"n_steps": 6}).data
    whole = carry_out(fewer | {"n_steps": 6, "resume": "no"}).data
    assert len(more["steps"]) == 6 and more["evaluation"] == whole["evaluation"]

    stop_after(
        2, monkeypatch, flags | {"anneal": True, "result_prefix": f"{flags['result_prefix']}a"}
    )
    with pytest.raises(InputError, match=r"n_steps was 4 and is 6"):
        carry_out(
            flags | {"anneal": True, "n_steps": 6, "result_prefix": f"{flags['result_prefix']}a"}
        )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "is damaged"),
        (lambda path: path.write_bytes(b"x" * 100), "is damaged"),
        (lambda path: path.unlink(), "is missing"),
        (
            lambda path: path.write_bytes(
                path.read_bytes().replace(b'"format":"3"', b'"format":"4"')
            ),
            r"checkpoint .* has format 4 and this version reads 3; resume with",
        ),
    ],
)
def test_a_damaged_checkpoint(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch, damage: Any, message: str
) -> None:
    stop_after(2, monkeypatch, flags)
    damage(checkpoint_path(logs(flags)[0]))
    with pytest.raises(InputError, match=message):
        carry_out(flags)
    assert len(read(flags)["steps"]) == 2


def test_one_process_at_a_time(flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after(2, monkeypatch, flags)
    held = logs(flags)[0].read_bytes()
    with (
        RunLock(logs(flags)[0]),
        pytest.raises(InputError, match=rf"another process works on .* \(process {os.getpid()} on"),
    ):
        carry_out(flags)
    assert logs(flags)[0].read_bytes() == held
    # What a killed owner has left is no obstacle.
    logs(flags)[0].with_name(f"{logs(flags)[0].name}.lock").write_text('{"pid": 1}')
    assert carry_out(flags).data["status"] == "finished"
    assert only_log_left(flags)


def test_signals_wait_for_the_write() -> None:
    before, reached = signal.getsignal(signal.SIGTERM), False
    with pytest.raises(Interrupted) as caught, interruptible():
        with shielded():
            os.kill(os.getpid(), signal.SIGTERM)
            reached = True
        pytest.fail("the signal comes right after the write")
    assert reached and caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_comes_when_all_is_done(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = RunLog.finish

    def signalled(self: RunLog, status: str, **fields: Any) -> None:
        finish(self, status, **fields)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunLog, "finish", signalled)
    with pytest.raises(Interrupted), interruptible():
        carry_out(flags)
    assert read(flags)["status"] == "finished" and read(flags)["evaluation"]
    assert only_log_left(flags)
    monkeypatch.undo()
    assert carry_out(flags).data == read(flags)


def test_a_read_only_log(flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after(2, monkeypatch, flags)
    (log,) = logs(flags)
    log.chmod(0o444)
    with pytest.raises(InputError, match=r"cannot be written \(it is read-only\)"):
        carry_out(flags)
    assert len(read(flags)["steps"]) == 2
    log.chmod(0o644)
    assert carry_out(flags).data["status"] == "finished"


def test_the_results_folder_removed_on_the_way(
    flags: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results"
    flags |= {"result_prefix": folder / "run"}
    make_step = GreaterSearch.step

    def removing(self: GreaterSearch) -> Any:
        if self.steps == 2:
            shutil.rmtree(folder)
        return make_step(self)

    monkeypatch.setattr(GreaterSearch, "step", removing)
    carry_out(flags)
    assert read(flags)["status"] == "finished" and len(read(flags)["steps"]) == 4


def test_a_full_disk(flags: dict[str, Any], tmp_path: Path) -> None:
    """Files may not grow beyond a size that the third step's log needs."""
    flags |= {"n_steps": 8, "test_steps": 0}
    whole = uninterrupted(flags)
    size = len(json.dumps(whole, indent=1)) * 2 // 3
    given = tmp_path / "flags"
    given.write_text(json.dumps(flags, default=str))
    code = (
        "import json, sys; from tests.runs.harness import carry_out; "
        "from prompt_optimization.errors import InputError\n"
        "try: carry_out(json.load(open(sys.argv[1])))\n"
        "except InputError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(given)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'experiments'}"},
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    assert "cannot be written (File too large)" in done.stdout, done.stdout + done.stderr
    held = read(flags)
    assert 0 < len(held["steps"]) < 8
    assert without_times(carry_out(flags).data)["steps"] == whole["steps"]


@pytest.mark.parametrize("phase", ["reasoning", "scoring", "gradient", "questions"])
def test_out_of_memory_changes_nothing_but_the_pool(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    flags |= {"gradient_rows": 4}
    whole = uninterrupted(flags)
    extend = LanguageModel.extend
    failed: list[int] = []

    def short(self: LanguageModel, kv: Any, new: Any, where: Any, valid: Any = None) -> Any:
        rows, columns = new.shape[:2]
        here = {
            "reasoning": columns == 1 and kv.columns > 60,
            "scoring": columns > 8 and not torch.is_grad_enabled() and kv.columns > 40,
            "gradient": new.ndim == 3,
            "questions": kv.columns == 0,
        }[phase]
        if here and rows > 2 and len(failed) < 2:
            failed.append(rows)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return extend(self, kv, new, where, valid)

    monkeypatch.setattr(LanguageModel, "extend", short)
    log = carry_out(flags)
    assert failed
    for step, expected in zip(log.data["steps"], whole["steps"], strict=True):
        assert step["incumbent"]["prompt"] == expected["incumbent"]["prompt"]
        assert step["incumbent"]["loss"] == pytest.approx(expected["incumbent"]["loss"], rel=1e-4)


def test_out_of_memory_for_good_ends_in_one_sentence(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    extend = LanguageModel.extend

    def short(self: LanguageModel, kv: Any, new: Any, where: Any, valid: Any = None) -> Any:
        if new.ndim == 3 and len(read(flags)["steps"]) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return extend(self, kv, new, where, valid)

    with monkeypatch.context() as patch:
        patch.setattr(LanguageModel, "extend", short)
        with pytest.raises(InputError, match="does not hold even one example"):
            carry_out(flags)
    assert read(flags)["status"] == "failed" and len(read(flags)["steps"]) == 2
    # The machine has its memory again, and the run continues.
    assert without_times(carry_out(flags).data)["steps"] == uninterrupted(flags)["steps"]


@pytest.mark.parametrize(
    ("changes", "reason", "steps"),
    [
        ({}, "4 steps", 4),
        # The ledger counts the initial evaluation too: 6 reasonings of up to 5 tokens.
        ({"max_seconds": 1e-6}, "1e-06 seconds", 0),
        ({"max_decoded_tokens": 20}, "20 decoded tokens", 0),
        # Then a step tries 3 prompts on 6 examples.
        ({"max_evaluations": 6}, "6 evaluations", 0),
        ({"max_evaluations": 24}, "24 evaluations", 1),
        ({"max_evaluations": 30}, "30 evaluations", 2),
        # A budget ends a search before a batch within a step as well, here after 6 + 3 * 2.
        ({"max_evaluations": 10, "sample_chunk": 2, "accept": "improve"}, "10 evaluations", 0),
        ({"stop_objective": 1e6}, "objective below 1e+06", 0),
        ({"stop_plateau": 1, "accept": "improve"}, "1 steps without a better prompt", None),
        ({"stop_file": "{here}"}, "stop file '{here}'", 0),
    ],
)
def test_what_ends_a_search(
    flags: dict[str, Any], changes: dict[str, Any], reason: str, steps: int | None, tmp_path: Path
) -> None:
    here = tmp_path / "stop"
    here.write_text("")
    changes = {k: str(here) if v == "{here}" else v for k, v in changes.items()}
    log = carry_out(flags | changes)
    assert log.data["ended"] == reason.format(here=here)
    assert steps is None or len(log.data["steps"]) == steps
    assert log.data["status"] == "finished" and log.data["evaluation"]["chosen"]


@pytest.mark.parametrize("budget", [{"max_evaluations": 44}, {"max_decoded_tokens": 170}])
def test_a_search_that_a_budget_has_cut_short_is_measured_later(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch, budget: dict[str, int]
) -> None:
    """The step that was cut short is tried again, and cut short again."""
    flags |= budget | {"sample_chunk": 2, "accept": "improve"}
    whole = uninterrupted(flags)
    assert 0 < len(whole["steps"]) < 4 and whole["ended"] != "4 steps"
    spent = whole["ledger"]["search"]["evaluations"]
    assert spent > 6 + 18 * len(whole["steps"]), "some candidates were scored in no step"
    with monkeypatch.context() as patch:
        patch.setattr(session, "compare", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            carry_out(flags)
    assert read(flags)["ended"] == whole["ended"]
    assert without_times(json.loads(json.dumps(carry_out(flags).data, default=str))) == whole


def test_the_checkpoint_stays_small(flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "REMEMBERED", 5)
    stop_after(12, monkeypatch, flags | {"n_steps": 15})
    path = checkpoint_path(logs(flags)[0])
    assert len(load_checkpoint(path).search["scorer"]["known"]) <= 5
    # What the scorer knows, the incumbent, the initial and the two best prompts, six rows each.
    assert len(load_file(path)["loss"]) <= (5 + 4) * 6
