import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cascade_otel import job
from cascade_otel.policy import Policy
from cascade_otel.storage.state import State


def test_the_job_looks_until_it_is_stopped_and_survives_a_bad_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop, looks = threading.Event(), []

    def tick(*given: Any, **more: Any) -> None:
        looks.append(more["owner"])
        if len(looks) == 1:
            raise RuntimeError("the disk is on fire")
        stop.set()

    monkeypatch.setattr(job, "tick", tick)
    thread = threading.Thread(
        target=job.run_forever, args=(job.Options(tmp_path / "store", every_s=0.01), stop)
    )
    with caplog.at_level(logging.ERROR):
        thread.start()
        thread.join(20)
    assert not thread.is_alive()
    assert len(looks) == 2
    assert len(set(looks)) == 1
    assert "the disk is on fire" in caplog.text
    assert "(1 since its start)" in caplog.text


def test_a_policy_that_breaks_while_it_runs_is_logged_and_the_last_one_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, stop, held = tmp_path / "cascade.toml", threading.Event(), []
    path.write_text("[alerts]\npages_per_year = 3")

    def tick(store: Path, state: Path, policy: Policy, **more: Any) -> None:
        held.append(policy.page_budget.pages)
        path.write_text("[alerts" if len(held) == 1 else "[alerts]\npages_per_year = 5")
        if len(held) == 3:
            stop.set()

    monkeypatch.setattr(job, "tick", tick)
    thread = threading.Thread(
        target=job.run_forever, args=(job.Options(tmp_path / "s", policy=path, every_s=0.01), stop)
    )
    with caplog.at_level(logging.ERROR):
        thread.start()
        thread.join(20)
    assert held == [3.0, 3.0, 5.0]
    assert "is not TOML" in caplog.text


def test_sigterm_ends_the_job_and_its_lease(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cascade_otel import job; "
        "job.run_forever(job.Options(Path(sys.argv[1]), state=Path(sys.argv[2])))"
    )
    state_path = tmp_path / "state.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "store"), str(state_path)],
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if state_path.exists():
                with State(state_path) as state:
                    if state.last_tick(job.JOB):
                        break
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    with State(state_path) as state:
        assert state.last_tick(job.JOB) is not None
        assert state.lease("another", 1, time.time_ns())
