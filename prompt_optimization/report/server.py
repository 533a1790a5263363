"""Serves the page and what it asks for, to this machine only; nothing can be changed through it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from prompt_optimization.errors import InputError
from prompt_optimization.report.page import ICON, SCRIPTS, STYLES, asset, served
from prompt_optimization.report.scan import Scan

ADDRESS = "127.0.0.1"
HOSTS = (ADDRESS, "localhost")

POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

NOTHING = "there is no such thing here"

HTML, JSON, PLAIN = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"
# What the page is made of, by name.
ASSETS = {
    ICON: "image/svg+xml",
    **dict.fromkeys(STYLES, "text/css; charset=utf-8"),
    **dict.fromkeys(SCRIPTS, "text/javascript; charset=utf-8"),
}

# What a page asks of a scan besides the runs: their tables.
Tables = Callable[[], Any]


class Server(ThreadingHTTPServer):
    """Serves the runs of ``scan``."""

    daemon_threads = True

    def __init__(self, scan: Scan, tables: Tables, title: str, port: int = 0) -> None:
        """
        Args:
            tables: makes the tables of all results.
            port: 0 for a free one.

        Raises:
            InputError: the port is taken or not allowed.
        """
        self.scan = scan
        self.tables = tables
        self.title = title
        try:
            super().__init__((ADDRESS, port), Handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"port {port} cannot be listened on ({getattr(error, 'strerror', error)}); choose "
                "another one, or 0 for one that is free",
                key="port",
            ) from None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closes a connection within an answer is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """Answers GET; the base class refuses every other method."""

    server: Server
    protocol_version = "HTTP/1.1"
    # Drop a connection that says nothing.
    timeout = 60

    def do_GET(self) -> None:
        if not _is_ours(self.headers.get("Host", "")):
            self._answer(HTTPStatus.FORBIDDEN, "this page is for its own machine", PLAIN)
            return
        try:
            asked = urlsplit(self.path)
        except ValueError:
            self._answer(HTTPStatus.NOT_FOUND, NOTHING, PLAIN)
            return
        parts = asked.path.strip("/").split("/")
        if parts == [""]:
            self._answer(HTTPStatus.OK, served(self.server.title), HTML)
        elif len(parts) == 1 and parts[0] in ASSETS:
            self._answer(HTTPStatus.OK, asset(parts[0]), ASSETS[parts[0]])
        else:
            self._answer_data(parts, parse_qs(asked.query))

    def _answer_data(self, parts: list[str], query: dict[str, list[str]]) -> None:
        found: Any = None
        if parts == ["runs"]:
            found = self.server.scan.runs()
        elif parts == ["tables"]:
            found = self.server.tables()
        elif len(parts) == 2 and parts[0] == "runs":
            first = query.get("from", ["0"])[0]
            if first.isascii() and first.isdigit() and len(first) < 10:
                found = self.server.scan.run(parts[1], int(first))
        elif len(parts) == 3 and parts[0] == "runs" and parts[2] == "transcripts":
            found = self.server.scan.transcripts(parts[1])
        if found is None:
            self._answer(HTTPStatus.NOT_FOUND, NOTHING, PLAIN)
            return
        self._answer(HTTPStatus.OK, json.dumps(found, allow_nan=False), JSON)

    def _answer(self, status: HTTPStatus, text: str, kind: str) -> None:
        body = text.encode(errors="replace")  # a folder may have any name
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if status == HTTPStatus.OK and self.headers.get("If-None-Match") == tag:
            status, body = HTTPStatus.NOT_MODIFIED, b""
        self.send_response(status)
        self.send_header("ETag", tag)
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""


def _is_ours(host: str) -> bool:
    """Whether a request was meant for this machine. Another name may lead here all the same, as in
    DNS rebinding."""
    try:
        return urlsplit(f"//{host}").hostname in HOSTS
    except ValueError:
        return False
