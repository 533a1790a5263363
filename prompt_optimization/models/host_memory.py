"""Memory that this process can still take from the machine, whatever sets the limit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")

# Names of a group's limit and of what it uses, and of the part of that which the kernel gives back
# when it is short of memory: of the second version of cgroups, and of the first.
FILES = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_host_bytes() -> int:
    """The least of what the machine, the process's control groups and its own limits leave, in
    bytes."""
    available: int = psutil.virtual_memory().available
    return max(0, min([available, *_left_by_groups(), *_left_by_limits()]))


def _left_by_groups() -> Iterator[int]:
    """What each control group around this process leaves; nothing where there are none."""
    try:
        memberships = MEMBERSHIP.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        for controller, limit, usage, given_back in FILES:
            if controller not in controllers.split(","):
                continue
            root = CGROUPS / controller
            group = root / path.lstrip("/")
            # A container sees its own group as the root, whatever its membership says.
            for folder in (group, *group.parents):
                left = _left(folder, limit, usage, given_back)
                if left is not None:
                    yield left
                if folder == root:
                    break


def _left(folder: Path, limit: str, usage: str, given_back: str) -> int | None:
    try:
        most = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        statistics = (folder / "memory.stat").read_text().split()
    except OSError:
        return None
    if most == "max":
        return None
    # Names and numbers take turns.
    returned = dict(zip(statistics[::2], map(int, statistics[1::2]), strict=True))
    return int(most) - used + returned.get(given_back, 0)


def _left_by_limits() -> Iterator[int]:
    """What the limits of this process leave (``ulimit -v``, ``ulimit -d``)."""
    try:
        import resource
    except ImportError:  # Windows
        return
    used = psutil.Process().memory_info()
    for kind, held in (("RLIMIT_AS", used.vms), ("RLIMIT_DATA", getattr(used, "data", 0))):
        limit, _ = resource.getrlimit(getattr(resource, kind))
        if limit != resource.RLIM_INFINITY:
            yield limit - held
