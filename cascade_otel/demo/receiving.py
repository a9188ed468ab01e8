"""A receiver in a thread of this process, for the headless demo."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from cascade_otel.storage.receiving import receiver

HOST = "127.0.0.1"
START_S = 20.0


@contextmanager
def receiving(store_root: Path) -> Iterator[str]:
    """Receives into the store within the block, at the endpoint it gives (http://…), on a free port."""
    socket = receiver.bind(HOST, 0)
    config = uvicorn.Config(receiver.app(store_root), log_level="warning", access_log=False, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([socket],), name="receiver", daemon=True)
    thread.start()
    deadline = time.monotonic() + START_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise TimeoutError(f"the receiver did not start within {START_S:g} s")
        time.sleep(0.02)
    try:
        yield f"http://{HOST}:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_S)
