"""What the page is told of a folder, and who may ask for it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.commands.report import write
from prompt_optimization.commands.view import main
from prompt_optimization.errors import InputError
from prompt_optimization.report.page import standing_alone
from prompt_optimization.report.scan import Scan
from prompt_optimization.report.server import Server
from prompt_optimization.runs.store import collection
from prompt_optimization.runs.store.now import Now, write_now
from tests.report.records import folder_of, log, scored

HOSTILE = "</script><script>alert(1)</script> \"'&amp;<!-- \u2028 \U0001f600 {{ 7 * 7 }}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run, one that was killed within a step, a torn log, and files that are no logs."""
    killed = log("b", "ape") | {"status": "running"}
    killed["sessions"][0]["host"] = socket.gethostname()
    made = folder_of(tmp_path / "runs", log("a"), killed)
    write_now(made / "1.json", Now("score", 3, 4, "2026-11-26T08:00:00"))
    (made / "torn.json").write_text(json.dumps(log("c"))[:900])
    (made / "rows.json").write_text('[{"question": "1?"}]')
    return made


def test_every_run_is_listed_and_torn_logs_are_named(folder: Path) -> None:
    runs = {run["name"]: run for run in Scan(folder).runs()}
    assert set(runs) == {"0", "1", "torn"}
    assert (runs["0"]["status"], runs["1"]["status"]) == ("finished", "stopped")
    assert runs["1"]["now"]["phase"] == "score" and runs["0"]["now"] is None
    assert runs["0"]["verdict"]["answer"] == "undecided" and runs["0"]["prompt"] == "think well"
    assert "damaged" in runs["torn"]["damage"]


def test_a_log_is_read_again_when_it_has_changed(folder: Path, monkeypatch: Any) -> None:
    scan, read = Scan(folder), []

    def counted(path: Path) -> Any:
        read.append(path.name)
        return json.loads(path.read_text())

    monkeypatch.setattr(collection, "read_json", counted)
    scan.runs()
    read.clear()
    assert len(scan.runs()) == 3 and read == []
    grown = log("a")
    grown["steps"].append(grown["steps"][-1])
    (folder / "0.json").write_text(json.dumps(grown))
    assert [run["steps"] for run in scan.runs() if run["name"] == "0"] == [3]
    (folder / "0.json").unlink()
    assert {run["name"] for run in scan.runs()} == {"1", "torn"}


@pytest.mark.parametrize(
    "damage",
    [
        {"steps": [{}]}, {"initial": 3}, {"best": [{"prompt": 1}]}, {"tests": [{"step": "x"}]},
        {"initial": scored(" think", float("nan"))}, {"ledger": 3}, {"evaluation": {"dev": 1}},
    ],
)  # fmt: skip
def test_a_damaged_log_hides_no_other(damage: dict[str, Any], tmp_path: Path) -> None:
    folder_of(tmp_path, log("a") | {"status": "running"} | damage, log("b"))
    scan = Scan(tmp_path)
    runs = {run["name"]: run for run in scan.runs()}
    assert runs["1"]["status"] == "finished"
    found = scan.run(runs["0"]["id"])
    assert found is not None and "damaged" in found["damage"]
    json.dumps([list(runs.values()), found], allow_nan=False)


def test_a_run_is_told_from_a_step_on(folder: Path) -> None:
    scan = Scan(folder)
    (name,) = (run["id"] for run in scan.runs() if run["name"] == "0")
    whole, rest = scan.run(name), scan.run(name, 1)
    assert whole is not None and rest is not None
    assert whole["first"] == 0 and whole["list"][1:] == rest["list"] and rest["first"] == 1
    assert whole["prompts"]["diff"] == [("same", "think"), ("new", " well")]
    assert whole["prompts"]["last"]["step"] == 1
    assert whole["flips"] == {"won": [8, 9], "lost": [], "same": 2}
    assert {each["name"]: each["limit"] for each in whole["budget"]}["steps"] == 2
    assert scan.run("0") is None and scan.run("../runs/0") is None, "no path names a run"


def test_transcripts_are_what_lies_beside_the_log(folder: Path) -> None:
    row = {"question": "1?", "reasoning": "So", "answer": "1", "reference": "2"}
    lines = [{"row": 8, **row}, {"row": 6, **row}]
    outputs = folder / "0.json.outputs.jsonl"
    outputs.write_text("\n".join(map(json.dumps, lines)) + '\n{"row": 9, "quest')
    torn = outputs.read_bytes()
    request = {"user": "Write one.", "system": "You write."}
    reply = {"place": [0, 0, 0], "request": request, "replies": [{"text": "Think."}]}
    (folder / "0.json.replies.jsonl").write_text(json.dumps(reply) + '\n{"place": 3}\n')
    scan = Scan(folder)
    (name,) = (run["id"] for run in scan.runs() if run["name"] == "0")
    assert scan.run(name)["written"] == {"rows": True, "writer": True}
    found = scan.transcripts(name)
    assert found is not None and found["rows"] == lines
    asked = {"step": 0, "request": "You write.\n\nWrite one.", "replies": ["Think."]}
    assert found["writer"] == [asked] and found["earlier"] == 0
    assert scan.transcripts(name, rows={8, 9})["rows"] == lines[:1]
    write(folder, "html", None, "")
    parts = Parts()
    parts.feed((folder / "report.html").read_text())
    kept = json.loads(parts.found["script"][0])["transcripts"]
    assert kept[name]["rows"] == lines[:1], "a file holds the rows that flipped"
    assert outputs.read_bytes() == torn, "nothing is repaired by looking"


class Parts(HTMLParser):
    """The scripts, styles and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {"script": [], "style": []}
        self.links: list[str] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [
            value for name in ("src", "href") if (value := given.get(name)) and value != "#"
        ]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""

    def handle_data(self, data: str) -> None:
        if self.lasttag in self.found and data.strip():
            self.found[self.lasttag].append(data)


def test_a_page_that_stands_alone_runs_nothing_but_its_own_scripts() -> None:
    data = {"runs": [{"name": HOSTILE}], "details": {}, "transcripts": {}, "tables": {}}
    text = standing_alone(HOSTILE, data)
    parts = Parts()
    parts.feed(text)
    first, *scripts = parts.found["script"]
    assert json.loads(first) == data, "the data come back as they were"
    assert parts.links == [] and "@import" not in text
    allowed = re.findall(r"'sha256-(.+?)'", parts.policy)
    assert allowed == [
        base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()
        for each in (*parts.found["style"], *scripts)
    ]
    assert "default-src 'none'" in parts.policy and "unsafe" not in parts.policy
    assert text == standing_alone(HOSTILE, data), "the same logs, the same page"


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with Server(Scan(folder), lambda: {"tables": []}, HOSTILE) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def ask(
    server: Server, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=named)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_the_server_serves_its_page_and_data(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    response, body = ask(server, "/")
    assert response.status == 200 and b"<script>" not in body and b"<style>" not in body
    parts = Parts()
    parts.feed(body.decode())
    assert len(parts.links) > 5
    for link in parts.links:
        assert ask(server, f"/{link}")[0].status == 200
    for header, value in {
        "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
    }.items():  # fmt: skip
        assert response.getheader(header) == value
    policy = response.getheader("Content-Security-Policy") or ""
    assert policy.startswith("default-src 'self'") and "unsafe" not in policy
    runs = json.loads(ask(server, "/runs")[1])
    assert len(runs) == 3
    name = runs[0]["id"]
    assert json.loads(ask(server, f"/runs/{name}?from=1")[1])["first"] == 1
    written = json.loads(ask(server, f"/runs/{name}/transcripts")[1])
    assert written == {"rows": [], "writer": [], "earlier": 0}
    assert json.loads(ask(server, "/tables")[1]) == {"tables": []}


def test_what_has_not_changed_is_not_sent_again(server: Server, folder: Path) -> None:
    response, _ = ask(server, "/runs")
    tag = response.getheader("ETag") or ""
    again, body = ask(server, "/runs", If_None_Match=tag)
    assert (again.status, body) == (304, b"")
    os.utime(folder / "0.json", (0, 0))
    assert ask(server, "/runs", If_None_Match=tag)[0].status == 200


@pytest.mark.parametrize(
    "host, status",
    [
        ("localhost", 200), ("localhost:8000", 200), ("127.0.0.1:9", 200), ("LOCALHOST", 200),
        ("evil.example", 403), ("localhost.evil.example:80", 403), ("127.0.0.1.evil.example", 403),
        ("", 403), ("[::1", 403), ("user@evil.example", 403),
    ],
)  # fmt: skip
def test_only_this_machine_is_answered(server: Server, host: str, status: int) -> None:
    for path in ("/", "/runs", "/page.js"):
        assert ask(server, path, Host=host)[0].status == status


@pytest.mark.parametrize(
    "path",
    [
        "/runs/0", "/runs/..%2f0", "/runs/../0.json", "/../0.json", "/0.json", "/page.html",
        "/runs/x/transcripts", "/runs/x/y/z", "/%00", "/assets/page.js", "/runs/x?from=-1",
        "/runs/x?from=" + "9" * 20, "//evil.example/runs/x",
    ],
)  # fmt: skip
def test_there_is_nothing_else(server: Server, path: str) -> None:
    assert ask(server, path)[0].status == 404


@pytest.mark.parametrize(
    "request_line", ["GET http://[ HTTP/1.1", "GET /runs/[::1?from=1 HTTP/1.1", "GET //[/ HTTP/1.1"]
)
def test_an_address_that_is_none_is_not_found(
    server: Server, request_line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(server.server_address[:2], timeout=10) as asking:
        asking.sendall(f"{request_line}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert asking.makefile("rb").readline().startswith(b"HTTP/1.1 404 ")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error, reported", [(BrokenPipeError(), False), (KeyError("x"), True)])
def test_a_browser_that_goes_away_is_no_error(
    server: Server, error: Exception, reported: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        raise error
    except Exception:
        server.handle_error(None, ("127.0.0.1", 1))
    assert ("Traceback" in capsys.readouterr().err) is reported


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_nothing_can_be_changed(server: Server, method: str) -> None:
    assert ask(server, "/runs", method)[0].status == 501


def test_mistakes_at_the_command(
    server: Server, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert main([str(tmp_path / "none")], "greater view") == 2
    assert "does not exist" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert main([], "greater view") == 2
    assert "folder 'results' does not exist" in capsys.readouterr().err
    for port in (server.server_port, 70000):
        assert main([str(folder), "--port", str(port)], "greater view") == 2
        error = capsys.readouterr().err
        assert f"port {port} cannot be listened on" in error and "(--port)" in error
    with pytest.raises(InputError, match="does not exist"):
        Scan(folder / "0.json")
