"""Processes that a test starts by forking one that has imported everything, and kills with -9.

Run as a module, it is the one that is forked: told on its standard input whom to start and whom to kill.
None outlives the test: a child ends when its parent has gone, and the parent when its input has ended.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]


class Processes:
    """Children by name, each running ``function(**options)`` of ``module``; a context manager.

    What they write to their standard error is in the file ``errors``.
    """

    def __init__(self, module: str, errors: Path):
        self.errors = errors
        self._module = module
        self._running: dict[str, int] = {}

    def __enter__(self) -> Processes:
        with open(self.errors, "ab") as errors:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "tests.storage.torture_processes", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                start_new_session=True,
            )
        assert self._parent.stdin
        assert self._parent.stdout
        self._orders, self._answers = self._parent.stdin, self._parent.stdout
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._orders.close()
        self._answers.close()
        try:
            self._parent.wait(10)
        finally:
            self._parent.kill()
            self._parent.wait()

    def start(self, name: str, function: str, **options: Any) -> None:
        """Starts a child."""
        self._running[name] = self._ask("start", function, options)

    def kill(self, name: str) -> None:
        """Kills a child with -9 and waits until it is dead; AssertionError if it had died by itself."""
        status = self._ask("kill", self._running.pop(name), 0)
        assert status == -signal.SIGKILL, f"{name} ended by itself with {status}:\n{self.said()}"

    def pid(self, name: str) -> int:
        """The child's number."""
        return self._running[name]

    def kill_all(self) -> None:
        """Kills whoever is left."""
        for name in list(self._running):
            self.kill(name)

    def wait(self, is_so: Callable[[], bool], most_s: float = 60) -> None:
        """Waits until it is so; AssertionError with what the children wrote if it takes too long."""
        deadline = time.monotonic() + most_s
        while not is_so():
            assert time.monotonic() < deadline, f"not so after {most_s} s:\n{self.said()}"
            time.sleep(0.05)

    def said(self) -> str:
        """The last of what the children wrote to their standard error."""
        return self.errors.read_text(errors="replace")[-6000:]

    def _ask(self, *words: Any) -> int:
        self._orders.write(json.dumps(words).encode() + b"\n")
        self._orders.flush()
        answer = self._answers.readline()
        assert answer, f"the parent of all has died:\n{self.said()}"
        return int(answer)


def free_port() -> int:
    """A port nobody listens on, outside the range from which clients' own ports come."""
    dice = random.SystemRandom()
    while True:
        port = dice.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _serve(module_name: str) -> None:
    module, children = importlib.import_module(module_name), set()
    try:
        for line in sys.stdin:
            verb, subject, options = json.loads(line)
            if verb == "start":
                sys.stderr.flush()
                answer = os.fork()
                if not answer:
                    _child(getattr(module, subject), options)
                children.add(answer)
            else:
                os.kill(subject, signal.SIGKILL)
                answer = os.waitstatus_to_exitcode(os.waitpid(subject, 0)[1])
                children.discard(subject)
            print(answer, flush=True)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _child(function: Any, options: dict[str, Any]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    end_with_parent()
    status = 1
    try:
        function(**options)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def end_with_parent() -> None:
    """From now on this process ends when its parent has gone, however that went."""

    def watch(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()


if __name__ == "__main__":
    _serve(sys.argv[1])
