"""What an installed package holds."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wheel and an sdist of the working tree, made offline, away from it."""
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
    )
    if listed.returncode:
        pytest.skip("the tree is no git checkout")
    for name in listed.stdout.decode().split("\0"):
        # A listed file may be deleted, and a link may lead to a folder.
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    code = (
        "from setuptools import build_meta as b;"
        "print(b.build_wheel('..')); print(b.build_sdist('..'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return wheel, sdist


def test_the_wheel_holds_both_packages_and_what_they_read(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
    described = f"{built[0].name.split('-py3')[0]}.dist-info"
    assert {name.split("/")[0] for name in names} == {"prompt_optimization", "GReaTer", described}
    assert names >= {
        "prompt_optimization/py.typed",
        "GReaTer/py.typed",
        "prompt_optimization/tasks/official.tsv",
        "prompt_optimization/report/assets/page.html",
        *(f"prompt_optimization/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")),
        f"{described}/licenses/LICENSE",
    }
    # Every file of the packages, and nothing else.
    held = {name for name in names if not name.startswith(described)}
    assert held == {
        path.relative_to(ROOT).as_posix()
        for package in ("prompt_optimization", "GReaTer")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_sdist_holds_no_tests_and_no_data(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as sdist:
        names = {member.name.partition("/")[2] for member in sdist.getmembers()}
    assert {"pyproject.toml", "README.md", "LICENSE", "prompt_optimization/py.typed"} <= names
    others = (
        "tests", "data", "benchmarks", "experiments", "examples", "scripts", "docs", "configs"
    )  # fmt: skip
    assert not [name for name in names if name.split("/")[0] in others]


def test_the_wheel_says_what_it_needs_and_brings_a_command(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        (info,) = {name.split("/")[0] for name in wheel.namelist() if "dist-info" in name}
        entry_points = wheel.read(f"{info}/entry_points.txt").decode()
        metadata = message_from_bytes(wheel.read(f"{info}/METADATA"))
    assert "greater = prompt_optimization.commands.greater:main" in entry_points
    assert set(metadata.get_all("Provides-Extra", [])) >= {"gguf", "ray", "report"}
    needed = " ".join(metadata.get_all("Requires-Dist", []))
    for package in ("torch", "transformers", "huggingface_hub", "tqdm", "scipy"):
        assert package in needed
