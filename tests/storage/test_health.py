"""``doctor`` says who sends, what is wrong, what that means and what to do."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections import namedtuple

import pytest

from cascade_otel import cli
from cascade_otel.records import DAY_NS, HOUR_NS, SECOND_NS
from cascade_otel.storage import health
from cascade_otel.storage.counters import Counters
from cascade_otel.storage.otlp.decode import PutAside
from cascade_otel.storage.receiving import put_aside
from cascade_otel.storage.segments import Store
from cascade_otel.storage.state import ATTEMPTS, State
from tests.storage.metric_samples import request
from tests.storage.storage_samples import DAY, rows

LAST = (DAY * 24 + 5) * HOUR_NS


def look(root, now_ns=LAST) -> health.Health:
    return health.report(Store(root), root / "state.sqlite", now_ns)


def found(root, check: str, now_ns=LAST) -> list[health.Remark]:
    return [remark for remark in look(root, now_ns).remarks if remark.check == check]


def said(root, now_ns=LAST) -> str:
    return "\n".join(health.lines(look(root, now_ns)))


def test_an_empty_store_says_what_to_do(tmp_path):
    report = look(tmp_path)
    text = "\n".join(health.lines(report))
    assert "0 rows in 0 files of 0 days, 0 bytes." in text
    assert "No span has arrived yet. Point a service's OTEL_EXPORTER_OTLP_ENDPOINT at what" in text
    assert "://" not in text
    assert "The drift job has not run on this store." in text
    assert report.is_well
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


def test_it_says_when_each_service_was_last_heard(tmp_path):
    Store(tmp_path).append(
        rows(3, service=["shop", "shop", None], start_ns=[LAST - HOUR_NS, LAST - 90 * SECOND_NS, LAST])
    )
    text = said(tmp_path)
    assert "service shop: 2 spans, the last began 1 minute ago (2026-09-04 04:58:30 UTC)." in text
    assert "service (unnamed): 1 span, the last began 0 seconds ago" in text
    assert "3 rows in 1 file of 1 day" in text


def test_spans_in_the_future_are_named(tmp_path):
    """A clock that runs ahead; one that is seconds off is none."""
    ahead = [LAST + 3 * DAY_NS, LAST + HOUR_NS]
    Store(tmp_path).append(
        rows(3, service=["shop", "shop", "search"], start_ns=[*ahead, LAST + 2 * SECOND_NS])
    )
    report = look(tmp_path)
    lines = health.lines(report)
    assert lines[0].startswith(
        "2 spans of service shop begin in the future, the last in 3 days (2026-09-07 05"
    )
    assert sum("begin in the future" in line for line in lines) == 1
    assert not report.is_well


def test_it_says_why_the_last_span_was_put_aside(tmp_path):
    put_aside.keep(tmp_path, [PutAside("trace id", "01", "search")])
    cost = "cascade.cost.amount: out of range"
    put_aside.keep(tmp_path, [PutAside(cost, f"{n:02}", "shop") for n in range(3)], [{cost: 1_003}])
    now_ns = time.time_ns()
    remarks = found(tmp_path, "put aside", now_ns)
    assert {remark.about["reason"]: remark.about["spans"] for remark in remarks} == {
        "trace id": 1,
        cost: 1_003,
    }
    assert f"put aside: 1,003 spans, {cost}; the last at 20" in remarks[0].text
    assert "put aside: 1 span, trace id; the last from 'search' at 20" in remarks[1].text
    assert all(remark.is_wrong for remark in remarks)
    assert not any(remark.is_wrong for remark in found(tmp_path, "put aside", now_ns + 8 * DAY_NS))


def test_it_says_when_jobs_ran_and_what_was_never_delivered(tmp_path):
    with State(tmp_path / "state.sqlite") as state:
        state.tick("drift", LAST - 3 * DAY_NS)
        state.enqueue("f", "webhook", {})
        for _ in range(ATTEMPTS):
            state.failed(1, 0, "refused")
    text = said(tmp_path)
    assert "given up: a message to webhook; its last error: refused. Nobody was told." in text
    assert "job drift: last ran 3 days ago" in text
    assert "Start it: cascade-otel serve" in text


def test_a_job_that_runs_is_well(tmp_path):
    with State(tmp_path / "state.sqlite") as state:
        state.tick("drift", LAST - 40 * SECOND_NS)
    report = look(tmp_path)
    assert report.is_well
    assert "job drift: last ran 40 seconds ago" in "\n".join(health.lines(report))


@pytest.mark.parametrize("content", [b"no state " * 100, None])
def test_a_state_that_cannot_be_read_is_named(tmp_path, content):
    """Something else, or a file of a later version."""
    path = tmp_path / "state.sqlite"
    if content is None:
        State(path).close()
        with sqlite3.connect(path) as file:
            file.execute("PRAGMA user_version = 99")
        file.close()
    else:
        path.write_bytes(content)
    (remark,) = found(tmp_path, "state")
    assert remark.is_wrong
    assert str(path) in remark.text
    assert "move it away" in remark.text or "install a later" in remark.text


@pytest.mark.parametrize(
    ("free", "name", "advice"),
    [
        (0, "SQLITE_FULL", "Its disk is full: make room, and it can be read again."),
        (1 << 40, "SQLITE_BUSY", "Another process holds it"),
        (1 << 40, "SQLITE_IOERR", "move the file away: a new one is made"),
    ],
)
def test_of_a_state_that_fails_it_says_what_to_do(tmp_path, monkeypatch, free, name, advice):
    def fail(path):
        error = sqlite3.OperationalError("it failed")
        error.sqlite_errorname = name
        raise error

    (tmp_path / "state.sqlite").touch()
    monkeypatch.setattr("cascade_otel.storage.health.watching.State", fail)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("free", "free")(free))
    (remark,) = found(tmp_path, "state")
    assert remark.is_wrong
    assert "can be read or written: it failed." in remark.text
    assert advice in remark.text


def test_what_a_source_left_out_is_told_by_reason(tmp_path):
    Store(tmp_path)
    with Counters(tmp_path) as counters:
        for reason, n in (("queue", 12), ("value", 1)):
            told = {"metric": "cascade.telemetry.dropped", "cascade.drop.reason": reason}
            counters.add(request(n, start_ns=LAST - 1, time_ns=LAST, **told), LAST)
    queue, value = found(tmp_path, "left out")
    assert "service shop left out 12 items of telemetry in the last 24 hours, queue: spans came" in queue.text
    assert value.about == {"service": "shop", "reason": "value", "n": 1}
    assert found(tmp_path, "left out", LAST + 2 * DAY_NS) == []


def test_counters_that_cannot_be_read_are_named(tmp_path):
    Store(tmp_path)
    (tmp_path / "counters.sqlite").write_bytes(b"no counters " * 100)
    (remark,) = found(tmp_path, "counters")
    assert remark.is_wrong
    assert "Move the file away and start the receiver again" in remark.text


def test_a_tier_with_a_threshold_but_no_scores_is_named(tmp_path):
    def calls(tier: str, count: int, **columns: object):
        made = {
            "kind": [1] * count, "tier": [tier] * count, "purpose": [None] * count, "task": ["brand"] * count,
            "start_ns": [LAST - HOUR_NS] * count, "threshold": [0.8] * count, "escalated": [False] * count,
            "confidence_nano": [None] * count,
        }  # fmt: skip
        return rows(count, **(made | columns))

    store = Store(tmp_path)
    store.append(calls("small", 30))
    store.append(calls("middle", 30, confidence_nano=[None] * 29 + [10**8]))
    store.append(calls("large", 30, threshold=[None] * 30))
    store.append(calls("few", 3))
    (remark,) = found(tmp_path, "no scores")
    assert remark.about == {"tiers": [["brand", "small"]]}
    assert "small of brand (30 calls)" in remark.text


def test_the_exit_code_says_whether_something_is_wrong(tmp_path, capsys):
    assert cli.main(["doctor", "--store", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["well"]
    assert {remark["check"] for remark in told["remarks"]} == {"size", "service", "job"}
    (tmp_path / f"day={DAY}").mkdir()
    (tmp_path / f"day={DAY}" / "notes.txt").write_text("x")
    assert cli.main(["doctor", "--store", str(tmp_path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["well"]
    assert told["remarks"][0]["check"] == "foreign file"
    assert cli.main(["doctor", "--store", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("not written by cascade-otel, and not read: ")
