"""Short flags are enough for a task of one's own; what they choose is said."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from absl.testing import flagsaver

from prompt_optimization.commands import compare, flags, optimize
from prompt_optimization.commands.help_text import help_text
from prompt_optimization.commands.short_flags import FOR_RUNS
from prompt_optimization.errors import InputError
from prompt_optimization.runs.config import plan
from prompt_optimization.tasks.examples import Columns, read_table
from prompt_optimization.tasks.splits import usual_sizes

Set = Callable[..., tuple[dict[str, Any], list[str]]]


def table(path: Path, rows: int, answers: str = "yes no", start: int = 0) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer"])
        words = answers.split()
        writer.writerows([f"Is it {i}?", words[i % len(words)]] for i in range(start, start + rows))
    return path


def code_of(command: Callable[[], int]) -> int:
    """The exit code of a command, after which absl's flags are as before."""
    with flagsaver.flagsaver():
        try:
            return command()
        except SystemExit as done:
            return int(done.code or 0)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def given(capsys: pytest.CaptureFixture[str]) -> Set:
    """``given(*arguments)``: the settings and the notes; an error ends in an exception with the
    sentence."""

    def call(*arguments: str, short: tuple[str, ...] = FOR_RUNS, command: str = "") -> Any:
        found: list[Any] = []

        def keep(_: Sequence[str]) -> None:
            found.append(flags.settings(command))

        if code_of(lambda: flags.execute(keep, arguments, "greater", "", "", short)):
            raise InputError(capsys.readouterr().err)
        return found[0]

    return call


def test_a_model_a_table_and_a_prompt_are_enough(given: Set) -> None:
    table(Path("mine.csv"), 40)
    values, notes = given("--model=some/model", "--data", "mine.csv", "--prompt=think first.")
    params = plan(values).params
    assert params["model_paths"] == ("some/model",) and params["control_init"] == "think first."
    assert [params[f"n_{split}_data"] for split in ("train", "dev", "test")] == [13, 13, 14]
    assert params["extractor_text"].endswith("(use exactly $ yes or $ no) is $ ")
    assert (params["metric"], params["objective"]) == ("strict", "mistakes")
    assert params["result_prefix"] == "results/mine/greater" and params["resume"] == "no"
    rows, answers, results = notes
    assert rows.startswith("of 40 rows 13 train") and "--config.n_train_data" in rows
    assert answers.startswith("the answers are 'yes' or 'no'") and answers.endswith("(--extractor)")
    assert results.endswith("results/mine (--config.result_prefix)")


def test_what_is_given_is_not_chosen(given: Set) -> None:
    table(Path("mine.csv"), 40)
    values, notes = given(
        "--data=mine.csv", "--extractor=So: ", "--config.n_train_data=4", "--method=best_of_n",
        "--config.result_prefix=here", "--config.extractor_style=stars",
    )  # fmt: skip
    assert (values["extractor_text"], values["n_train_data"]) == ("So: ", 4)
    assert (values["method"], values["result_prefix"], len(notes)) == ("best_of_n", "here", 1)


def test_columns_have_names(given: Set) -> None:
    Path("mine.csv").write_text("q,a\n" + "".join(f"Is it {i}?,{i}\n" for i in range(9)))
    values, _ = given(
        "--data=mine.csv", "--config.task.question_column=q", "--config.task.answer_column=a"
    )
    assert plan(values).task.columns == Columns(("q",), ("a",))
    with pytest.raises(InputError, match=r"only q, a; name .* \(--config.task.answer_column\)"):
        given("--data=mine.csv", "--config.task.question_column=q", "--config.task.answer_column=b")


def test_a_yaml_file_and_a_log_are_configs_of_a_command(given: Set) -> None:
    Path("mine.yaml").write_text("n_steps: 7\ntrain_data: x.csv\n")
    values, _ = given("--config=mine.yaml", "--config.seed=5", "--model=m")
    assert (values["n_steps"], values["seed"], values["model_paths"]) == (7, 5, ("m",))
    Path("mine.yaml").write_text("n_stepz: 7\n")
    with pytest.raises(
        InputError, match=r"^error: line 1 of config file 'mine.yaml': .* 'n_steps'"
    ):
        given("--config=mine.yaml", "--config.seed=5")
    Path("folder").mkdir()
    with pytest.raises(InputError, match="folder 'folder' holds no logs; name the log of a run"):
        given("--config", "folder")


def test_of_a_config_for_another_task_the_rows_are_forgotten(given: Set) -> None:
    table(Path("mine.csv"), 40)
    values, notes = given("--config=demo", "--data=mine.csv", "--config.n_dev_data=5")
    assert values["max_new_tokens"] == 32  # the config's
    assert (values["n_train_data"], values["n_dev_data"], values["n_test_data"]) == (17, 5, 18)
    assert values["result_prefix"] == "results/mine/greater"
    assert "--data counts, and not '" in notes[0]


def test_whole_texts_have_another_metric_and_method(given: Set) -> None:
    table(Path("mine.csv"), 9)
    values, notes = given("--data=mine.csv", "--extractor=")
    assert [values[name] for name in ("metric", "objective", "method")] == [
        "f1",
        "answers",
        "random",
    ]
    assert any("metric=f1, objective=answers, method=random" in note for note in notes)
    values, _ = given("--data=mine.csv", "--config.metric=contains", "--method=greater")
    assert (values["extractor_text"], values["metric"]) == ("", "contains")
    assert values["method"] == "greater"  # refused later, in a sentence
    values, _ = given("--data=mine.csv", "--extractor=", command="compare")
    assert values["result_prefix"] == "results/mine/compare" and values["method"] == "greater"


def test_numbers_that_are_not_whole_are_compared_as_numbers(given: Set) -> None:
    values, _ = given("--data", str(table(Path("m.csv"), 9, "0.5 2 3.25")))
    assert values["metric"] == "number"


def test_a_file_sorted_by_its_answers_is_noticed(given: Set) -> None:
    _, notes = given("--data", str(table(Path("m.csv"), 12, "yes " * 6 + "no " * 6)))
    assert any("every training row is answered 'yes'" in note for note in notes)


def test_a_task_of_the_papers_keeps_its_own(given: Set) -> None:
    values, notes = given("--data", str(table(Path("navigate.csv"), 9)))
    assert values["n_train_data"] == -1 and "the task 'navigate'" in notes[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no config; give one, for instance --config=demo, or a table of questions"),
        (["--model=x"], "no config; give one"),
        (["--data"], "flag --data has no value; give --data=FILE"),
        (["--data", "--prompt=x"], "flag --data has no value"),
        (["--dat=x.csv"], "flag --dat is unknown; did you mean --data?"),
        (["--data=x.csv"], "'x.csv' does not exist; give an existing file (--data)"),
        (["--config.train_data=x.csv", "--model=y"], None),
        (["--data=two.csv"], "asks 2 different questions from row 0 on, too few"),
        (["--data=two.csv", "--config.metric=mat"], "'mat' is unknown; choose one of strict"),
        (["--data=two.csv", "--config.n_train_data=x"], "is not of type int"),
    ],
)
def test_wrong_flags(given: Set, arguments: list[str], message: str | None) -> None:
    table(Path("two.csv"), 2)
    if message is None:
        assert given(*arguments)[0]["train_data"] == "x.csv"
        return
    with pytest.raises(InputError) as refused:
        given(*arguments)
    assert message in str(refused.value)


def test_sizes_of_splits_with_files_of_their_own(tmp_path: Path) -> None:
    train = read_table(table(tmp_path / "train.csv", 9))
    test = read_table(table(tmp_path / "test.csv", 8, start=5))
    free = {"train": -1, "dev": -1, "test": -1}
    assert usual_sizes(train, None, test, 0, free) == {"train": 4, "dev": 5, "test": 4}
    assert usual_sizes(train, test, test, 0, free) == {"train": 9, "dev": 4, "test": 1}
    assert usual_sizes(train, None, None, 3, free) == {"train": 2, "dev": 2, "test": 2}
    assert usual_sizes(train, None, None, 0, free | {"test": 7}) == {
        "train": 1,
        "dev": 1,
        "test": 7,
    }


def test_the_same_command_continues_and_another_one_begins(
    saved_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table(Path("mine.csv"), 12, "2 3 12")
    few = [f"--config.{each}" for each in ("n_steps=1", "max_new_tokens=4", "dtype=float32")]
    command = [f"--model={saved_model}", "--data=mine.csv", *few, "--config.devices=cpu"]

    def run(*more: str) -> list[Path]:
        assert code_of(lambda: optimize.main([*command, *more], "greater optimize")) == 0
        return sorted(Path("results/mine").glob("greater_*.json"))

    (log,) = run()
    data = json.loads(log.read_text())
    data["status"] = "interrupted"
    assert data["params"]["n_test_data"] == 4
    assert run() == [log]
    assert "resume=no makes the run in" in capsys.readouterr().out
    assert len(run("--prompt=count each one.")) == 2
    log.write_text(json.dumps(data))
    assert len(run("--config.resume=no")) == 3


def test_help_tells_them() -> None:
    text = help_text(compare.__name__, "greater compare", "", compare.SHORT)
    assert text.startswith("usage: greater compare --data=FILE ") and "--extractor=TEXT" in text
    assert "--method=" not in text.partition("Methods (")[0]
