"""Runs of the harness, and what is asked of them afterwards: answers are drawn, kept and learnt."""

from __future__ import annotations

import json
import signal
import string
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prompt_optimization.commands import import_table
from prompt_optimization.commands.oirl import learn_from
from prompt_optimization.commands.recommend import main as recommend
from prompt_optimization.errors import InputError
from prompt_optimization.models.embedder import Embedder
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.optimizers.oirl.outcomes import Outcomes, read_outcomes
from prompt_optimization.paths import data_folder
from prompt_optimization.runs.recommend import open_recommender
from prompt_optimization.runs.store.log import read_log
from tests.conftest import ENCODER_WORDS
from tests.runs.harness import (
    carry_out,
    die_at_write,
    outcome,
    session,
    values,
    without_times,
)

PROMPTS = ("steps", "count each one.")
KEPT = (
    "table.npz",
    "embeddings.npz",
    "reward/0-1",
    "report.json",
    "report.csv",
    "recommender.json",
)


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
        "method": "oirl",
        "metric": "regex",
        "task.pattern": "[a-z]",
        "oirl.prompts": PROMPTS,
        "oirl.heldout": ("plain",),
        "oirl.draws": 2,
        "oirl.batch": 5,
        "oirl.reward": "xgboost",
        "oirl.rounds": 4,
        "oirl.test_share": 0.3,
        "embed.model": encoder_folder,
        "n_train_data": 12,
        "n_dev_data": 6,
        "n_test_data": 6,
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


@pytest.fixture(scope="module")
def table(whole: Path) -> Outcomes:
    return read_outcomes(kept(whole) / "table.npz", "oirl.table")


def kept(log: Path) -> Path:
    return log.with_name(f"{log.name}.artifacts")


def test_answers_are_collected_and_every_stage_is_a_step(whole: Path, table: Outcomes) -> None:
    log = read_log(whole)
    stages = [step["stage"] for step in log["steps"]]
    assert stages == ["collect"] * 3 + ["table", "features", "reward", "report"]
    assert log["ended"] == "nothing is left to try"
    # Both training prompts on all questions, the held-out one on the test questions.
    tests = int(table.test.sum())
    assert tests == 4 and table.heldout.tolist() == [False, False, True]
    assert (table.draws[:, :2] == 2).all()
    assert (table.draws[:, 2] == np.where(table.test, 2, 0)).all()
    collected = sum(step["answers"] for step in log["steps"][:3])
    assert collected == table.draws.sum() == 2 * (2 * 12 + tests)
    # The initial prompt and one answer to each pair and draw: nothing else was asked.
    assert log["ledger"]["search"]["evaluations"] == 12 + collected
    assert 0 < table.right.sum() < table.draws.sum()
    assert (table.rates[table.draws > 0] == 0.5).any()  # Two draws of a pair may differ.
    # What was scored is on the leaderboard, with the answers of the first draw.
    assert {entry["prompt"] for entry in log["best"]} >= {*table.prompts[:2]}
    assert [(kept(whole) / name).is_file() for name in KEPT] == [True] * len(KEPT)


def test_dev_elects_among_rules_and_prompts(whole: Path, table: Outcomes) -> None:
    evaluation = read_log(whole)["evaluation"]
    on_dev = [each["prompt"] for each in evaluation["dev"]["best"]]
    rules = [name for name in on_dev if name.startswith("oirl ")]
    assert [name.split(":")[0] for name in rules] == ["oirl irl0", "oirl irl10", "oirl mixed"]
    assert {*on_dev} - {*rules} == {*table.prompts[:2]}
    assert evaluation["chosen"] in (*on_dev, evaluation["dev"]["initial"]["prompt"])
    assert evaluation["test"]["difference"]


def test_killed_at_every_write_it_ends_as_without_a_kill(
    flags: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    own, killed = flags | {"result_prefix": tmp_path / "run"}, 0
    while (code := outcome(session(own, partial(die_at_write, 7 + killed, killed % 3)))) != 0:
        assert code == -signal.SIGKILL
        killed += 1
    assert killed >= 3
    (path,) = tmp_path.glob("run_*.json")
    assert without_times(read_log(path)) == without_times(read_log(whole))
    for name in KEPT:
        assert (kept(path) / name).read_bytes() == (kept(whole) / name).read_bytes()


def test_a_budget_leaves_what_was_collected_to_learn_from(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    own = {"result_prefix": tmp_path / "run", "max_evaluations": 45, "n_test_data": 0}
    log = carry_out(flags | own).data
    assert log["ended"] == "45 evaluations"
    assert {step["stage"] for step in log["steps"]} == {"collect"}
    assert any(each["prompt"].startswith("oirl ") for each in log["evaluation"]["dev"]["best"])


def test_a_run_begins_with_what_another_one_knows(
    flags: dict[str, Any], whole: Path, table: Outcomes, tmp_path: Path
) -> None:
    own = {
        "oirl.table": kept(whole) / "table.npz",
        "oirl.stage": "table",
        "oirl.prompts": (*PROMPTS, "think."),
        "n_test_data": 0,
        "result_prefix": tmp_path / "run",
    }
    log = carry_out(flags | own).data
    # Only the new prompt lacks answers.
    assert sum(step.get("answers", 0) for step in log["steps"]) == 2 * 12
    assert [step["stage"] for step in log["steps"]][-1] == "table"
    assert log["evaluation"]["kind"] == "text"
    (path,) = tmp_path.glob("run_*.json")
    again = read_outcomes(kept(path) / "table.npz", "oirl.table")
    assert np.array_equal(again.right[:, :2], table.right[:, :2])
    foreign = flags | own | {"oirl.prompts": ("one.", "two."), "oirl.heldout": ()}
    with pytest.raises(InputError, match="has none of the training questions"):
        carry_out(foreign | {"result_prefix": tmp_path / "foreign"})


def test_answers_that_are_all_alike_leave_the_prompts(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    own = {"metric": "strict", "result_prefix": tmp_path / "run", "n_test_data": 0}
    log = carry_out(flags | own).data
    events = [event for step in log["steps"] for event in step["events"]]
    assert any("is wrong, so nothing can be learnt" in event for event in events)
    assert log["status"] == "finished" and log["evaluation"]["kind"] == "text"
    (path,) = tmp_path.glob("run_*.json")
    with pytest.raises(InputError, match="has kept no reward model"):
        open_recommender(path)


@pytest.fixture
def no_language_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a language model was asked")

    monkeypatch.setattr(LanguageModel, "__init__", refuse)
    yield


def test_recommend(
    whole: Path, table: Outcomes, no_language_model: None, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = ["think step by 99?", "count each one"]
    prefix = str(whole).rpartition("_")[0]
    for run in (str(whole), prefix, str(kept(whole))):
        assert recommend(["--from", run, "--json", *questions], "greater recommend") == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [each["question"] for each in found] == questions
        assert {each["prompt"] for each in found} <= {*table.prompts[:2]}
        assert all(0 < each["chance"] < 1 and each["gain"]["n"] == 4 for each in found)
    assert recommend(["--from", str(whole), "--rule", "heldout", *questions], "greater") == 0
    out = capsys.readouterr().out
    assert out.count(table.prompts[2].strip()) == 2 and "on 4 questions that were not" in out
    # The library asks the same.
    from GReaTer import open_recommender as opened

    assert opened(whole).recommend(questions[0]).prompt == found[0]["prompt"]


def test_recommend_where_it_cannot(
    whole: Path, flags: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(run: Path, *more: str) -> str:
        assert recommend(["--from", str(run), *(more or ("One?",))], "greater recommend") == 2
        out, err = capsys.readouterr()
        assert not out and err.count("\n") == 1
        return err

    assert "there is no run at" in refused(tmp_path / "none")
    log = json.loads(whole.read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps(log | {"method": "greater"}))
    assert "is one of the method 'greater'" in refused(other)
    other.write_text(json.dumps(log | {"status": "interrupted"}))
    assert "is not finished (interrupted)" in refused(other)
    other.write_text(json.dumps(log))
    assert "has kept no reward model" in refused(other)
    assert "a question is empty" in refused(whole, " ")
    assert "rule 'best' is unknown" in refused(whole, "One?", "--rule", "best")
    other.write_text("{}")
    assert "error:" in refused(other)


def test_a_table_is_enough(
    whole: Path, flags: dict[str, Any], tmp_path: Path, no_language_model: None,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """From pairs in a file to a recommendation, without a language model."""
    table = read_outcomes(kept(whole) / "table.npz", "oirl.table")
    pairs, made = tmp_path / "pairs.jsonl", tmp_path / "table.npz"
    rows = [
        {
            "question": table.questions[q],
            "prompt": table.prompts[p],
            "right": table.rates[q, p],
            "draws": int(table.draws[q, p]),
            "heldout": bool(table.heldout[p]),
        }
        for q, p in zip(*map(list, np.nonzero(table.draws)), strict=True)
    ]
    pairs.write_text("\n".join(map(json.dumps, rows)))
    assert import_table.main(["--pairs", str(pairs), "--out", str(made)], "greater") == 0
    assert np.array_equal(read_outcomes(made, "oirl.table").right, table.right)
    prefix = tmp_path / "learnt"
    own = {
        "oirl.table": made, "oirl.reward": "knn", "embed.model": flags["embed.model"],
        "result_prefix": prefix,
    }  # fmt: skip
    learn_from(values(own))
    out = capsys.readouterr().out
    assert "IRL 0" in out and "0 of 4 test questions are also learnt from" in out
    assert recommend(["--from", str(prefix), "think step"], "greater recommend") == 0
    assert "chosen in" in capsys.readouterr().out
    # Another threshold encodes and fits nothing anew.
    monkeypatch.setattr(Embedder, "embed", embed_of_one(Embedder.embed))
    learn_from(values(own | {"oirl.threshold": 0.1}))
    for broken, words in (("", "no table of outcomes"), (pairs, "is no table of outcomes")):
        with pytest.raises(InputError, match=words):
            learn_from(values(own | {"oirl.table": broken}))


def embed_of_one(embed: Any) -> Any:
    """``embed``, which refuses more than the text that distinguishes encoders."""

    def refuse(self: Embedder, texts: Any) -> Any:
        assert len(texts) == 1
        return embed(self, texts)

    return refuse


@pytest.mark.smollm2
def test_a_real_model_answers_and_is_learnt_from(encoder_folder: Path, tmp_path: Path) -> None:
    own = {
        "train_data": data_folder() / "BBH" / "one_step_arithmetic.json",
        "method": "oirl",
        "devices": "cpu",
        "dtype": "float32",
        "oirl.prompts": ("plain", "Give only the number."),
        "oirl.draws": 2,
        "oirl.rounds": 5,
        "embed.model": encoder_folder,
        "metric": "contains",
        "n_train_data": 6,
        "n_dev_data": 2,
        "n_test_data": 0,
        "max_new_tokens": 6,
        "answer_tokens": 4,
        "result_prefix": tmp_path / "run",
    }
    log = carry_out(own).data
    assert log["status"] == "finished" and log["params"]["reasoning.temperature"] == 0.6
    (path,) = tmp_path.glob("run_*.json")
    table = read_outcomes(kept(path) / "table.npz", "oirl.table")
    assert (table.draws == 2).all() and table.source["model"] == "smollm2-135m-instruct"
