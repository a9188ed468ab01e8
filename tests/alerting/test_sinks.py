"""Messages arrive, at least once, whatever happens on the way. Servers here are real ones."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cascade_otel.alerting import message
from cascade_otel.alerting.sinks import SinkError, StandardOutput, Webhook, deliver
from cascade_otel.records import SECOND_NS, UserError
from cascade_otel.storage.state import State
from tests.alerting.alert_samples import NOW_NS, RATE, opened

SECRET = "T000-very-secret"
BODY = message.body(opened(RATE), "http://127.0.0.1:8501")


class Server:
    """Answers each POST as it is told, and keeps the bodies it accepted."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.requests = 0
        self.answer: Callable[[int], int] = lambda nth: 200
        """From the number of the request, from 0 on, to a status."""
        self.promised = 0
        """Bytes of an answer's body that are announced and never sent."""
        self.hang = threading.Event()
        self.hang.set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                nth, server.requests = server.requests, server.requests + 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = server.answer(nth)
                server.hang.wait(30)
                if 200 <= status < 300:
                    server.bodies.append(json.loads(body))
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", server.url("elsewhere"))
                self.send_header("Content-Length", str(server.promised))
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})

    def url(self, path: str = SECRET) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/{path}"


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    server.thread.start()
    try:
        yield server
    finally:
        server.hang.set()
        server.http.shutdown()
        server.http.server_close()
        server.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as it:
        yield it


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(tmp_path / "state.sqlite") as it:
        yield it


def closed_port() -> str:
    with serving() as gone:
        return gone.url()


def test_standard_output_gets_the_text_and_nothing_else() -> None:
    stream = io.StringIO()
    StandardOutput(stream).send(BODY)
    assert stream.getvalue() == BODY["text"] + "\n\n"


def test_a_terminal_that_lacks_a_character_gets_its_code() -> None:
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(raw, encoding="ascii")
    StandardOutput(terminal).send({"text": "τ"})
    assert raw.getvalue() == b"\\u03c4\n\n"


def test_a_standard_output_that_is_gone_is_a_passing_fault() -> None:
    stream = io.StringIO()
    stream.close()
    with pytest.raises(SinkError) as caught:
        StandardOutput(stream).send(BODY)
    assert caught.value.passing


def test_a_webhook_gets_the_body_as_json(server: Server) -> None:
    Webhook(server.url()).send(BODY)
    assert server.bodies == [BODY]


@pytest.mark.parametrize(
    ("status", "passing"),
    [
        (400, False),
        (401, False),
        (404, False),
        (410, False),
        (302, False),
        (408, True),
        (429, True),
        (500, True),
        (503, True),
    ],
)
def test_an_answer_says_whether_another_try_may_help(server: Server, status: int, passing: bool) -> None:
    server.answer = lambda nth: status
    with pytest.raises(SinkError, match=f"answered {status}") as caught:
        Webhook(server.url()).send(BODY)
    assert caught.value.passing is passing
    assert server.requests == 1, "a redirect is not followed"


def test_a_server_that_hangs_is_left_in_time_and_one_that_is_away_at_once(server: Server) -> None:
    server.hang.clear()
    start = time.monotonic()
    for webhook in (Webhook(server.url(), timeout_s=0.3), Webhook(closed_port())):
        with pytest.raises(SinkError) as caught:
            webhook.send(BODY)
        assert caught.value.passing
    assert time.monotonic() - start < 5


def test_an_answer_counts_even_if_its_body_never_comes(server: Server) -> None:
    server.promised = 1_000_000
    Webhook(server.url()).send(BODY)
    assert server.bodies == [BODY]


@pytest.mark.parametrize(
    "url", ["", "hooks.example/x", "ftp://h/x", "http://", "https:///x", "http://[bad", "http://h:x/"]
)
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(UserError, match="wanted: https://HOST/PATH") as caught:
        Webhook(url)
    assert "hooks.example" not in str(caught.value)


def test_no_secret_of_an_address_is_ever_shown(
    server: Server, state: State, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    server.answer = lambda nth: 500
    port = server.http.server_port
    said = []
    for url in (server.url(), f"http://user:{SECRET}@127.0.0.1:{port}/{SECRET}?key={SECRET}", closed_port()):
        webhook = Webhook(url)
        with pytest.raises(SinkError) as caught:
            webhook.send(BODY)
        said += traceback.format_exception(caught.value)  # what requests says holds the address
        said += [repr(webhook), str(webhook), webhook.name, str(caught.value), repr(caught.value)]
        state.enqueue("f", webhook.name, BODY)
        deliver(state, [webhook], NOW_NS)
    said += [caplog.text, *capfd.readouterr(), *(repr(waiting) for waiting in state.due(2 * NOW_NS))]
    assert "not delivered" in caplog.text
    assert SECRET not in "".join(said)


def test_what_is_delivered_leaves_the_outbox(server: Server, state: State) -> None:
    webhook = Webhook(server.url())
    state.enqueue("a", webhook.name, BODY)
    assert deliver(state, [webhook], NOW_NS) == 1
    assert deliver(state, [webhook], NOW_NS + 10**6 * SECOND_NS) == 0
    assert server.bodies == [BODY]


def test_a_sink_that_fails_is_tried_again_later_and_later(server: Server, state: State) -> None:
    """Three times 503, then it takes the message."""
    server.answer = lambda nth: 503 if nth < 3 else 204
    webhook = Webhook(server.url())
    state.enqueue("a", webhook.name, BODY)
    tried = []
    for second in range(120):
        before = server.requests
        deliver(state, [webhook], NOW_NS + second * SECOND_NS)
        if server.requests > before:
            tried.append(second)
    assert tried == [0, 5, 15, 35]
    assert server.bodies == [BODY]


def test_a_sink_that_hangs_does_not_hold_up_another(server: Server, state: State) -> None:
    server.hang.clear()
    stream = io.StringIO()
    hanging, output = Webhook(server.url(), timeout_s=1.0), StandardOutput(stream)
    for fingerprint in ("a", "b", "c"):
        state.enqueue(fingerprint, hanging.name, BODY)
        state.enqueue(fingerprint, output.name, BODY)
    seen_at: list[float] = []
    start = time.monotonic()

    class Watched(StandardOutput):
        def send(self, body: dict[str, Any]) -> None:
            super().send(body)
            seen_at.append(time.monotonic() - start)

    assert deliver(state, [hanging, Watched(stream)], NOW_NS) == 3
    assert max(seen_at) < 0.9
    assert server.requests == 1, "a sink that is down is not asked again for every message"
    assert len(state.due(NOW_NS)) == 2, "the others wait for its next turn"


def test_a_message_that_is_refused_does_not_hold_up_the_next(server: Server, state: State) -> None:
    server.answer = lambda nth: 400 if nth == 0 else 200
    webhook = Webhook(server.url())
    state.enqueue("a", webhook.name, {**BODY, "fingerprint": "a"})
    state.enqueue("b", webhook.name, {**BODY, "fingerprint": "b"})
    assert deliver(state, [webhook], NOW_NS) == 1
    assert [body["fingerprint"] for body in server.bodies] == ["b"]
    assert [message.fingerprint for message in state.undelivered()] == ["a"], "given up, and still to be seen"
    assert deliver(state, [webhook], NOW_NS + 10**15) == 0


def test_messages_for_a_sink_that_is_not_there_wait(state: State) -> None:
    state.enqueue("a", "webhook elsewhere", BODY)
    assert deliver(state, [StandardOutput(io.StringIO())], NOW_NS) == 0
    assert len(state.due(NOW_NS)) == 1


DELIVERER = """
import sys
from cascade_otel.alerting.sinks import Webhook, deliver
from cascade_otel.storage.state import State
with State(sys.argv[1]) as state:
    print(deliver(state, [Webhook(sys.argv[2])], int(sys.argv[3])), flush=True)
"""


def test_a_job_killed_between_sending_and_noting_sends_again(server: Server, tmp_path: Path) -> None:
    """kill -9 while the server has the message and the job no answer yet."""
    path = tmp_path / "state.sqlite"
    url = server.url()
    with State(path) as state:
        state.enqueue("a", Webhook(url).name, BODY)
    server.hang.clear()
    command = [sys.executable, "-c", DELIVERER, str(path), url, str(NOW_NS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
        while server.requests == 0:
            assert victim.poll() is None
            time.sleep(0.01)
        os.kill(victim.pid, signal.SIGKILL)
    server.hang.set()
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "1\n"
    assert server.requests == 2
    assert {json.dumps(body) for body in server.bodies} == {json.dumps(BODY)}
    with State(path) as state:
        assert state.due(2 * NOW_NS) == []
