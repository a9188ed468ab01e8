"""The state file keeps what it was given, exactly, through threads, processes and kills."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel.records import SECOND_NS, Alert, Cause, Effect, Finding, UserError, Window
from cascade_otel.storage import state as state_module
from cascade_otel.storage.state import ATTEMPTS, Baseline, State, default_path
from cascade_otel.storage.state_json import from_json, to_json

FULL = Finding(
    task="brand <script> ✓\n",
    tier="small",
    stream="escalation_rate",
    state="drifting",
    hour=498_000,
    log_evidence=0.1 + 0.2,
    log_needed=9.25,
    reference=Window(1, 2, 3, 4),
    current=Window(5, 6, 7, 8),
    since_hour=497_990,
    cause=Cause("model", Effect(0.1, -1e-300, 1 / 3), Effect(1, 2, 3), Effect(0.0, -0.0, 5), "note"),
    cost_per_day=1.25,
)
ALERT = Alert(
    "f1", "firing", "brand", "small", "escalation_rate", 10, 20, 30, FULL, also=("confidence_shape",)
)


@pytest.fixture
def state(tmp_path: Path) -> State:
    with State(tmp_path / "state.sqlite") as opened:
        yield opened


@pytest.mark.parametrize("record", [FULL, Finding("t", "s", "no_data", "no_data", 1), ALERT])
def test_a_record_comes_back_equal(record):
    again = from_json(type(record), to_json(record))
    assert again == record
    assert repr(again) == repr(record)


@given(st.floats(allow_nan=False), st.text(), st.none() | st.floats(allow_nan=False))
def test_every_float_and_text_comes_back(evidence, task, cost):
    finding = Finding(task, "s", "escalation_rate", "quiet", 1, log_evidence=evidence, cost_per_day=cost)
    assert from_json(Finding, to_json(finding)) == finding


def test_a_record_of_another_version_can_be_read():
    text = (
        to_json(FULL)
        .replace('"note":"note"', '"note":"note","later":{"x":1}')
        .replace('"currency":"USD",', "")
    )
    assert from_json(Finding, text) == FULL


def test_findings_are_replaced(state):
    state.put_findings([FULL, replace(FULL, stream="confidence_shape", log_evidence=math.nan)])
    state.put_findings([replace(FULL, hour=498_001, log_evidence=2.0, state="quiet")])
    assert state.findings() == [replace(FULL, hour=498_001, log_evidence=2.0, state="quiet")]


def test_an_alert_is_replaced_by_its_fingerprint(state):
    state.put_alert(ALERT)
    state.put_alert(replace(ALERT, fingerprint="f0", opened_ns=5))
    state.put_alert(replace(ALERT, status="resolved", resolved_ns=99))
    assert [alert.fingerprint for alert in state.alerts()] == ["f0", "f1"]
    assert state.alerts("firing") == [replace(ALERT, fingerprint="f0", opened_ns=5)]
    assert state.alerts("resolved") == [replace(ALERT, status="resolved", resolved_ns=99)]


def test_a_baseline_is_replaced(state):
    for baseline in (Baseline("t", 1, 2, "accepted", 10), Baseline("t", 5, 6, "trailing", 30)):
        state.put_baseline(baseline)
    assert state.baseline("t") == Baseline("t", 5, 6, "trailing", 30)
    assert state.baseline("u") is None


def test_a_file_that_cannot_be_had_is_told_in_one_line(tmp_path):
    """A folder, and a path below a file."""
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "state.sqlite"):
        with pytest.raises(UserError, match=r"--state .* cannot be opened .* wanted") as error:
            State(path)
        assert "\n" not in str(error.value)


def test_a_message_waits_longer_after_each_failure_and_is_given_up_in_the_end(state):
    state.enqueue("f", "webhook", {"text": "τ"})
    state.enqueue("f", "webhook", {"text": "τ"})
    now, waits = 0, []
    while messages := state.due(now):
        [message] = messages
        assert message.body == {"text": "τ"}
        state.failed(message.id, now, "refused")
        before = now
        while not state.due(now) and now < before + 3601 * SECOND_NS:
            now += SECOND_NS
        waits.append((now - before) // SECOND_NS)
    assert waits[:4] == [5, 10, 20, 40]
    assert len(waits) == ATTEMPTS
    [message] = state.undelivered()
    assert (message.attempts, message.error) == (ATTEMPTS, "refused")


def test_a_delivered_message_is_not_due_and_may_be_sent_again_later(state):
    state.enqueue("f", "stdout", {"text": "a"})
    [message] = state.due(0)
    state.delivered(message.id)
    assert state.due(10**18) == []
    state.enqueue("f", "stdout", {"text": "a"})
    assert len(state.due(0)) == 1


def test_one_of_several_jobs_holds_the_lease(tmp_path):
    with State(tmp_path / "s") as one, State(tmp_path / "s") as other:
        assert one.lease("one", 60, 0)
        assert not other.lease("other", 60, 59 * SECOND_NS)
        assert one.lease("one", 60, 59 * SECOND_NS)
        assert not other.lease("other", 60, 118 * SECOND_NS)
        assert other.lease("other", 60, 119 * SECOND_NS)
        other.release("other")
        assert one.lease("one", 60, 120 * SECOND_NS)


def test_ticks_are_remembered(state):
    assert state.last_tick("drift") is None
    state.tick("drift", 5)
    state.tick("drift", 9)
    assert state.last_tick("drift") == 9


def test_an_exception_takes_back_what_was_written_together(state):
    def alert_and_message() -> None:
        with state.together():
            state.put_alert(ALERT)
            state.enqueue("f1", "webhook", {})
            raise KeyError

    with pytest.raises(KeyError):
        alert_and_message()
    assert (state.alerts(), state.due(0)) == ([], [])


def test_threads_and_connections_take_turns(tmp_path):
    def work(name: str) -> None:
        with State(tmp_path / "s") as own:
            for index in range(25):
                own.enqueue(name, "sink", {"index": index})
                shared.tick(name, index)

    with State(tmp_path / "s") as shared:
        threads = [threading.Thread(target=work, args=(f"w{index}",)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(shared.due(0)) == 100
        assert [shared.last_tick(f"w{index}") for index in range(4)] == [24] * 4


def test_a_killed_job_leaves_whole_transactions(tmp_path):
    """Alert and message are written together: after kill -9 there are as many of one as of the other."""
    program = """
import itertools, sys
from dataclasses import replace
from cascade_otel.records import Alert, Finding
from cascade_otel.storage.state import State
finding = Finding("t", "s", "escalation_rate", "drifting", 1)
state = State(sys.argv[1])
start = len(state.alerts())
for i in itertools.count(start):
    with state.together():
        state.put_alert(Alert(str(i), "firing", "t", "s", "escalation_rate", 1, i, 1, finding))
        state.enqueue(str(i), "sink", {})
    print(i, flush=True)
"""
    said = -1
    for _ in range(3):
        job = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True
        )
        said = int(job.stdout.readline())
        time.sleep(0.05)
        os.kill(job.pid, signal.SIGKILL)
        said = max(said, *(int(line) for line in job.communicate()[0].splitlines() if line.strip()), said)
        with State(tmp_path / "s") as state:
            alerts, messages = state.alerts(), state.due(0)
            assert len(alerts) == len(messages) >= said + 1


def test_a_file_that_is_something_else_is_named(tmp_path):
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match=r"state\.sqlite is no state file"):
        State(path)
    assert path.read_bytes() == b"not a database" * 100


def test_a_file_of_a_later_version_is_left_alone(tmp_path, monkeypatch):
    State(tmp_path / "s").close()
    monkeypatch.setattr(state_module, "UPGRADES", ())
    with pytest.raises(UserError, match=r"has version \d+; wanted: at most 0"):
        State(tmp_path / "s")


def test_the_state_lies_beside_the_segments(tmp_path):
    assert default_path(tmp_path) == tmp_path / "state.sqlite"
