"""What a writer answered is found again, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.models.writers import Reply, Request
from prompt_optimization.runs.store.replies import ReplyLog, replies_path

REQUEST = Request("write a prompt", draws=2)
OTHER = Request("write another prompt", draws=2)
REPLIES = [Reply("café\n", 7, 3, False), Reply("", 0, 5, True)]
PLACE = (3, 0, 1)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "run.json"


def kept(log: Path | None, forced: bool = False) -> ReplyLog:
    made = ReplyLog(log, forced)
    if made.find(PLACE, "m", REQUEST) is None:
        made.keep(PLACE, "m", REQUEST, REPLIES, 0.5)
    return made


def test_replies_come_back_as_they_were(log: Path) -> None:
    for path in (None, log):
        assert kept(path).find(PLACE, "m", REQUEST) == REPLIES
    again = ReplyLog(log)
    assert again.find(PLACE, "m", REQUEST) == REPLIES
    assert again.find((3, 0, 2), "m", REQUEST) is None


def test_another_request_or_writer_is_refused_unless_forced(log: Path) -> None:
    kept(log)
    for writer, request in (("m", OTHER), ("n", REQUEST)):
        with pytest.raises(InputError, match=r"request 1 of wave 0 of step 3 .*setting resume"):
            ReplyLog(log).find(PLACE, writer, request)
        assert ReplyLog(log, forced=True).find(PLACE, writer, request) is None
    ReplyLog(log, forced=True).keep(PLACE, "m", OTHER, REPLIES[:1], 0.1)
    assert ReplyLog(log).find(PLACE, "m", OTHER) == REPLIES[:1]


@pytest.mark.parametrize("left", [1, 5, 40, -1])
def test_a_line_that_a_killed_writer_began_is_cut_off(log: Path, left: int) -> None:
    kept(log)
    path = replies_path(log)
    (whole,) = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(whole + whole[:left])
    assert ReplyLog(log).find(PLACE, "m", REQUEST) == REPLIES
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "content", ["{}\n", "[1]\n", '{"place": [1, 2]}\n', "hello", "hello\n", '{"place": {"a"']
)
def test_a_file_that_is_something_else_is_left_alone(log: Path, content: str) -> None:
    replies_path(log).write_text(content)
    with pytest.raises(InputError, match="is no reply to a request; move the file away"):
        ReplyLog(log)
    assert replies_path(log).read_text() == content
