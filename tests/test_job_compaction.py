"""Compaction and retention are part of every look of the drift job, and none of its failures ends one."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cascade_otel import job
from cascade_otel.policy import Policy
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.counters import Counters
from cascade_otel.storage.segments import Store
from tests.storage.storage_samples import DAY, NOW_NS, rows


def tick(store: Store, policy: Policy | None = None) -> None:
    job.tick(store.root, store.root / "state.sqlite", policy or Policy(), NOW_NS, sinks=None)


def test_a_look_compacts(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.append(rows(30, seed=1))
    store.append(rows(30, seed=2))
    tick(store)
    [entry] = store.live(DAY).merged
    assert (entry.n, store.live(DAY).small) == (60, ())


def test_a_look_drops_the_days_that_the_policy_keeps_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, before = Store(tmp_path / "store"), []
    monkeypatch.setattr(Counters, "drop_before", lambda self, hour: before.append(hour))
    for day in (DAY - 4, DAY - 3, DAY):
        store.append(rows(30, seed=day, day=day))
    tick(store)
    assert (store.days(), before) == ([DAY - 4, DAY - 3, DAY], [])
    tick(store, Policy(keep_days=2))
    assert (store.days(), before) == ([DAY], [(DAY - 2) * 24])


def test_a_store_that_cannot_be_compacted_is_looked_at_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def run(self: Compactor, *given: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Compactor, "run", run)
    store = Store(tmp_path / "store")
    store.append(rows(300, days=1))
    with caplog.at_level(logging.WARNING):
        found = job.tick(store.root, tmp_path / "state.sqlite", Policy(), NOW_NS, sinks=None)
    assert found.acted
    assert "was not compacted: [Errno 30] Read-only file system" in caplog.text


def test_between_looks_a_job_compacts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "COMPACT_EVERY_S", 0.02)
    store, stop = Store(tmp_path / "store"), threading.Event()
    options = job.Options(store.root, state=tmp_path / "state.sqlite", every_s=600.0)
    thread = threading.Thread(target=job.run_forever, args=(options, stop))
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "state.sqlite").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        for seed in (1, 2):
            store.append(rows(30, seed=seed))
            while store.live(DAY).small and time.monotonic() < deadline:
                time.sleep(0.02)
            assert sum(entry.n for entry in store.live(DAY).merged) == 30 * seed
    finally:
        stop.set()
        thread.join()
