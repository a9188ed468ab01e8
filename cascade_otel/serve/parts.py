"""Child processes that are kept running, and that never outlive the process that started them."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

STOP_S = 4.0
"""How long a part has for stopping by itself."""
FIRST_WAIT_S, LONGEST_WAIT_S, WELL_AFTER_S = 1.0, 30.0, 60.0
"""Waits before a part is started again double, until one has run well for so long."""
MISTAKE = 2
"""Exit code of a part that cannot run as it was asked to."""
PARENT = "CASCADE_OTEL_PARENT_PIPE"

# A proxy of the environment reaches other machines, not what listens on this one; and a certificate names
# the host that others know, not the address at which a part is asked from here.
_unnamed = ssl.create_default_context()
_unnamed.check_hostname, _unnamed.verify_mode = False, ssl.CERT_NONE
_direct = urllib.request.build_opener(
    urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_unnamed)
)


@dataclass
class Part:
    """A process to be kept running: its command, its environment beside ours, and whether it answers."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    is_ready: Callable[[], bool]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    wait_s: float = FIRST_WAIT_S
    ready: bool = field(default=False)


class Parts:
    """Starts parts, starts again those that die, and stops all of them when the block is left.

    A context manager; ``look`` has to be called several times a second. Should this process be killed,
    its parts notice that a pipe from it has closed, and leave (see ``leave_with_parent``).
    """

    def __init__(self, parts: Sequence[Part]):
        self._parts = parts
        self._said: set[str] = set()
        self.mistaken: str | None = None
        """Name of the part that ended because it cannot run as it was asked to."""

    def __enter__(self) -> Parts:
        self._read_end, self._write_end = os.pipe()
        for part in self._parts:
            self._start(part)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running = [part.process for part in self._parts if part.process]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_S
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            _kill_group(process.pid)
            process.wait()
        os.close(self._write_end)
        os.close(self._read_end)

    def look(self) -> None:
        """Notices what ended and what became ready; starts what is due."""
        now = time.monotonic()
        for part in self._parts:
            if part.process is None:
                if now >= part.due:
                    self._start(part)
            elif (code := part.process.poll()) is not None:
                self._ended(part, code, now)
            elif not part.ready:
                part.ready = part.is_ready()

    def newly_ready(self) -> list[str]:
        """Parts that answer for the first time since this was last asked."""
        new = [part.name for part in self._parts if part.ready and part.name not in self._said]
        self._said.update(new)
        return new

    def _start(self, part: Part) -> None:
        part.started, part.ready = time.monotonic(), False
        part.process = subprocess.Popen(
            part.command,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **part.environment, PARENT: str(self._read_end)},
            pass_fds=[self._read_end],
            start_new_session=True,
        )

    def _ended(self, part: Part, code: int, now: float) -> None:
        assert part.process is not None
        _kill_group(part.process.pid)
        part.process = None
        if code == MISTAKE:
            self.mistaken = part.name
            return
        if now - part.started >= WELL_AFTER_S:
            part.wait_s = FIRST_WAIT_S
        print(
            f"{part.name} ended ({_words(code)}); it is started again in {part.wait_s:g} s", file=sys.stderr
        )
        part.due = now + part.wait_s
        part.wait_s = min(part.wait_s * 2, LONGEST_WAIT_S)


def leave_with_parent() -> None:
    """In a part: stops this process as SIGTERM does, and in the end at once, when its parent is gone."""
    pipe = os.environ.pop(PARENT, None)
    if pipe is None:
        return

    def wait() -> None:
        os.read(int(pipe), 1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_S)
        os._exit(1)

    threading.Thread(target=wait, name="leave with parent", daemon=True).start()


def answers(url: str) -> bool:
    """Whether a GET of the address is answered well, within half a second."""
    try:
        with _direct.open(url, timeout=0.5) as response:
            return bool(response.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def _kill_group(leader: int) -> None:
    # What a part has started itself, a report in the making, goes with it.
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def _words(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
