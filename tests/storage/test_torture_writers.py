"""Many writers beside compactors and retention: nobody hears of a lock or a folder that has gone."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from cascade_otel.records import DAY_NS
from cascade_otel.storage import segments
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from tests.storage import torture_spans
from tests.storage.storage_samples import DAY, KILLS, NOW_NS, rows
from tests.storage.torture_processes import Processes
from tests.storage.torture_roles import batches, lines
from tests.storage.torture_spans import KEPT_DAYS

TODAY = time.time_ns() // DAY_NS - 1
NOW = TODAY * DAY_NS + DAY_NS // 2
WRITERS, COMPACTORS, READERS = 6, 3, 1
LEAST = KILLS
"""Batches of each writer."""


def test_no_writer_reader_or_compactor_hears_of_another(tmp_path):
    root, logs = tmp_path / "store", tmp_path / "logs"
    logs.mkdir()
    with Processes("tests.storage.torture_roles", tmp_path / "errors") as processes:

        def start(role, function, count, **options):
            for me in range(count):
                named = {"root": str(root), "logs": str(logs), "me": me}
                processes.start(f"{role} {me}", function, **named, **options)

        start("writer", "write", WRITERS, way="store", ports=[], today=TODAY, pause_s=0.05)
        start("compactor", "compact", COMPACTORS, now_ns=NOW, grace_s=1, pause_s=0.1)
        start("reader", "read", READERS, today=TODAY, pause_s=0.1)
        processes.wait(lambda: min(acknowledged(logs)) >= LEAST and bool(lines(logs, "reader")), 120)
        processes.kill_all()
        said = processes.said()
    assert [line for line in lines(logs, "writer") if line["verb"] == "refused"] == [], said
    told = [*lines(logs, "compactor"), *lines(logs, "reader")]
    assert [line for line in told if line.get("error") or line.get("failed") or line.get("wrong")] == []
    assert sum(line.get("rows", 0) for line in told) > 0
    assert said == ""


def acknowledged(logs):
    """How many batches each writer got acknowledged."""
    counts = Counter(batch.writer for batch in batches(logs, "ack"))
    return [counts[me] for me in range(WRITERS)]


@pytest.mark.parametrize("steps", [1, 2])
def test_a_day_that_is_dropped_while_a_segment_is_stored_is_no_fault_of_the_writer(
    tmp_path, monkeypatch, steps
):
    """Retention takes the day's folder away before or after the rename into it."""
    store, sync = Store(tmp_path / "store"), segments.sync_folder
    left = [steps]

    def dropped_first(folder):
        left[0] -= 1
        if left[0] == 0 and store.days():
            with Compactor(store) as compactor:
                compactor.run(NOW_NS + (KEPT_DAYS + 1) * DAY_NS, KEPT_DAYS)
        sync(folder)

    monkeypatch.setattr(segments, "sync_folder", dropped_first)
    store.append(rows(5, day=DAY))
    monkeypatch.undo()
    with open_reader(store) as reader:
        assert len(reader.rows(None, DAY * 24, DAY * 24 + 24, kind=None)) in (0, 5)
    assert [path for path in store.tmp.iterdir() if path.is_file()] == []


def test_spans_of_one_batch_are_told_apart_from_those_of_another():
    """What the other tests of this kind rest upon."""
    seen = Counter(
        span.id
        for writer in range(3)
        for number in range(40)
        for span in torture_spans.spans(torture_spans.Batch(writer, number), TODAY)
    )
    assert set(seen.values()) == {1}
    assert {torture_spans.span_batch(span) for span in seen} == {
        torture_spans.Batch(writer, number) for writer in range(3) for number in range(40)
    }
