"""What a process may still take is the least of what machine, groups and limits leave."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from prompt_optimization.models import host_memory
from prompt_optimization.models.host_memory import free_host_bytes

MIB = 2**20


@pytest.mark.parametrize(
    ("line", "root", "files"),
    [
        ("0::/job", "", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:memory:/job",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_the_tightest_group_counts(
    tmp_path: Path, monkeypatch: Any, line: str, root: str, files: tuple[str, str, str]
) -> None:
    limit, usage, given_back = files
    outer = tmp_path / "cgroup" / root
    for folder, most, used in ((outer, 300, 100), (outer / "job", 200, 150)):
        folder.mkdir(parents=True)
        (folder / limit).write_text(f"{most * MIB}\n")
        (folder / usage).write_text(f"{used * MIB}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{given_back} {20 * MIB}\n")
    membership = tmp_path / "membership"
    membership.write_text(f"9:name=systemd:/\n{line}\n")
    monkeypatch.setattr(host_memory, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(host_memory, "MEMBERSHIP", membership)
    assert free_host_bytes() == 70 * MIB
    (outer / "job" / limit).write_text("max\n" if not root else f"{2**63}\n")
    assert free_host_bytes() == 220 * MIB


def test_without_groups_the_machine_counts(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(host_memory, "MEMBERSHIP", tmp_path / "missing")
    assert 0 < free_host_bytes() <= psutil.virtual_memory().total


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other limits")
def test_a_limit_of_the_process_counts() -> None:
    code = """
import resource
from prompt_optimization.models.host_memory import free_host_bytes
resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
print(free_host_bytes())
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(found.stdout) < 2**31
