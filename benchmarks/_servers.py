"""Receivers in processes of their own, kept to one core: ours, and other tools' servers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from _peers import ENVIRONMENTS

START_S, STOP_S = 180, 20

OURS = """
import sys
from cascade_otel.storage.receiving import receiver
receiver.run(sys.argv[1], "127.0.0.1", int(sys.argv[2]), grpc_port=int(sys.argv[3]))
"""
PHOENIX = """
import grpc.aio
bind = grpc.aio.Server.add_insecure_port
grpc.aio.Server.add_insecure_port = lambda self, at: bind(self, at.replace("[::]", "127.0.0.1"))
from phoenix.server.main import main
main()
"""
"""Phoenix binds its gRPC port to every address, whatever PHOENIX_HOST says; here it stays on this machine."""


@dataclass(frozen=True)
class Server:
    """How a receiver is started on (folder, HTTP port, gRPC port), and what it has stored."""

    name: str
    command: Callable[[Path, int, int], list[str]]
    stored: Callable[[Path], int]
    promise: str
    environment: Callable[[Path, int, int], dict[str, str]] = lambda folder, port, grpc: {}
    headers: dict[str, str] = field(default_factory=dict)
    package: str = ""
    grpc: bool = True
    most_clients: int = 1_000

    def python(self) -> str:
        """Its interpreter; makes its environment, if need be."""
        if not self.package:
            return sys.executable
        folder = ENVIRONMENTS / self.name
        python = folder / "bin" / "python"
        if not python.exists():
            print(f"installing {self.package} into {folder}", flush=True)
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", self.package]
            subprocess.run(install, check=True, stderr=subprocess.DEVNULL)
        return str(python)

    def version(self) -> str:
        """Of its package."""
        program = (
            f"from importlib.metadata import version; print(version({self.package or 'cascade-otel'!r}))"
        )
        done = subprocess.run([self.python(), "-c", program], capture_output=True, text=True, check=True)
        return done.stdout.strip()


def rows_of_segments(folder: Path) -> int:
    """Rows in all segments of a store."""
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("day=*/*.parquet"))


def spans_in(database: str) -> Callable[[Path], int]:
    """Counts what a server has written into this SQLite file."""

    def count(folder: Path) -> int:
        with contextlib.closing(sqlite3.connect(f"file:{folder / database}?mode=ro", uri=True)) as opened:
            return int(opened.execute("SELECT count(*) FROM spans").fetchone()[0])

    return count


CASCADE_OTEL = Server(
    name="cascade-otel",
    command=lambda folder, port, grpc: ["-c", OURS, str(folder), str(port), str(grpc)],
    stored=rows_of_segments,
    promise="in a readable file, synced to disk",
)
PEERS = (
    Server(
        name="Phoenix",
        package="arize-phoenix",
        command=lambda folder, port, grpc: ["-c", PHOENIX, "serve"],
        environment=lambda folder, port, grpc: {
            "PHOENIX_WORKING_DIR": str(folder),
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(grpc),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        },
        stored=spans_in("phoenix.db"),
        promise="in a queue in memory; SQLite with synchronous = OFF later",
    ),
    Server(
        name="MLflow",
        package="mlflow",
        command=lambda folder, port, grpc: [
            *("-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
            *("--default-artifact-root", str(folder)),
        ],
        environment=lambda folder, port, grpc: {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
        headers={"x-mlflow-experiment-id": "0"},
        stored=spans_in("mlflow.db"),
        promise="committed to SQLite",
        grpc=False,
        most_clients=2,  # it takes longer than any client waits to answer more at once
    ),
)


@dataclass(frozen=True)
class Running:
    """A receiver that listens."""

    pid: int
    port: int
    grpc_port: int
    folder: Path


@contextlib.contextmanager
def running(server: Server, folder: Path, core: int) -> Iterator[Running]:
    """Starts the receiver on a core, and ends it and all it has started.

    Raises TimeoutError if it does not listen.
    """
    folder.mkdir(parents=True)
    port, grpc_port = _free_port(), _free_port()
    own = os.sched_getaffinity(0)
    log = folder.with_suffix(".log")
    python = server.python()
    os.sched_setaffinity(0, {core})  # the process inherits it
    try:
        with log.open("wb") as out:
            process = subprocess.Popen(
                [python, *server.command(folder, port, grpc_port)],
                env=os.environ | server.environment(folder, port, grpc_port),
                cwd=Path(__file__).resolve().parents[1],
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
    finally:
        os.sched_setaffinity(0, own)
    try:
        _wait_for([port, grpc_port] if server.grpc else [port], process, log)
        yield Running(process.pid, port, grpc_port, folder)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_for(ports: list[int], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    for port in ports:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    last = "\n".join(log.read_text().splitlines()[-5:])
                    raise TimeoutError(f"{process.args!r} does not listen:\n{last}") from None
                time.sleep(0.2)
