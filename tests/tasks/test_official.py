"""Published files arrive whole, converted and checked, over networks that fail."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.examples import read_rows, read_table
from prompt_optimization.tasks.official import SOURCES, OfficialFile, fetch, official_files
from prompt_optimization.tasks.registry import TASKS
from prompt_optimization.tasks.splits import ALL

ROOT = Path(__file__).resolve().parents[2]

RECORDS = [
    {"input": 'Who said "no"?\nOptions:\n(A) Zoë, the first\n(B) nobody', "target": "(A)"},
    {"input": "( ( [ 🙂\r\nis", "target": "] )"},
    {"input": "plain", "target": "-50"},
]
RAW = json.dumps({"canary": "x" * 200_000, "examples": RECORDS}, ensure_ascii=False).encode()
FILE = OfficialFile("bbh/word_sorting.json", hashlib.sha256(RAW).hexdigest(), len(RAW), 3)

# One of GPO's, whose checksum nobody has told.
LINES = '{"input": "Zoë?\\n(A) yes", "output": "(A)"}\n'.encode() * 9000
UNTOLD = OfficialFile("mmlu/virology/eval.jsonl", "", 0, 9000)


class Server(BaseHTTPRequestHandler):
    """Serves RAW, or LINES; the first ``failures`` requests break off or are refused."""

    failures: ClassVar[list[str]] = []
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        Server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        fault = Server.failures.pop(0) if Server.failures else ""
        if fault.isdigit():
            self.send_error(int(fault))
            return
        ignores = fault == "ignores ranges"
        whole = LINES if self.path.endswith(".jsonl") else RAW
        body = whole if ignores else whole[start:]
        self.send_response(200 if ignores or not asked else 206)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "breaks off" else body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    Server.failures, Server.asked = [], []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def cells(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_text_arrives_byte_for_byte(mirror: str, tmp_path: Path) -> None:
    target = fetch(FILE, tmp_path, mirror, lambda text: None)
    assert target == tmp_path / "BBH" / "word_sorting.json"
    header, *rows = cells(target)
    assert header == ["goal", "target", "final_target"]
    assert [row[:2] for row in rows] == [[r["input"], r["target"]] for r in RECORDS]
    assert [row[2] for row in rows] == ["A", "] )", "-50"]
    assert [e.answer for e in read_table(target).examples] == ["A", "] )", "-50"]


@pytest.mark.parametrize(
    ("failures", "ranges"),
    [
        (
            ["breaks off", "breaks off"],
            [None, len(RAW) // 2, len(RAW) // 2 + (len(RAW) - len(RAW) // 2) // 2],
        ),
        (["breaks off", "ignores ranges"], [None, len(RAW) // 2]),
        (["503", "breaks off"], [None, None, len(RAW) // 2]),
    ],
)
def test_a_bad_network(
    mirror: str, tmp_path: Path, failures: list[str], ranges: list[int | None]
) -> None:
    said: list[str] = []
    Server.failures = list(failures)
    target = fetch(FILE, tmp_path, mirror, said.append, wait=0.0)
    assert len(cells(target)) == 4
    assert [r and f"bytes={r}-" for r in ranges] == Server.asked
    assert len(said) == len(Server.asked) - 1 and "trying again" in said[0]
    assert not list((tmp_path / ".part").iterdir())


def test_it_goes_on_where_a_killed_process_stood(mirror: str, tmp_path: Path) -> None:
    part = tmp_path / ".part" / "bbh-word_sorting.json"
    part.parent.mkdir()
    part.write_bytes(RAW[:1000])
    fetch(FILE, tmp_path, mirror, lambda text: None)
    assert Server.asked == ["bytes=1000-"]


@pytest.mark.parametrize("failures", [["breaks off"], ["503"], []])
def test_a_file_of_unknown_size_is_whole_all_the_same(
    mirror: str, tmp_path: Path, failures: list[str]
) -> None:
    part = tmp_path / ".part" / "mmlu-virology-eval.jsonl"
    part.parent.mkdir()
    part.write_bytes(b"of another day")
    Server.failures = list(failures)
    target = fetch(UNTOLD, tmp_path, mirror, lambda text: None, wait=0.0)
    assert target == tmp_path / "MMLU" / "mmlu_virology_dev.jsonl"
    assert len(read_table(target).examples) == 9000
    assert Server.asked == [None] * (len(failures) + 1)


@pytest.mark.parametrize(
    ("path", "record", "target", "row"),
    [
        (
            "mmlu/anatomy/train.jsonl",
            {"input": "a?\n(A) Zoë", "output": "(A)"},
            "MMLU/mmlu_anatomy_train.jsonl",
            ("a?\n(A) Zoë", "(A)", "A"),
        ),
        (
            "gpo_bbh/navigate/eval.jsonl",
            {"input": "a?", "target": "Yes"},
            "GPO_BBH/gpo_bbh_navigate_dev.jsonl",
            ("a?", "Yes", "Yes"),
        ),
        (
            "gpo_gsm8k/few_shot_examples.jsonl",
            {"input": "a?", "solution": "1 + 1\n#### 2", "output": 2},
            "GPO_GSM8K/gpo_gsm8k_few_shot.jsonl",
            ("a?", "1 + 1\n#### 2", "2"),
        ),
        (
            "webnlg/format.jsonl",
            {"input": "a | b | c", "output": ["a b c.", "c b a."], "id": "Id1"},
            "WEBNLG/webnlg_format.jsonl",
            ("a | b | c", ["a b c.", "c b a."], ["a b c.", "c b a."]),
        ),
    ],
)
def test_gpo_s_files(
    tmp_path: Path, path: str, record: dict[str, Any], target: str, row: tuple[Any, ...]
) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(json.dumps(record) + "\n", encoding="utf-8")
    out = tmp_path / "out"
    assert fetch(OfficialFile(path, "", 0, 1), out, str(tmp_path), print) == out / target
    lines = (out / target).read_text(encoding="utf-8").splitlines()
    names = ("goal", "target", "final_target")
    assert [json.loads(line) for line in lines] == [dict(zip(names, row, strict=True))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html>log in</html>", "not in the form that the authors published; use another --mirror"),
        ('["input", "output"]\n', "not in the form"),
        ('{"input": "a?"}\n', "not in the form"),
        ("\n", "has 0 rows, expected 9000"),
    ],
)
def test_without_a_checksum_the_form_is_checked(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / UNTOLD.path).parent.mkdir(parents=True)
    (tmp_path / UNTOLD.path).write_text(text)
    with pytest.raises(InputError, match=message):
        fetch(UNTOLD, tmp_path / "out", str(tmp_path), print)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("failures", "message"),
    [
        (["404"], "HTTP 404.*--mirror"),
        (["500"] * 4, "cannot be downloaded .HTTP 500"),
        (["breaks off"] * 4, "bytes came"),
    ],
)
def test_no_file_is_one_sentence(
    mirror: str, tmp_path: Path, failures: list[str], message: str
) -> None:
    Server.failures = list(failures)
    with pytest.raises(InputError, match=message):
        fetch(FILE, tmp_path, mirror, lambda text: None, wait=0.0)
    assert not (tmp_path / "BBH").exists()


def test_another_file_is_refused(mirror: str, tmp_path: Path) -> None:
    other = OfficialFile(FILE.path, "0" * 64, FILE.bytes, FILE.rows)
    with pytest.raises(InputError, match="gives another file than the authors published"):
        fetch(other, tmp_path, mirror, lambda text: None)
    assert not (tmp_path / "BBH").exists()
    with pytest.raises(InputError, match="the mirror has no"):
        fetch(FILE, tmp_path, str(tmp_path / "nowhere"), lambda text: None)


def test_a_closed_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="connect to the network"):
        fetch(FILE, tmp_path, "http://127.0.0.1:9/", lambda text: None, wait=0.0)


def test_the_manifest() -> None:
    files = official_files(["bbh", "gsm8k", "folio"])
    assert len(files) == 31 and len({file.target for file in files}) == 31
    assert sum(file.rows for file in files) == 6511 + 8792 + 1208
    targets = {file.target for file in files}
    assert {"GSM8K/gsm8k_train.json", "GSM8K/gsm8k_test.json", "FOLIO/folio_test.json"} <= targets


def test_the_manifest_of_gpo() -> None:
    files = official_files(["gpo_bbh", "gpo_gsm8k", "mmlu", "webnlg", "wsc"])
    assert len(files) == 5 * (27 + 57 + 3) == len({file.target for file in files})
    assert {file.url.split("/")[5] for file in files} == {
        "765df208a3856797cf66491a4a9fc56264a67495"
    }
    rows = {Path(file.target).name: file.rows for file in files}

    def sizes(task: str) -> tuple[int, ...]:
        return tuple(rows[f"{task}_{split}.jsonl"] for split in ("train", "dev", "test"))

    of_gpo = [task.name for task in TASKS.values() if task.train == ALL]
    assert Counter(map(sizes, of_gpo)) == {
        (48, 48, 144): 24,
        (35, 35, 107): 1,
        (33, 33, 102): 1,
        (27, 27, 82): 1,
        (20, 20, 60): 47,
        (20, 20, 59): 10,
        (100, 100, 300): 2,
        (50, 50, 150): 1,
    }
    assert sizes("gpo_bbh_causal_judgement") == (35, 35, 107)
    assert sizes("webnlg") == sizes("gpo_gsm8k") == (100, 100, 300)


@pytest.mark.skipif("GREATER_OFFICIAL" not in os.environ, reason="needs the official data")
def test_the_official_files(tmp_path: Path) -> None:
    mirror = Path(os.environ["GREATER_OFFICIAL"])
    converted = 0
    for file in official_files(list(SOURCES)):
        if not (mirror / file.path).exists():
            continue
        target = fetch(file, tmp_path, str(mirror), lambda text: None)
        assert len(read_rows(target)[0]) == file.rows
        converted += 1
    assert converted > 20
    answers = {e.answer for e in read_table(tmp_path / "FOLIO" / "folio_train.json").examples}
    assert answers == {"True", "False", "Uncertain"}
    numbers = [e.answer for e in read_table(tmp_path / "GSM8K" / "gsm8k_test.json").examples]
    assert all(number.lstrip("-").isdigit() for number in numbers)


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    done = subprocess.run(
        [
            sys.executable, "scripts/fetch_data.py", "gsm8k",
            "--out", str(tmp_path / "out"), "--mirror", str(tmp_path / "mirror"),
        ],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "the mirror has no" in done.stderr
