"""Compaction: every span once, parts that say what the rows say, and nothing a reader could miss."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cascade_otel.records import DAY_NS, HOUR_NS
from cascade_otel.storage import compaction, files, merging, parts, segments
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.manifest import NAME, BrokenManifestError, LaterManifestError, Manifest, decoded
from cascade_otel.storage.segments import Store
from tests.storage.storage_samples import DAY, NOW_NS, rows

NEXT_DAY_NS = (DAY + 1) * DAY_NS + 2 * HOUR_NS


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def compacted(store, now_ns=NOW_NS, keep_days=None, grace_s=0.0):
    with Compactor(store, grace_s) as compactor:
        return compactor.run(now_ns, keep_days)


def paths(store):
    return [path for day in store.days() for path in store.live(day).rows()]


def asked(store, sql):
    with files.connect(store) as connection:
        return connection.execute(sql).fetchall()


def span_ids(store):
    return sorted(span for (span,) in asked(store, f"SELECT span_id FROM {files.relation(paths(store))}"))


def entries(store):
    return [entry for day in store.days() for entry in store.live(day).merged]


def assert_parts_are_those_of_the_rows(store):
    source = files.relation(entry.rows for entry in entries(store))
    counts = ", ".join(f"sum({name})" for name in parts.COUNTS)
    questions = {
        "sums": f"SELECT site, hour, {counts}, max(last_threshold) FROM {{}} GROUP BY ALL ORDER BY ALL",
        "cells": "SELECT measure, site, bucket_hour, cell, sum(n), sum(decided), sum(escalated) "
        "FROM {} GROUP BY ALL ORDER BY ALL",
        "sites": f"SELECT DISTINCT site, {', '.join(parts.SITE_NAMES)} FROM {{}} ORDER BY ALL",
    }
    for kind, question in questions.items():
        kept = files.relation(getattr(entry, kind) for entry in entries(store))
        assert asked(store, question.format(kept)) == asked(
            store, question.format(f"({getattr(parts, kind)(source)})")
        )


def test_every_row_is_kept_once_whatever_was_repeated(store):
    tables = [rows(50, seed=seed, days=2) for seed in range(12)]
    wanted = sorted(int(span) for table in tables for span in table["span_id"].to_numpy())
    for index, table in enumerate(tables):
        store.append(table)
        if index % 3 == 0:
            store.append(tables[index // 2])
        if index % 4 == 1:
            compacted(store)
    done = compacted(store)
    assert done.rows > 0
    assert span_ids(store) == wanted
    assert all(not store.live(day).small for day in store.days())
    assert_parts_are_those_of_the_rows(store)


def test_a_pass_without_anything_new_changes_nothing(store):
    store.append(rows(40))
    compacted(store)
    folder = store.folder(DAY)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert compacted(store).rows == 0
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {name for name in before if not name.startswith("s-")} == set(after)
    assert all(after[name] == before[name] for name in after if name != NAME)
    assert compacted(store).rows == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == after


def test_sizes_stay_geometric_and_a_row_is_rewritten_few_times(store):
    written, known = 0, set()
    with Compactor(store, grace_s=0) as compactor:
        for seed in range(32):
            store.append(rows(20, seed=seed))
            compactor.run(NOW_NS)
            new = [entry for entry in entries(store) if entry.rows not in known]
            known |= {entry.rows for entry in new}
            written += sum(entry.n for entry in new)
    sizes = sorted(entry.n for entry in entries(store))
    assert sum(sizes) == 32 * 20
    assert all(larger > 2 * smaller for smaller, larger in itertools.pairwise(sizes))
    assert written <= 32 * 20 * 5


def test_no_merged_file_grows_beyond_the_largest(store, monkeypatch):
    monkeypatch.setattr(merging, "LARGEST", 150)
    for seed in range(8):
        store.append(rows(60, seed=seed))
        compacted(store)
    assert sum(entry.n for entry in entries(store)) == 480
    assert max(entry.n for entry in entries(store)) <= 150


def test_many_small_segments_are_taken_in_batches(store, monkeypatch):
    for seed in range(6):
        store.append(rows(30, seed=seed))
    monkeypatch.setattr(compaction, "BATCH_BYTES", 1)
    assert compacted(store).rows == 180
    assert len(span_ids(store)) == 180
    assert_parts_are_those_of_the_rows(store)


def test_rows_of_one_task_lie_together(store):
    store.append(rows(300, seed=1))
    store.append(rows(300, seed=2))
    compacted(store)
    [entry] = entries(store)
    tasks = pq.read_table(entry.rows, partitioning=None)["task"].to_pylist()
    assert tasks == sorted(tasks)


def test_what_was_merged_stays_a_while_for_those_who_have_listed_it(store, monkeypatch):
    [name] = store.append(rows(10))
    compacted(store, grace_s=30.0)
    assert (store.folder(DAY) / name).exists()
    assert store.live(DAY).small == ()
    later = time.time() + 31
    monkeypatch.setattr(time, "time", lambda: later)
    compacted(store, grace_s=30.0)
    assert not (store.folder(DAY) / name).exists()
    assert store.manifest(DAY).consumed == {}


def test_files_of_a_pass_that_was_killed_before_it_published_are_deleted(store):
    store.append(rows(10))
    compacted(store)
    for kind in ("rows", "sums", "cells", "sites", "checks", "checked"):
        (store.folder(DAY) / f"{kind}-0123.parquet").write_bytes(b"half")
    store.append(rows(10, seed=2))
    compacted(store)
    assert not list(store.folder(DAY).glob("*-0123.parquet"))
    assert len(span_ids(store)) == 20


@pytest.mark.parametrize("harm", ["cut", "flipped", "missing"])
def test_a_broken_manifest_costs_no_row_and_is_made_anew(store, harm):
    for seed in range(3):
        store.append(rows(30 * (seed + 1), seed=seed))
        compacted(store, grace_s=30.0)
    store.append(rows(5, seed=9))
    before, path = span_ids(store), store.folder(DAY) / NAME
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-40] if harm == "cut" else content.replace(b"rows-", b"rows_", 1))
    assert store.live(DAY).merged == ()
    repeated = span_ids(store)
    assert set(repeated) == set(before)
    assert len(repeated) > len(before)
    compacted(store)
    assert span_ids(store) == before
    assert len(entries(store)) == 1
    compacted(store)
    assert span_ids(store) == before
    assert_parts_are_those_of_the_rows(store)


def test_an_unreadable_segment_is_left_and_the_others_are_merged(store):
    [torn] = store.append(rows(30, seed=1))
    store.append(rows(30, seed=2))
    path = store.folder(DAY) / torn
    path.write_bytes(path.read_bytes()[:-100])
    assert compacted(store).rows == 30
    assert compacted(store).rows == 0
    assert path.exists()
    assert [Path(small).name for small in store.live(DAY).small] == [torn]


@pytest.mark.parametrize("kind", ["small", "merged"])
def test_a_flipped_byte_does_not_spread_into_merged_files(store, kind):
    store.append(rows(30, seed=1))
    if kind == "merged":
        compacted(store)
    [path] = map(Path, paths(store))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    store.append(rows(40, seed=2))
    assert compacted(store).rows == 40
    compacted(store)
    assert path.exists()
    assert str(path) in segments.damaged(paths(store))
    assert 40 in [entry.n for entry in entries(store)]


def test_a_segment_of_a_later_version_is_left_for_a_version_that_knows_it(store):
    table = rows(10)
    later = table.append_column("tone", table["task"]).replace_schema_metadata({"cascade_otel.schema": "9"})
    store.append(table)
    pq.write_table(later, store.folder(DAY) / "s-1-later.parquet")
    assert compacted(store).rows == 10
    assert [Path(small).name for small in store.live(DAY).small] == ["s-1-later.parquet"]


def test_a_merged_file_that_has_become_unreadable_is_neither_merged_nor_deleted(store):
    store.append(rows(30, seed=1))
    compacted(store)
    [entry] = entries(store)
    Path(entry.rows).write_bytes(Path(entry.rows).read_bytes()[:-100])
    store.append(rows(40, seed=2))
    assert compacted(store).rows == 40
    compacted(store)
    assert Path(entry.rows).exists()
    assert sorted(one.n for one in entries(store)) == [30, 40]


def test_old_days_are_dropped_whole(store):
    store.append(rows(90, days=3))
    compacted(store, NOW_NS + 3 * DAY_NS)
    assert compacted(store, NOW_NS + 3 * DAY_NS, keep_days=1).dropped == (DAY,)
    assert store.days() == [DAY + 1, DAY + 2]
    assert list(store.tmp.iterdir()) == []


def test_temporary_files_of_processes_long_dead_are_swept(store):
    old, new = store.tmp / "s-1-2-old-0.parquet", store.tmp / "s-1-2-new-0.parquet"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1.0, 1.0))
    compacted(store)
    assert (old.exists(), new.exists()) == (False, True)


def test_two_do_not_compact_at_once(store):
    store.append(rows(10))
    with Store(store.root).locked() as alone:
        assert alone
        assert compacted(store).rows == 0
    assert compacted(store).rows == 10


def test_a_day_that_fails_is_left_as_it_was_and_the_others_are_compacted(store, monkeypatch):
    store.append(rows(60, days=2))
    write = merging.Merging._write

    def failing(self, kind, token, sql):
        if kind == "cells" and self._day == DAY:
            raise OSError(28, "No space left on device")
        return write(self, kind, token, sql)

    monkeypatch.setattr(merging.Merging, "_write", failing)
    before = span_ids(store)
    done = compacted(store)
    assert set(done.failed) == {DAY}
    assert (len(store.live(DAY).small), len(store.live(DAY + 1).merged)) == (1, 1)
    assert span_ids(store) == before
    assert list(store.tmp.iterdir()) == []
    monkeypatch.undo()
    assert compacted(store).failed == {}
    assert span_ids(store) == before


def test_a_day_that_is_over_becomes_one_file_once(store):
    for count in (700, 100, 20):
        store.append(rows(count, seed=count))
        compacted(store)
    assert len(entries(store)) == 3
    compacted(store, NEXT_DAY_NS)
    assert [entry.n for entry in entries(store)] == [820]
    store.append(rows(20, seed=5))
    compacted(store, NEXT_DAY_NS + HOUR_NS)
    compacted(store, NEXT_DAY_NS + 2 * HOUR_NS)
    assert sorted(entry.n for entry in entries(store)) == [20, 820]
    assert_parts_are_those_of_the_rows(store)


def test_a_manifest_names_what_is_in_it(store):
    store.append(rows(50))
    compacted(store)
    [entry] = store.manifest(DAY).files
    assert entry.n == 50
    assert sum(spans for spans, *_ in entry.services.values()) == 50
    assert set(entry.services) == {"shop", "search", ""}
    ended_ns = rows(50)["start_ns"].to_numpy() + rows(50)["duration_ns"].to_numpy()
    assert max(ended for *_, ended in entry.services.values()) == ended_ns.max()
    assert max(began for _, began, _ in entry.services.values()) == max(rows(50)["start_ns"].to_pylist())


def test_a_manifest_is_read_back_as_it_was_written_and_a_later_one_is_told():
    said = Manifest(checked=("checked-1.parquet",), consumed={"s-1.parquet": 2.5}, looked_hour=7)
    assert decoded(said.encoded()) == said
    with pytest.raises(LaterManifestError, match="later version"):
        decoded(said.encoded().replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(BrokenManifestError, match="checksum"):
        decoded(said.encoded().replace(b"2.5", b"2.6"))
