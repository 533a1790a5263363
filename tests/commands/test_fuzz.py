"""Whatever a command is given, it keeps its contract.

The exit code is 0, 2 or that of a signal. A refusal is one sentence. Every file is whole, and what
was finished stays. All of it runs in this process, on a tiny random model, in the same order every
time.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import os
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prompt_optimization.commands import evaluate, flags
from prompt_optimization.errors import InputError
from prompt_optimization.keys import Key
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.runs import run as run_module
from prompt_optimization.runs.config import all_keys
from tests.conftest import QUESTIONS
from tests.runs.harness import without_times
from tests.said import said

ROWS = [*all_keys().values()]

# Words that are no value of most settings, or one that nobody means.
WORDS = (
    *("", " ", "'", '"', "nan", "inf", "-inf", "-1", "0", "2.5", "1e999", "9" * 30, "None", "true"),
    *("()", "[]", "{}", "('a',", "(3,)", "('',)", "('a', 'b')", "{'a': 1}", "({},)", "[" * 300),
    *(
        "no such word",
        "two\nlines",
        "\x1b[31m",
        "\udcff",
        "\u202e",
        "/",
        "/dev/null/x",
        "~nobody-known/x",
    ),
    *("-" * 9000 + "1", "x" * 5000, "%s", "{0}"),
)
# No NUL, which no command line holds.
TEXTS = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
    | st.text(st.sampled_from(" .aZ7$\n\r\t\u2028\u200d\x1b\x7f\udcff'\"{}%🧑é"), max_size=6)
    | st.sampled_from([" think step by step.", " use {question}.", "<|eot_id|>", "A" * 3000])
)
ARGUMENT = (
    TEXTS
    | st.builds("--config.{}={}".format, st.sampled_from([row.path for row in ROWS]), TEXTS)
    | st.builds(
        "{}{}{}".format, st.sampled_from(["-", "--", "--config", "--config."]), TEXTS, TEXTS
    )
    | st.sampled_from(
        "--config --config=embedded:x --flagfile=none --help -h --noconfig.anneal --config.anneal "
        "--config.topk 12 --undefok=x --config.task=3 --config.x --helpfull".split()
    )
)
CELLS = (
    TEXTS | st.sampled_from([question for question, _ in QUESTIONS]) | st.integers(0, 9).map(str)
)
COLUMNS = st.sampled_from(
    ["question", "answer", "goal", "final_target", "input", "A", "", "context"]
)
TABLES = st.lists(COLUMNS, min_size=1, max_size=3).flatmap(
    lambda names: st.tuples(
        st.just(names),
        st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), max_size=8),
    )
)


def written(table: tuple[list[str], list[list[str]]], kind: str, encoding: str) -> bytes:
    """A table as a file of a kind."""
    names, rows = table
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    if kind == "lines":
        text = "\n".join(map(json.dumps, objects))
    elif kind == "document":
        text = json.dumps({"examples": objects})
    else:
        out = io.StringIO()
        csv.writer(out, delimiter=kind).writerows([names, *rows])
        text = out.getvalue()
    return text.encode(encoding, "replace")


def damaged(data: bytes, at: int, junk: bytes) -> bytes:
    """``data`` with ``junk`` in place of what stands at ``at``."""
    return data[:at] + junk + data[at + len(junk) :]


WRITTEN = st.builds(
    written,
    TABLES,
    st.sampled_from([",", ";", "\t", "lines", "document"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
)
SOUND = json.dumps([{"question": f"{n}: {q}", "answer": a} for n in (1, 2) for q, a in QUESTIONS])
FILES = (
    WRITTEN
    | st.builds(damaged, st.just(SOUND.encode()), st.integers(0, len(SOUND)), st.binary(max_size=3))
    | st.builds(damaged, WRITTEN, st.integers(0, 200), st.binary(max_size=3))
    | WRITTEN.map(gzip.compress)
    | st.binary(max_size=60)
)


def bounded(max_examples: int) -> settings:
    """The same examples every time."""
    return settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        suppress_health_check=[*HealthCheck],
    )


def check_files(folder: Path) -> list[dict[str, Any]]:
    """What a command may leave in ``folder``: JSON files that are whole, each with its checkpoint
    at most; what the files hold."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").split("\n")
            assert lines.pop() == "" and all(map(json.loads, lines)), path
        elif path.suffix == ".checkpoint":
            assert path.with_suffix("").is_file(), path
        elif path.is_file():
            assert path.suffix == ".json", path
            found.append(json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant))
    return found


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@pytest.fixture
def arguments(
    small_run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """A run that takes a moment, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    short = {
        "n_train_data": 3,
        "n_dev_data": 0,
        "n_test_data": 2,
        "n_steps": 1,
        "max_new_tokens": 2,
        "answer_tokens": 1,
        "min_proposals": 1,
        "best_of_n.prompts": "('think.',)",
    }
    given_ = [f"--config.{key}={value}" for key, value in (small_run | short).items()]
    return ["--config=template", *given_]


@pytest.fixture
def results(tmp_path: Path) -> Callable[[], Path]:
    """An empty folder, another one each time."""
    numbers = itertools.count()

    def make() -> Path:
        folder = tmp_path / f"results{next(numbers)}"
        folder.mkdir()
        return folder

    return make


@pytest.fixture
def before_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end where the models would be loaded."""

    def refuse(*_: Any) -> None:
        raise InputError("so far")

    monkeypatch.setattr(run_module.run, "__defaults__", (refuse,))  # its ``opening``


# --- Settings --------------------------------------------------------------------------------


# Texts and lists are each read in their own way. Numbers, switches and choices are all checked by
# the same code, so each of them takes a part of the words.
PARTS = 6


def words_of(number: int, row: Key) -> tuple[str, ...]:
    """Those that a setting is tried with."""
    own = row.kind in (str, tuple, dict) and not row.choices
    return WORDS if own else WORDS[number % PARTS :: PARTS]


@pytest.mark.parametrize(
    ("row", "words"),
    [(row, words_of(number, row)) for number, row in enumerate(ROWS)],
    ids=[row.name for row in ROWS],
)
def test_settings_with_words(
    arguments: list[str], before_models: None, tmp_path: Path, row: Key, words: tuple[str, ...]
) -> None:
    for word in words:
        found = said(*arguments, f"--config.{row.name}={word}")
        assert found.code == 2 and not check_files(tmp_path)


def values_of(row: Key) -> st.SearchStrategy[Any]:
    """Values of the row's type, most of which can be used."""
    if row.choices:
        return st.sampled_from(row.choices)
    numbers = {"min_value": row.low if row.above is None else row.above, "max_value": row.high}
    return {
        bool: st.booleans(),
        int: st.integers(0, 9) | st.integers(**numbers),
        float: st.floats(0, 2) | st.floats(**numbers, allow_nan=False),
        str: TEXTS,
        tuple: st.lists(TEXTS if row.item is str else st.just({}), max_size=2).map(tuple),
        dict: st.dictionaries(st.sampled_from(["day", "date_string"]), TEXTS, max_size=2),
    }[row.kind]


# Workers in processes of their own take seconds to start, a hub would be asked for models, and
# places are drawn elsewhere.
FIXED = "devices workers result_prefix logfile model_paths tokenizer_paths model.adapters".split()
SETTING = st.sampled_from([row for row in ROWS if row.name not in FIXED]).flatmap(
    lambda row: st.tuples(st.just(row.name), values_of(row))
)


@bounded(max_examples=30)
@given(changes=st.lists(SETTING, min_size=1, max_size=4))
def test_settings_together(
    arguments: list[str], results: Callable[[], Path], changes: list[tuple[str, Any]]
) -> None:
    folder = results()
    changed = [f"--config.{name}={value}" for name, value in changes]
    found = said(*arguments, *changed, f"--config.result_prefix={folder}/run")
    logs = check_files(folder)
    # Numbers beyond all measure fail when they are computed with, and the log tells it.
    assert [log["status"] for log in logs] in (
        [["finished"]] if not found.code else [["failed"], []]
    )


@bounded(max_examples=80)
@given(given_=st.lists(ARGUMENT, max_size=4), config=st.booleans())
def test_any_arguments(
    arguments: list[str], before_models: None, given_: list[str], config: bool
) -> None:
    found = said(*(arguments if config else ()), *given_)
    assert found.code == 2 or flags.HELP & {*given_}


# --- Files -----------------------------------------------------------------------------------


@bounded(max_examples=80)
@given(data=FILES, ending=st.sampled_from(["json", "csv", "tsv", "jsonl", "json.gz", "txt"]))
def test_any_file(
    arguments: list[str], results: Callable[[], Path], data: bytes, ending: str
) -> None:
    folder = results()
    path = folder.with_suffix(f".{ending}")
    path.write_bytes(data)
    found = said(*arguments, f"--config.train_data={path}", f"--config.result_prefix={folder}/run")
    assert len(check_files(folder)) == (found.code == 0)
    assert path.read_bytes() == data


# --- Texts -----------------------------------------------------------------------------------


@bounded(max_examples=25)
@given(
    texts=st.dictionaries(
        st.sampled_from(
            ["control_init", "connector", "extractor_text", "extractor_separator", "stop_file"]
        ),
        TEXTS,
        min_size=1,
    )
)
def test_any_texts(
    arguments: list[str], results: Callable[[], Path], texts: dict[str, str]
) -> None:
    folder = results()
    changed = [f"--config.{name}={text}" for name, text in texts.items()]
    found = said(*arguments, *changed, f"--config.result_prefix={folder}/run")
    logs = check_files(folder)
    assert len(logs) == (found.code == 0)
    for log in logs:
        assert {name: log["params"][name] for name in texts} == texts


@bounded(max_examples=10)
@given(prompts=st.lists(TEXTS, min_size=1, max_size=3))
def test_any_prompts(arguments: list[str], results: Callable[[], Path], prompts: list[str]) -> None:
    folder = results()
    place = f"--config.result_prefix={folder}/run"
    listed = f"--config.best_of_n.prompts={tuple(prompts)!r}"
    found = said(*arguments, "--config.method=best_of_n", listed, place)
    assert len(check_files(folder)) == (found.code == 0)
    folder = results()
    place = f"--config.result_prefix={folder}/run"
    asked = [f"--prompt={prompt}" for prompt in prompts]
    found = said(*arguments, *asked, place, main=evaluate.main)
    (report,) = check_files(folder) or [{"status": "not begun"}]
    assert (report["status"] == "finished") == (found.code == 0)


# --- Interruptions ---------------------------------------------------------------------------


@bounded(max_examples=8)
@given(
    calls=st.integers(0, 60),
    number=st.sampled_from([signal.SIGINT, signal.SIGTERM]),
    method=st.sampled_from(["greater", "random", "best_of_n"]),
)
def test_a_signal_at_any_time(
    arguments: list[str],
    results: Callable[[], Path],
    calls: int,
    number: signal.Signals,
    method: str,
) -> None:
    folder = results()
    search = ["--config.n_steps=3", f"--config.method={method}", "--config.verbose=False"]
    command = [*arguments, *search, f"--config.result_prefix={folder}/run"]
    with interrupted(calls, number):
        found = said(*command)
    logs = check_files(folder)
    assert found.code in (0, 128 + number)
    if found.code:
        *_, again = shlex.split(found.err)
        assert again == "--config.resume=auto"
        finished = logs[0]["steps"] if logs else []
        assert said(*command, again).code == 0
        (log,) = check_files(folder)
        assert log["steps"][: len(finished)] == finished
    (log,) = check_files(folder)
    whole = results()
    said(*command, f"--config.result_prefix={whole}/run")
    assert without_times(log) == without_times(*check_files(whole))


@contextmanager
def interrupted(calls: int, number: signal.Signals) -> Iterator[None]:
    """Within, this process gets a signal when the model is called after ``calls`` calls."""
    extend, made = LanguageModel.extend, itertools.count()

    def counted(self: LanguageModel, *arguments: Any) -> Any:
        if next(made) == calls:
            os.kill(os.getpid(), number)
        return extend(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LanguageModel, "extend", counted)
        yield


@bounded(max_examples=12)
@given(change=SETTING, resume=st.sampled_from(["True", "auto", "force"]), done=st.booleans())
def test_nothing_finished_is_lost(
    arguments: list[str],
    results: Callable[[], Path],
    change: tuple[str, Any],
    resume: str,
    done: bool,
) -> None:
    folder = results()
    command = [*arguments, "--config.n_steps=2", f"--config.logfile={folder}/run.json"]
    with nullcontext() if done else interrupted(30, signal.SIGINT):
        said(*command)
    (before,) = check_files(folder)
    name, value = change
    said(*command, f"--config.{name}={value}", f"--config.resume={resume}")
    (after,) = check_files(folder)
    assert after["steps"][: len(before["steps"])] == before["steps"]
    assert before["status"] != "finished" or after == before
