"""``serve`` starts three parts, keeps them running, and takes them with it when it ends, however it ends."""

from __future__ import annotations

import contextlib
import http.server
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cascade_otel import cli, serve
from cascade_otel.records import UserError
from cascade_otel.serve import parts as parts_module
from cascade_otel.serve.parts import Part, Parts, answers
from cascade_otel.storage.receiving import receiver as receiver_module
from tests.storage import certificates
from tests.storage.otlp_requests import Called
from tests.storage.receiver_process import Receiver, body

ROOT = Path(__file__).parents[1]


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


class Served:
    """``cascade-otel serve`` in a process of its own, and the lines it prints."""

    def __init__(self, store: Path, receiver: int, dashboard: int, grpc: int):
        command = [sys.executable, "-m", "cascade_otel.cli", "serve", "--store", str(store)]
        command += ["--port", str(receiver), "--dashboard-port", str(dashboard), "--grpc-port", str(grpc)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(
            target=lambda: [self._lines.put(line) for line in self.process.stdout]
        )
        self._reader.start()

    def said(self, count: int, seconds: float = 60) -> list[str]:
        end = time.monotonic() + seconds
        return [self._lines.get(timeout=max(0.01, end - time.monotonic())) for _ in range(count)]

    def end(self) -> str:
        """Closes the pipes; returns what is left of standard error."""
        self.process.wait(20)
        errors = self.process.stderr.read()
        self._reader.join(20)
        self.process.stdout.close()
        self.process.stderr.close()
        return errors


def test_it_says_what_answers_and_one_interrupt_stops_all(tmp_path):
    receiver, dashboard, grpc_port = free_ports(3)
    served = Served(tmp_path / "store", receiver, dashboard, grpc_port)
    try:
        lines = "".join(served.said(3))
        grpc_address = rf"gRPC on http://127\.0\.0\.1:{grpc_port}"
        assert re.search(rf"^receiver .*http://127\.0\.0\.1:{receiver}\b.*{grpc_address}$", lines, re.M)
        assert re.search(rf"^dashboard .*http://127\.0\.0\.1:{dashboard}\b", lines, re.M)
        assert re.search(r"^drift job ", lines, re.M)
        assert answers(f"http://127.0.0.1:{receiver}/healthz")
        assert answers(f"http://127.0.0.1:{dashboard}/_stcore/health")
        assert Called(grpc_port, body()).code.name == "OK"
        running = children(served.process.pid)
        assert len(running) == 3

        victim = next(pid for pid in running if b"receiver" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(victim, signal.SIGKILL)
        assert until(lambda: not answers(f"http://127.0.0.1:{receiver}/healthz"), 5)
        assert until(lambda: answers(f"http://127.0.0.1:{receiver}/healthz"), 30)
        assert Called(grpc_port, body()).code.name == "OK"
        running = children(served.process.pid)

        started = time.monotonic()
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(10) == 0
        assert time.monotonic() - started < 5
        assert not any(alive(pid) for pid in running)
    finally:
        served.process.kill()
        errors = served.end()
    assert "receiver ended (signal 9); it is started again in 1 s" in errors
    assert "Traceback" not in errors


def test_its_parts_leave_when_it_is_killed(tmp_path):
    served = Served(tmp_path / "store", *free_ports(3))
    try:
        served.said(3)
        running = children(served.process.pid)
        served.process.kill()
        served.process.wait()
        assert until(lambda: not any(alive(pid) for pid in running), 8)
    finally:
        served.process.kill()
        served.end()


class Fine(http.server.BaseHTTPRequestHandler):
    """Answers everything well."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Silence."""


@contextlib.contextmanager
def somebody_elses():
    """The port of a server that answers every GET with 200."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fine) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


OPTIONS = ["--port", "--dashboard-port", "--grpc-port"]


@pytest.mark.parametrize("option", OPTIONS)
def test_a_port_in_use_is_told_before_anything_starts(tmp_path, option):
    """Also if what listens there answers as well as ours would."""
    with somebody_elses() as taken:
        assert answers(f"http://127.0.0.1:{taken}/healthz")
        ports = free_ports(3)
        ports[OPTIONS.index(option)] = taken
        served = Served(tmp_path / "store", *ports)
        code = served.process.wait(60)
        errors = served.end()
    assert (code, errors.count("\n")) == (2, 1)
    assert f"127.0.0.1:{taken} cannot be listened on (Address already in use); wanted: a free port" in errors
    assert f"try {option} {taken + 1}" in errors
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("part", "option"),
    [("receiver", "--port"), ("receiver", "--grpc-port"), ("dashboard", "--dashboard-port")],
)
def test_a_part_alone_says_so_too(tmp_path, part, option):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = dict(zip(OPTIONS, free_ports(3), strict=True)) | {option: taken.getsockname()[1]}
        given = {name.removeprefix("--").replace("-", "_"): port for name, port in ports.items()}
        with pytest.raises(UserError, match=f"wanted: a free port; try {option}"):
            serve.run_one(serve.Options(tmp_path / "store", **given), part)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": 99_999}, "--port 99999 arrived; wanted: a number from 1 to 65535"),
        ({"port": 0}, "--port 0 arrived"),
        ({"dashboard_port": -1}, "--dashboard-port -1 arrived"),
        ({"dashboard_port": 65_536}, "--dashboard-port 65536 arrived"),
        ({"grpc_port": 65_536}, "--grpc-port 65536 arrived"),
        ({"dashboard_port": None}, "--port and --dashboard-port are both [0-9]+; wanted: two ports"),
        ({"grpc_port": None}, "--port and --grpc-port are both [0-9]+; wanted: two ports"),
        ({"tls_cert": Path("c.pem")}, "--tls-cert arrived alone"),
        ({"tls_cert": Path("c.pem"), "tls_key": Path("k.pem")}, "--tls-cert c.pem cannot be read"),
        ({"store": "file"}, "--store .*file cannot be made a folder"),
        ({"store": "file/store"}, "--store .*store cannot be made a folder"),
        ({"state": "file/state.sqlite"}, "--state .*state.sqlite cannot be opened"),
        ({"state": "folder"}, "--state .*folder cannot be opened"),
        (
            {"host": "no.such.host.invalid", "behind_proxy": True},
            "--host no.such.host.invalid cannot",
        ),
        ({"host": "0.0.0.0"}, "type --tls-cert FILE --tls-key FILE, or --behind-proxy"),
    ],
)
def test_what_cannot_be_is_told_before_anything_starts(tmp_path, monkeypatch, options, said):
    monkeypatch.setenv(serve.TOKEN, "secret")
    monkeypatch.setattr(serve, "Parts", None)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    ports = dict(zip(("port", "dashboard_port", "grpc_port"), free_ports(3), strict=True))
    given = ports | {"store": "store"} | options
    given |= {name: tmp_path / given[name] for name in ("store", "state") if name in given}
    given |= {name: given["port"] for name in ports if given[name] is None}
    with pytest.raises(UserError, match=said) as error:
        serve.run_all(serve.Options(**given))
    assert "wanted" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_proxy_is_not_asked_for_what_listens_here(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with somebody_elses() as port:
        assert answers(f"http://127.0.0.1:{port}/healthz")


def test_what_speaks_no_http_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        assert not answers(f"http://127.0.0.1:{server.getsockname()[1]}/healthz")
        thread.join()


def test_beyond_loopback_it_wants_a_token_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.delenv(serve.TOKEN, raising=False)
    with pytest.raises(UserError, match="wanted: a token"):
        serve.run_all(serve.Options(tmp_path / "store", host="0.0.0.0"))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_token_is_none(tmp_path, monkeypatch, empty):
    """As Docker Compose passes on a variable that is not set."""
    monkeypatch.setenv(serve.TOKEN, empty)
    with pytest.raises(UserError, match="wanted: a token"):
        serve.run_all(serve.Options(tmp_path / "store", host="0.0.0.0", behind_proxy=True))
    given = []
    monkeypatch.setattr(
        receiver_module, "run", lambda store, host, port, token, *_, **__: given.append(token)
    )
    port, grpc_port = free_ports(2)
    serve._receiver(serve.Options(tmp_path / "store", port=port, grpc_port=grpc_port))
    monkeypatch.setenv(serve.TOKEN, "s3cret\n")
    serve._receiver(serve.Options(tmp_path / "store", port=port, grpc_port=grpc_port))
    assert given == [None, "s3cret"]


def test_over_tls_it_is_seen_to_answer_and_says_https(tmp_path):
    """Whatever name the certificate has: what is asked listens on this machine."""
    certificate, key = certificates.make(tmp_path)
    port = free_ports(1)[0]
    options = serve.Options(tmp_path, port=port, tls_cert=certificate, tls_key=key)
    running = Receiver(tmp_path / "store", port, pair=(certificate, key))
    try:
        assert serve._ready(options, "receiver")()
        assert not serve._ready(serve.Options(tmp_path, port=port), "receiver")()
    finally:
        running.stop()
    said = serve._greeting(options, "receiver")
    assert f"https://127.0.0.1:{port} " in said
    assert "gRPC on https://127.0.0.1:4317" in said
    assert "gRPC" not in serve._greeting(replace(options, grpc_port=0), "receiver")


def test_what_a_part_is_asked_for_reaches_it(tmp_path):
    """The arguments of the receiver's process make the options it was made from."""
    wanted = serve.Options(
        tmp_path, grpc_port=4444, tls_cert=Path("c"), tls_key=Path("k"), behind_proxy=True, host="0.0.0.0"
    )
    arguments = cli.parser().parse_args(serve._part(wanted, "receiver").command[4:])
    assert (arguments.grpc_port, arguments.tls_cert, arguments.tls_key) == (4444, Path("c"), Path("k"))
    assert (arguments.behind_proxy, arguments.host, arguments.only) == (True, "0.0.0.0", "receiver")


def part(name: str, program: str) -> Part:
    return Part(name, [sys.executable, "-c", program], {}, lambda: True)


def test_a_part_that_dies_is_started_again_later_each_time(capsys):
    dying = part("dying", "raise SystemExit(1)")
    dying.wait_s = 0.125
    with Parts([dying]) as parts:
        assert until(lambda: parts.look() or dying.wait_s >= 1, 20)
    said = [line.rpartition("started again in ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == ["0.125 s", "0.25 s", "0.5 s"]


def test_a_part_that_was_asked_for_the_impossible_is_named():
    with Parts(
        [part("mistaken", "raise SystemExit(2)"), part("well", "import time; time.sleep(60)")]
    ) as parts:
        assert until(lambda: parts.look() or parts.mistaken, 20)
    assert parts.mistaken == "mistaken"


def test_a_part_that_will_not_stop_is_killed_with_what_it_started(monkeypatch, tmp_path):
    monkeypatch.setattr(parts_module, "STOP_S", 0.3)
    program = (
        "import signal, subprocess, sys, time, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid)); time.sleep(60)"
    )
    with Parts([part("stubborn", program)]) as parts:
        parts.look()
        assert until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), 20)
        started = time.monotonic()
    assert time.monotonic() - started < 3
    assert until(lambda: not alive(int((tmp_path / "pid").read_text())), 3)


def test_the_webhook_is_not_in_the_arguments_everybody_can_read(tmp_path):
    secret = "https://hooks.example/T0/secret"
    made = serve._part(serve.Options(tmp_path, webhook=secret), "drift")
    assert not any("secret" in argument for argument in made.command)
    assert made.environment == {"CASCADE_OTEL_WEBHOOK": secret}


def test_bundled_files_are_found_and_absent_ones_named():
    assert (serve.bundled("dashboard") / "app.py").exists()
    assert serve.bundled("examples/data/answers.parquet").is_file()
    with pytest.raises(UserError, match="nowhere is not beside"):
        serve.bundled("nowhere")


def test_the_systemd_unit_is_valid(tmp_path):
    """On a copy that starts a program this machine has."""
    assert shutil.which("systemd-analyze"), "install systemd; `make test` does so as root on Debian"
    unit = (ROOT / "examples" / "deploy" / "cascade-otel.service").read_text()
    copy = tmp_path / "cascade-otel.service"
    copy.write_text(unit.replace("/opt/cascade-otel/bin/cascade-otel", "/bin/true"))
    checked = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
