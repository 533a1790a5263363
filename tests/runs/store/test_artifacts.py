"""What a method keeps: found again while it was made from the same, whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.artifacts import Artifacts, made_from
from prompt_optimization.runs.store.artifacts import ArtifactFolder, artifacts_path
from prompt_optimization.runs.store.store import Store
from tests.runs.harness import die_at_write, outcome, session

NAME = "reward/0-1.json"


def artifacts(kind: str, folder: Path) -> Artifacts:
    return Artifacts() if kind == "memory" else ArtifactFolder(folder)


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_what_was_made_from_the_same_is_found_again(kind: str, tmp_path: Path) -> None:
    kept = artifacts(kind, tmp_path / "kept")
    assert kept.get(NAME) is None
    kept.put(NAME, "one", b"first")
    kept.put("table.npz", "one", b"other")
    assert kept.get(NAME) == kept.get(NAME, "one") == b"first"
    assert kept.get(NAME, "two") is None
    kept.put(NAME, "two", b"second")
    assert kept.get(NAME, "one") is None and kept.get(NAME, "two") == b"second"
    if kind == "folder":
        assert ArtifactFolder(tmp_path / "kept").get(NAME, "two") == b"second"


def test_a_file_that_changed_or_went_is_made_again(tmp_path: Path) -> None:
    kept = ArtifactFolder(tmp_path)
    for name in ("changed", "gone"):
        kept.put(name, "key", b"data")
    (tmp_path / "changed").write_bytes(b"dat")
    (tmp_path / "gone").unlink()
    assert ArtifactFolder(tmp_path).get("changed", "key") is None
    assert ArtifactFolder(tmp_path).get("gone", "key") is None


@pytest.mark.parametrize("write", [0, 1, 2, 3])
@pytest.mark.parametrize("moment", [0, 1, 2])
def test_a_kill_at_any_write_leaves_whole_files_or_none(
    write: int, moment: int, tmp_path: Path
) -> None:
    def work(_: object) -> None:
        kept = ArtifactFolder(tmp_path)
        for name in ("one", "two"):
            if kept.get(name, "key") is None:
                kept.put(name, "key", name.encode() * 100)

    outcome(session({}, lambda: die_at_write(write, moment), work))
    for name in ("one", "two"):
        assert ArtifactFolder(tmp_path).get(name, "key") in (None, name.encode() * 100)
    work(None)
    assert ArtifactFolder(tmp_path).get("two", "key") == b"two" * 100


@pytest.mark.parametrize("text", ["", "[]", '{"../up": ["a", "b"]}', '{"one": 1}', '{"one": []}'])
def test_a_folder_of_something_else(text: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(InputError, match="is not the index of what a run has kept"):
        ArtifactFolder(tmp_path)


def test_they_lie_beside_the_log_and_a_new_run_of_that_name_begins_without(tmp_path: Path) -> None:
    log = tmp_path / "run.json"
    Store.create(log, {}, {}).artifacts().put(NAME, "key", b"data")
    assert (artifacts_path(log) / NAME).read_bytes() == b"data"
    assert Store.create(log, {}, {}).artifacts().get(NAME) is None
    assert Store.create(None, {}, {}).artifacts().get(NAME) is None


def test_the_hash_tells_parts_apart() -> None:
    assert made_from({"a": 1, "b": 2}, b"x") == made_from({"b": 2, "a": 1}, b"x")
    assert len({made_from("ab", "c"), made_from("a", "bc"), made_from("abc"), made_from(b"c")}) == 4
