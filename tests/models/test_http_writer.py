"""A writer behind a server: a small one that misbehaves on request, and one that serves a model."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.models.bundled import ensure_bundled
from prompt_optimization.models.http_writer import HttpWriter
from prompt_optimization.models.role_settings import WriterSettings
from prompt_optimization.models.writers import Reply, Request
from prompt_optimization.optimizers.text.parse import read_prompt
from prompt_optimization.runs.store.replies import replies_path
from tests.runs.harness import carry_out

KEY = "sk-very-secret"

# (request's body, how many requests came before) -> status and body of the answer.
Behaviour = Callable[[dict[str, Any], int], tuple[int, Any]]


class Server:
    """Answers as ``behaviour`` says, on a port of this machine."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = lambda body, before: (200, completion(["hello"] * body["n"]))
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    before = len(server.bodies)
                    server.bodies.append(body)
                    server.keys.add(self.headers["Authorization"])
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                status, answer = server.behaviour(body, before)
                with server._lock:
                    server.at_once -= 1
                sent = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.send_header("Retry-After", "0.01")
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def completion(texts: list[str | None], **more: Any) -> dict[str, Any]:
    choices = [{"message": {"content": text}, "finish_reason": "stop"} for text in texts]
    return {"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 3}} | more


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def make_writer(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., HttpWriter]:
    monkeypatch.setenv("A_KEY", KEY)

    def make(**changes: Any) -> HttpWriter:
        own = {"base_url": server.url, "model": "m", "api_key_env": "A_KEY", "max_retries": 2}
        return HttpWriter(WriterSettings.default(**(own | changes)))

    return make


def replies(writer: HttpWriter, *requests: Request) -> dict[int, list[Reply]]:
    found: dict[int, list[Reply]] = {}
    writer.write(requests, found.__setitem__)
    return found


def test_a_wave_is_asked_side_by_side_and_every_field_arrives(
    server: Server, make_writer: Any
) -> None:
    def slow(body: dict[str, Any], before: int) -> tuple[int, Any]:
        time.sleep(0.05)
        return 200, completion([body["messages"][-1]["content"]] * body["n"])

    server.behaviour = slow
    requests = [Request(f"request {i}", "be brief", draws=2, temperature=0.5) for i in range(6)]
    found = replies(make_writer(concurrency=3), *requests)
    assert {i: [reply.text for reply in each] for i, each in found.items()} == {
        i: [f"request {i}"] * 2 for i in range(6)
    }
    assert found[0] == [Reply("request 0", 7, 3, False), Reply("request 0", 0, 0, False)]
    assert 1 < server.most_at_once <= 3 and server.keys == {f"Bearer {KEY}"}
    assert server.bodies[0].keys() == {
        "model", "messages", "n", "temperature", "top_p", "max_tokens",
    }  # fmt: skip
    assert server.bodies[0]["messages"][0] == {"role": "system", "content": "be brief"}


def test_further_fields_are_added_replaced_and_left_out(server: Server, make_writer: Any) -> None:
    extra = {"max_tokens": None, "max_completion_tokens": 9, "n": 1, "reasoning": {"effort": "low"}}
    replies(make_writer(extra=extra), Request("hello"))
    (body,) = server.bodies
    assert "max_tokens" not in body and body["max_completion_tokens"] == 9
    assert body["reasoning"] == {"effort": "low"}


def test_a_server_that_gives_fewer_choices_is_asked_for_the_rest(
    server: Server, make_writer: Any
) -> None:
    server.behaviour = lambda body, before: (200, completion([f"reply {before}"]))
    found = replies(make_writer(), Request("hello", draws=4))
    assert sorted(reply.text for reply in found[0]) == [f"reply {i}" for i in range(4)]
    assert [body["n"] for body in server.bodies] == [4, 1, 1, 1]
    assert sum(reply.asked for reply in found[0]) == 4 * 7


def test_a_reply_may_be_empty_cut_thought_or_half_a_character(
    server: Server, make_writer: Any
) -> None:
    texts = [None, "<think>hm</think><prompt>count</prompt>", "caf\u00e9 \ud83d"]
    answer = completion(texts)
    answer["choices"][2]["finish_reason"] = "length"
    server.behaviour = lambda body, before: (200, answer)
    empty, thought, half = replies(make_writer(), Request("hello", draws=3))[0]
    assert (empty.text, empty.cut) == ("", False)
    assert read_prompt(thought.text, "prompt") == "count"
    assert (half.text, half.cut) == ("caf\u00e9 ?", True)
    assert half.text.encode()


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_asked_again(server: Server, make_writer: Any, status: int) -> None:
    server.behaviour = lambda body, before: (
        (status, {}) if before < 2 else (200, completion(["at last"]))
    )
    assert replies(make_writer(), Request("hello"))[0][0].text == "at last"
    assert len(server.bodies) == 3


def test_what_does_not_pass_ends_in_one_sentence(server: Server, make_writer: Any) -> None:
    server.behaviour = lambda body, before: (429, {"error": {"message": f"slow\ndown {KEY}"}})
    with pytest.raises(InputError, match=r"cannot answer \(429.*after 2 further attempts") as found:
        replies(make_writer(), Request("hello"))
    assert len(server.bodies) == 3
    assert KEY not in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_final(server: Server, make_writer: Any, status: int) -> None:
    server.behaviour = lambda body, before: (status, {"error": {"message": f"no {KEY}"}})
    with pytest.raises(InputError) as found:
        replies(make_writer(concurrency=1), *[Request(f"hello {i}") for i in range(4)])
    assert len(server.bodies) == 1
    assert str(status) in str(found.value) and KEY not in str(found.value)
    assert ("A_KEY holds a wrong one" in str(found.value)) == (status in (401, 403))


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"message": "no such model", "code": 7}},
        {"error": "no such model"},
        {"detail": "no such model"},
        b"no such model",
    ],
)
def test_the_server_s_own_words_are_shown(server: Server, make_writer: Any, answer: Any) -> None:
    server.behaviour = lambda body, before: (400, answer)
    with pytest.raises(InputError, match=r"refuses the request \(400: no such model\)"):
        replies(make_writer(), Request("hello"))


def test_a_key_that_is_not_set_is_named(
    server: Server, make_writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_KEY")
    with pytest.raises(InputError, match="environment variable A_KEY is not set, and the server"):
        make_writer()
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    own = {"api_key_env": "OPENAI_API_KEY"}
    with pytest.raises(InputError, match="environment variable OPENAI_API_KEY is not set"):
        make_writer(**own, base_url="https://127.0.0.1:9/v1")
    # A server at hand may have none; this one wants one.
    server.behaviour = lambda body, before: (401, {})
    with pytest.raises(InputError, match="environment variable OPENAI_API_KEY is not set; set it"):
        replies(make_writer(**own), Request("hello"))


def test_a_server_that_is_too_slow_or_gone(server: Server, make_writer: Any) -> None:
    def slow(body: dict[str, Any], before: int) -> tuple[int, Any]:
        time.sleep(0.2)
        return 200, completion(["late"])

    server.behaviour = slow
    with pytest.raises(InputError, match="does not answer in time, after 0 further attempts"):
        replies(make_writer(timeout=0.05, max_retries=0), Request("hello"))
    with pytest.raises(InputError, match="does not answer at all"):
        gone = {"base_url": "http://127.0.0.1:9/v1", "max_retries": 0}
        replies(make_writer(**gone), Request("hello"))


def test_what_was_begun_is_finished_when_another_request_fails(
    server: Server, make_writer: Any
) -> None:
    def behaviour(body: dict[str, Any], before: int) -> tuple[int, Any]:
        if body["messages"][-1]["content"] == "bad":
            return 400, {}
        time.sleep(0.1)
        return 200, completion(["good"])

    server.behaviour = behaviour
    found: dict[int, list[Reply]] = {}
    requests = [Request("good"), Request("bad"), Request("never asked")]
    with pytest.raises(InputError, match="400"):
        make_writer(concurrency=2).write(requests, found.__setitem__)
    assert found.keys() == {0} and len(server.bodies) == 2


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [{}]}, [], b"<html>hello"])
def test_an_answer_that_is_no_completion(server: Server, make_writer: Any, answer: Any) -> None:
    server.behaviour = lambda body, before: (200, answer)
    with pytest.raises(InputError, match="gave no chat completion"):
        replies(make_writer(), Request("hello"))


def test_it_works_where_a_loop_is_running(make_writer: Any) -> None:
    async def notebook() -> dict[int, list[Reply]]:
        return replies(make_writer(), Request("hello"))

    assert asyncio.run(notebook())[0][0].text == "hello"


# --- A server of models ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings of a writer that is the embedded model, behind the server of transformers."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    model, output = str(ensure_bundled()), tmp_path_factory.mktemp("server") / "output"
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "transformers.cli.transformers", "serve", model, *options],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | quiet,
        )
    deadline = time.monotonic() + 300
    try:
        while not _healthy(port):
            assert process.poll() is None and time.monotonic() < deadline, output.read_text()
            time.sleep(0.2)
        yield {"base_url": f"http://127.0.0.1:{port}/v1", "model": model}
    finally:
        process.kill()
        process.wait()


def _healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.smollm2
def test_a_server_of_a_model(model_server: dict[str, str]) -> None:
    writer = HttpWriter(WriterSettings.default(**model_server))
    capital = Request("What is the capital of France?", temperature=0.0, draws=2)
    found = replies(writer, capital, Request("Count.", "You count.", max_tokens=3))
    # It gives one choice a call, however many are asked for.
    assert [reply.text for reply in found[0]] == ["The capital of France is Paris."] * 2
    assert all(reply.asked and reply.written and not reply.cut for reply in found[0])
    assert [(reply.written, reply.cut) for reply in found[1]] == [(3, True)]
    writer = HttpWriter(WriterSettings.default(**model_server | {"model": "another"}))
    with pytest.raises(
        InputError, match=r"refuses the request \(400: .*'another'.*the model's name"
    ):
        replies(writer, capital)


@pytest.mark.smollm2
def test_a_search_whose_writer_is_behind_a_server(
    model_server: dict[str, str], small_run: dict[str, Any], tmp_path: Path
) -> None:
    own = {f"writer.{name}": value for name, value in model_server.items()}
    own |= {"writer.accept_raw": True, "writer.max_tokens": 12, "opro.proposals": 2}
    run = {"method": "opro", "n_steps": 1, "max_new_tokens": 4, "n_dev_data": 2, "n_test_data": 2}
    log = carry_out(small_run | own | run | {"result_prefix": tmp_path / "run"})
    assert log.data["status"] == "finished" and log.data["steps"][0]["tried"]
    assert log.data["environment"]["writer"] == {"model": model_server["model"]}
    (asked,) = map(json.loads, replies_path(log.path).read_text().splitlines())
    assert len(asked["replies"]) == 2 and all(reply["written"] for reply in asked["replies"])


def test_a_judge_that_is_loaded_here_beside_a_writer_behind_a_server(
    server: Server, small_run: dict[str, Any], tmp_path: Path
) -> None:
    server.behaviour = lambda body, before: (
        200,
        completion([f"<prompt>Think {before} times and answer.</prompt>"]),
    )
    own = {"writer.base_url": server.url, "writer.model": "m"}
    own |= {"judge.model": small_run["model_paths"], "spo.judge": "logprob"}
    run = {"method": "spo", "spo.rounds": 2, "max_new_tokens": 4, "n_dev_data": 2, "n_test_data": 2}
    log = carry_out(small_run | own | run | {"result_prefix": tmp_path / "run"})
    assert log.data["status"] == "finished" and len(server.bodies) == 2
    lines = [json.loads(line) for line in replies_path(log.path).read_text().splitlines()]
    judge = log.data["environment"]["judge"]["model"]
    assert log.data["environment"]["writer"] == {"model": "m"} and judge != "m"
    assert [line["writer"] for line in lines] == ["m", *[judge] * 6] * 2
    ledger = log.data["ledger"]["search"]
    assert (ledger["requests"], ledger["judge_requests"]) == (14, 12)
    assert ledger["tokens"]["asked"] == 14 and ledger["tokens"]["judge_asked"] > 14


@pytest.mark.parametrize(
    "address", ["ftp://host/v1", "http://", "http://[::1", "http://host:99999/v1"]
)
def test_what_is_no_address_is_refused(make_writer: Any, address: str) -> None:
    with pytest.raises(InputError, match="is no address of a server"):
        make_writer(base_url=address)


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": f"https://user:{KEY}@host/v1"},
        {"base_url": f"user:{KEY}@host/v1"},
        {"base_url": f"http://host/v1?api-key={KEY}"},
        {"base_url": f"http://host/v1#{KEY}"},
        {"extra": {"api_key": KEY}},
        {"extra": {"options": [{"X-API-Key": KEY}]}},
        {"extra": {"user": "Bearer something"}},
        {"extra": {"user": f"me, {KEY}"}},
        {"model": KEY},
    ],
)
def test_a_secret_among_the_settings_is_refused_and_not_shown(
    make_writer: Any, settings: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="; leave it out") as caught:
        make_writer(**settings)
    assert KEY not in str(caught.value)
    assert "writer.api_key_env" in caught.value.keys or "logs hold" in str(caught.value)


def test_what_servers_call_tokens_is_no_secret(make_writer: Any) -> None:
    make_writer(extra={"max_completion_tokens": 5, "max_tokens": None, "stop_token_ids": [1]})


@pytest.mark.parametrize("key", ["two\nlines", "schl\u00fcssel"])
def test_a_key_that_no_request_can_hold_is_refused_and_not_shown(
    make_writer: Any, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("ANOTHER", key)
    with pytest.raises(InputError, match="ANOTHER holds characters that no key has") as caught:
        make_writer(api_key_env="ANOTHER")
    assert key not in str(caught.value)
