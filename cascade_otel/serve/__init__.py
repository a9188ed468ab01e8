"""``cascade-otel serve``: receiver, drift job and dashboard, three processes started and stopped together."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cascade_otel.records import UserError
from cascade_otel.serve.parts import Part, Parts, answers, leave_with_parent
from cascade_otel.storage.state import State, default_path

PartName = Literal["receiver", "drift", "dashboard"]
PARTS: tuple[PartName, ...] = ("receiver", "drift", "dashboard")
DASHBOARD_HOST = "127.0.0.1"
TOKEN = "CASCADE_OTEL_TOKEN"
LOOK_S = 0.2


@dataclass(frozen=True)
class Options:
    """What is served, and where; ``state`` None: in the store; ``grpc_port`` 0: no gRPC.

    The token is in $CASCADE_OTEL_TOKEN; empty, as Docker Compose makes an unset one, it is none.
    """

    store: Path
    state: Path | None = None
    host: str = "127.0.0.1"
    port: int = 4318
    grpc_port: int = 4317
    dashboard_port: int = 8501
    dashboard_url: str | None = None
    policy: Path | None = None
    webhook: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False

    @property
    def scheme(self) -> str:
        """How the receiver is spoken to."""
        return "https" if self.tls_cert else "http"

    @property
    def state_path(self) -> Path:
        """The state's file."""
        return self.state or default_path(self.store)

    @property
    def dashboard_address(self) -> str:
        """Where people reach the dashboard."""
        return self.dashboard_url or f"http://{DASHBOARD_HOST}:{self.dashboard_port}"


def run_all(options: Options) -> int:
    """Runs the three parts until SIGINT or SIGTERM; returns the exit code.

    Says on standard output what listens where, once it answers. A part that dies is started again, after
    a longer wait each time; one that ends because of a mistake of the caller's ends all, with code 2.
    Raises UserError before anything starts where an address, the store or the state cannot be had.
    """
    from cascade_otel.storage.receiving.access import check_reach, tls_of

    tls = tls_of(options.tls_cert, options.tls_key)
    check_reach(options.host, _token(), tls, options.behind_proxy)
    check_ports(options.host, options.port, options.dashboard_port, options.grpc_port)
    _check_files(options)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with Parts([_part(options, name) for name in PARTS]) as parts:
        while not stopping.wait(LOOK_S):
            parts.look()
            for name in parts.newly_ready():
                print(_greeting(options, name), flush=True)
            if parts.mistaken:
                return 2
    return 0


def run_one(options: Options, part: PartName) -> int:
    """Runs one part in this process until SIGINT or SIGTERM; returns the exit code.

    Raises UserError where the store, the state, or what this part listens on cannot be had.
    """
    leave_with_parent()
    _check_files(options)
    runs: dict[PartName, Callable[[Options], None]] = {
        "receiver": _receiver,
        "drift": _drift,
        "dashboard": _dashboard,
    }
    runs[part](options)
    return 0


def check_ports(host: str, port: int, dashboard_port: int, grpc_port: int = 0) -> None:
    """Raises UserError where receiver and dashboard cannot listen on these ports (``grpc_port`` 0: none).

    To be called before anything is started: what answers there already would be taken for ours.
    """
    asked = {"--port": (host, port), "--dashboard-port": (DASHBOARD_HOST, dashboard_port)}
    if grpc_port:
        asked["--grpc-port"] = (host, grpc_port)
    for option, (address, number) in asked.items():
        _check_port(address, number, option)
    by_number: dict[int, str] = {}
    for option, (_, number) in asked.items():
        other = by_number.setdefault(number, option)
        if other != option:
            raise UserError(
                f"{other} and {option} are both {number}; wanted: two ports; type another {option}"
            )


def _check_port(host: str, port: int, option: str) -> None:
    from cascade_otel.storage.receiving.receiver import MAX_PORT, bind

    if not 1 <= port <= MAX_PORT:
        raise UserError(
            f"{option} {port} arrived; wanted: a number from 1 to {MAX_PORT}; type another {option} PORT"
        )
    bind(host, port, option).close()


def _check_files(options: Options) -> None:
    from cascade_otel.storage.segments import Store

    Store(options.store)
    try:
        with State(options.state_path):
            """Made if absent: a part that cannot open it would be started again and again."""
    except sqlite3.OperationalError as error:
        print(
            f"{options.state_path} cannot be written now ({error}); it is tried again at every look",
            file=sys.stderr,
        )


def bundled(name: str) -> Path:
    """A folder or file shipped with the package: inside an installed one, or at the root of a checkout.

    Raises UserError if it is in neither place.
    """
    here = Path(__file__).resolve().parents[1]
    for place in (here / "_bundled" / name, here.parent / name):
        if place.exists():
            return place
    raise UserError(
        f"{name} is not beside {here}; wanted: a whole installation; "
        "pip install --force-reinstall 'cascade-otel[watch]'"
    )


def _token() -> str | None:
    return os.environ.get(TOKEN, "").strip() or None


def _receiver(options: Options) -> None:
    from cascade_otel.storage.receiving import access, receiver

    _check_port(options.host, options.port, "--port")
    if options.grpc_port:
        _check_port(options.host, options.grpc_port, "--grpc-port")
    receiver.run(
        options.store,
        options.host,
        options.port,
        _token(),
        lambda: _metrics(options),
        grpc_port=options.grpc_port,
        tls=access.tls_of(options.tls_cert, options.tls_key),
        behind_proxy=options.behind_proxy,
    )


def _metrics(options: Options) -> bytes:
    from cascade_otel.job import metrics

    with State(options.state_path) as state:
        return metrics.job_metrics(state)


def _drift(options: Options) -> None:
    from cascade_otel import job

    job.run_forever(
        job.Options(
            store=options.store,
            state=options.state,
            policy=options.policy,
            webhook=options.webhook,
            dashboard_url=options.dashboard_address,
        )
    )


def _dashboard(options: Options) -> None:
    from streamlit.web import cli as streamlit

    _check_port(DASHBOARD_HOST, options.dashboard_port, "--dashboard-port")
    folder = bundled("dashboard")
    os.environ["CASCADE_OTEL_STORE"] = str(options.store.resolve())
    os.environ["CASCADE_OTEL_STATE"] = str(options.state_path.resolve())
    os.chdir(folder)
    # Streamlit greets on standard output, where the part that answers is announced already.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    flags = {
        "server.address": DASHBOARD_HOST,
        "server.port": options.dashboard_port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.showErrorDetails": "none",
        "logger.level": "warning",
    }
    streamlit.main(
        ["run", str(folder / "app.py"), *(f"--{name}={value}" for name, value in flags.items())],
        standalone_mode=False,
    )


def _part(options: Options, name: PartName) -> Part:
    arguments = ["--store", options.store, "--host", options.host, "--port", options.port]
    arguments += ["--grpc-port", options.grpc_port]
    arguments += ["--behind-proxy"] if options.behind_proxy else []
    arguments += ["--tls-cert", options.tls_cert] if options.tls_cert else []
    arguments += ["--tls-key", options.tls_key] if options.tls_key else []
    arguments += ["--dashboard-port", options.dashboard_port, "--dashboard-url", options.dashboard_address]
    arguments += ["--state", options.state] if options.state else []
    arguments += ["--policy", options.policy] if options.policy else []
    # A module of the user's in the folder it is started in must not stand for one of Python's.
    command = [sys.executable, "-P", "-m", "cascade_otel.cli", "serve", "--only", name, *map(str, arguments)]
    # An address may hold a secret, and arguments can be read by everybody on the machine.
    environment = {"CASCADE_OTEL_WEBHOOK": options.webhook} if options.webhook else {}
    return Part(name, command, environment, _ready(options, name))


def _ready(options: Options, name: PartName) -> Callable[[], bool]:
    if name == "receiver":
        return lambda: answers(f"{options.scheme}://{_reachable(options.host)}:{options.port}/healthz")
    if name == "dashboard":
        return lambda: answers(f"http://{DASHBOARD_HOST}:{options.dashboard_port}/_stcore/health")
    started = time.time_ns()
    return lambda: _ticked(options.state_path, started)


def _ticked(state_path: Path, since_ns: int) -> bool:
    if not state_path.exists():
        return False
    try:
        with State(state_path) as state:
            return any(at >= since_ns for at in state.ticks().values())
    except sqlite3.OperationalError:  # a full disk, say: the parts go on, and so does who watches them
        return False


def _reachable(host: str) -> str:
    """An address at which this machine reaches what listens on ``host``."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _greeting(options: Options, name: str) -> str:
    if name == "receiver":
        address = f"{options.scheme}://{_reachable(options.host)}"
        grpc = f"; gRPC on {address}:{options.grpc_port}" if options.grpc_port else ""
        return f"receiver   {address}:{options.port}  (as OTEL_EXPORTER_OTLP_ENDPOINT){grpc}"
    if name == "dashboard":
        return f"dashboard  http://{DASHBOARD_HOST}:{options.dashboard_port}"
    return f"drift job  looks every minute; state in {options.state_path}"
