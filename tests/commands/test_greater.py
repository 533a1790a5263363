"""One console script and the scripts of a checkout are the same commands."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization import extras, paths
from prompt_optimization.commands import flags, generate_data, greater, report
from prompt_optimization.commands.help_text import SHOWN, packaged_configs
from prompt_optimization.configs import embedded
from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.registry import about, method_names
from prompt_optimization.runs.config import all_keys
from prompt_optimization.signals import Interrupted
from prompt_optimization.tasks.examples import read_table

ROOT = Path(__file__).resolve().parents[2]
# What a fresh process does for the console script.
GREATER = [
    sys.executable,
    "-c",
    "import sys; from prompt_optimization.commands.greater import main; sys.exit(main())",
]

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """``call(*arguments)``: exit code, stdout and stderr of ``greater`` in this process."""

    def called(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/greater", *arguments])
        try:
            code = greater.main()
        except SystemExit as stopped:  # argparse
            code = int(str(stopped.code))
        return code, *capsys.readouterr()

    return called


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty current folder, where nobody has a checkout."""
    monkeypatch.setattr(paths, "checkout", lambda: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_command(call: Call, flag: str) -> None:
    code, out, err = call(flag)
    assert (code, err) == (0, "")
    for name, does in greater.COMMANDS.items():
        assert any(line.split(None, 1) == [name, does] for line in out.splitlines())


def test_no_command_lists_them_too(call: Call) -> None:
    code, out, err = call()
    assert (code, out) == (2, "") and "generate-data" in err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("optimise", "did you mean 'optimize'?"),
        ("generate_data", "did you mean 'generate-data'?"),
        ("--config=x", f"choose one of {', '.join(greater.COMMANDS)}"),
    ],
)
def test_an_unknown_command_is_one_sentence(call: Call, typed: str, meant: str) -> None:
    code, out, err = call(typed)
    assert (code, out) == (2, "")
    assert err == f"error: command '{typed}' is unknown; {meant}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["optimize", "--help"]])
def test_help_loads_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from prompt_optimization.commands.greater import main;"
        f"sys.argv[1:] = {arguments}; main(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_looking_at_runs_loads_no_torch() -> None:
    code = (
        "import sys; from prompt_optimization.report import contrast, overview, record, server;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_help_tells_every_method_and_every_key() -> None:
    code, out, err = said([*GREATER, "optimize"], ["--help"], ROOT)
    assert (code, err) == (0, "")
    text = " ".join(out.split())
    for name in method_names():
        assert f"{name} {about(name)}" in text
    for row in all_keys().values():
        _, after = text.split(f"--config.{row.name} (")  # the default, and then the meaning
        assert row.meaning in after[: SHOWN + 2 + len(row.meaning)]


@pytest.mark.parametrize("name", ["report", "generate-data", "fetch-data"])
def test_a_command_gets_its_flags(call: Call, name: str) -> None:
    code, out, _ = call(name, "--help")
    assert code == 0 and out.startswith(f"usage: greater {name} ")


def test_data_are_generated_below_the_current_folder(call: Call, installed: Path) -> None:
    config = embedded.get_config()
    assert config.train_data == "data/BBH/one_step_arithmetic.json"
    with pytest.raises(InputError, match=r"does not exist; .* 'greater generate-data'$"):
        read_table(config.train_data)
    with pytest.raises(InputError, match=r"does not exist; [^,]*$"):
        read_table("data/BBH/of_another_kind.json")
    code, out, err = call("generate-data", "one_step_arithmetic")
    assert (code, err) == (0, "") and out == "1 task files in data/BBH written\n"
    assert len(read_table(config.train_data).examples) == 250


def test_data_of_a_checkout_are_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert embedded.get_config().train_data == str(ROOT / "data/BBH/one_step_arithmetic.json")
    assert paths.data_folder() == ROOT / "data"


def test_data_that_cannot_be_written(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = call("generate-data", "--out", str(tmp_path / "file"), "navigate")
    assert code == 2 and err.count("\n") == 1 and err.endswith("choose another place (--out)\n")


@pytest.mark.parametrize("package", ["pandas", "tabulate"])
def test_a_report_without_its_packages(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str
) -> None:
    there = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == package else there(name))
    code, out, err = call("report", str(tmp_path))
    assert (code, out) == (2, "")
    assert err == (
        f"error: a report needs the package {package}; install it with "
        "pip install 'greater-prompt-optimization[report]'\n"
    )


def test_packaged_configs_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "experiments")
    known = packaged_configs()
    assert {"embedded", "template", "transfer_gemma2"} <= set(known)
    assert "__init__" not in known and all(path.is_file() for path in known.values())
    path = str(known["embedded"])
    for given, expected in (
        (["--config=embedded", "--config.n_steps=3"], [f"--config={path}", "--config.n_steps=3"]),
        (["--config", "embedded", "embedded"], ["--config", path, "embedded"]),
        (["--config=./configs/embedded.py"], ["--config=./configs/embedded.py"]),
        (["--config=configs/embedded.py:words"], ["--config=configs/embedded.py:words"]),
        (["--prompt=embedded", "--prompt", "x"], ["--prompt=embedded", "--prompt", "x"]),
    ):
        assert flags._with_config_files(given) == expected


def test_a_key_without_its_config() -> None:
    with pytest.raises(InputError, match=r"--n_steps is unknown; did you mean --config.n_steps\?"):
        flags.parse(["greater optimize", "--config=embedded", "--n_steps=2"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("embeded", r"'embeded' does not come with .*; did you mean 'embedded'\? A file's path"),
        ("qwen", r"'qwen' does not come with .*; give one of ape, .*, or a file's path$"),
        ("./configs/none.py", r"'configs/none\.py' cannot be read: it does not exist; give"),
        (
            "../README.md",
            r"'\.\./README\.md' cannot be read: it is not Python, YAML or a log; give",
        ),
        ("", "no config; give one, for instance --config=demo"),
    ],
)
def test_a_config_that_is_none(monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.chdir(ROOT / "experiments")
    for given in ([f"--config={name}"], ["--config", name]):
        with pytest.raises(InputError, match=message):
            flags._with_config_files(given)


def test_the_command_to_go_on_with_is_the_one_that_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(flags.app, "run", interrupted)
    monkeypatch.setattr(sys, "argv", [])
    prefix = "--config.result_prefix=results/a b"
    for program, resume in (
        ("greater optimize", ["--config.resume=no"]),
        ("python main.py", ["--config.resume", "no"]),
    ):
        arguments = ["--config=embedded", *resume, prefix]
        code = flags.execute(lambda _: None, arguments, program, "", "--config.resume=auto")
        assert code == 130
        assert capsys.readouterr().err == (
            f"interrupted; continue with: {program} --config=embedded "
            "'--config.result_prefix=results/a b' --config.resume=auto\n"
        )


def said(command: list[str], arguments: list[str], folder: Path) -> tuple[int, str, str]:
    done = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("name", "script", "arguments"),
    [
        # A flag of evaluate's, which optimize must not know.
        ("optimize", "main.py", ["--config=embedded", "--log=results"]),
        ("evaluate", "evaluate.py", ["--config=./configs/embedded.py", "--log=/no/such"]),
        ("fetch-data", "../scripts/fetch_data.py", ["gsm8k", "--mirror", "/no", "--out", "/no"]),
    ],
)
def test_both_ways_say_the_same(name: str, script: str, arguments: list[str]) -> None:
    folder = ROOT / "experiments"
    ours = said([*GREATER, name], arguments, folder)
    assert ours == said([sys.executable, script], arguments, folder)
    assert ours[0] == 2 and "error: " in ours[2] and "Traceback" not in ours[2]


def test_help_of_evaluate_tells_its_flags(tmp_path: Path) -> None:
    code, out, err = said([*GREATER, "evaluate"], ["--help"], tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith("usage: greater evaluate --data=FILE ")
    for word in ("--baseline", "--log", "transfer_gemma2", "--config.max_new_tokens (512)"):
        assert word in out


def test_the_package_and_the_module_are_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate_data.main(["--check", "navigate"], "greater generate-data") == 0
    assert f"in {ROOT / 'data' / 'BBH'} are as generated" in capsys.readouterr().out
    assert report.main(["/no/such"], "python report.py") == 2
