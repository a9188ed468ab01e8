"""``doctor`` says who sends, what was put aside and why, and which file is broken."""

from __future__ import annotations

from cascade_otel.records import HOUR_NS, SECOND_NS
from cascade_otel.storage import health, put_aside
from cascade_otel.storage.decode import PutAside
from cascade_otel.storage.segments import Store
from cascade_otel.storage.state import ATTEMPTS, State
from tests.storage.storage_samples import DAY, rows

LAST = (DAY * 24 + 5) * HOUR_NS


def said(store, state_path, now_ns=LAST) -> str:
    return "\n".join(health.lines(health.report(store, state_path, now_ns)))


def test_an_empty_store_says_what_to_do(tmp_path):
    text = said(Store(tmp_path), tmp_path / "state.sqlite")
    assert "0 rows of 0 days in 0 files" in text
    assert "No span has arrived yet. Point a service here: OTEL_EXPORTER_OTLP_ENDPOINT=" in text
    assert "The drift job has not run on this store." in text
    assert not (tmp_path / "state.sqlite").exists()


def test_it_says_when_each_service_was_last_heard(tmp_path):
    store = Store(tmp_path)
    store.append(
        rows(3, service=["shop", "shop", None], start_ns=[LAST - HOUR_NS, LAST - 90 * SECOND_NS, LAST])
    )
    text = said(store, tmp_path / "state.sqlite")
    assert "service shop: 2 spans, the last began 1 minute ago (2026-09-04 04:58:30 UTC)." in text
    assert "service (unnamed): 1 span, the last began 0 seconds ago" in text
    assert "3 rows of 1 day in 1 file" in text


def test_spans_in_the_future_are_named(tmp_path):
    """A clock that runs ahead; one that is seconds off is none."""
    store = Store(tmp_path)
    ahead = [LAST + 3 * 24 * HOUR_NS, LAST + HOUR_NS]
    store.append(rows(3, service=["shop", "shop", "search"], start_ns=[*ahead, LAST + 2 * SECOND_NS]))
    found = health.lines(health.report(store, tmp_path / "state.sqlite", LAST))
    assert found[0].startswith(
        "2 spans of service shop begin in the future, the last in 3 days (2026-09-07 05"
    )
    assert sum("begin in the future" in line for line in found) == 1
    assert "service shop: 2 spans, the last began in 3 days (2026-09-07 05:00:00 UTC)." in found


def test_it_says_why_the_last_span_was_put_aside(tmp_path):
    store = Store(tmp_path)
    put_aside.keep(tmp_path, [PutAside("trace id", "01", "search")])
    put_aside.keep(
        tmp_path, [PutAside("cascade.cost.amount: out of range", f"{n:02}", "shop") for n in range(3)]
    )
    report = health.report(store, tmp_path / "state.sqlite")
    assert {aside.reason: aside.spans for aside in report.put_aside} == {
        "trace id": 1,
        "cascade.cost.amount: out of range": 3,
    }
    assert (report.put_aside[0].last["span_id"], report.put_aside[0].last["service"]) == ("02", "shop")
    assert (
        "put aside: 3 spans, cascade.cost.amount: out of range; the last from 'shop' at 20"
        in health.lines(report)[0]
    )


def test_a_broken_file_is_named_with_what_to_do(tmp_path):
    store = Store(tmp_path)
    store.append(rows(10))
    broken = tmp_path / f"day={DAY}" / "s-broken.parquet"
    broken.write_bytes(b"PAR1 torn")
    report = health.report(store, tmp_path / "state.sqlite")
    assert [path for path, _ in report.unreadable] == [str(broken)]
    assert (report.files, report.rows) == (2, 10)
    assert health.lines(report)[0].startswith(f"cannot be read and is left out: {broken} (")


def test_it_says_when_jobs_ran_and_what_was_never_delivered(tmp_path):
    with State(tmp_path / "state.sqlite") as state:
        state.tick("drift", LAST - 3 * 24 * HOUR_NS)
        state.enqueue("f", "webhook", {})
        for _ in range(ATTEMPTS):
            state.failed(1, 0, "refused")
    text = said(Store(tmp_path), tmp_path / "state.sqlite")
    assert "given up: a message to webhook; its last error: refused" in text
    assert "job drift: last ran 3 days ago" in text
