"""Segments: durable or not there, whoever writes, reads or dies."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cascade_otel.records import DAY_NS, UserError
from cascade_otel.storage import schema, segments
from cascade_otel.storage.manifest import Manifest, Merged
from cascade_otel.storage.segments import Store, unreadable
from tests.storage.storage_samples import DAY, rows

ROOT = Path(__file__).parents[2]


def said(consumed: str) -> Manifest:
    """That a segment was merged into rows-1.parquet."""
    entry = Merged("rows-1.parquet", "sums-1.parquet", "cells-1.parquet", "sites-1.parquet", None, 10, {})
    return Manifest(files=(entry,), consumed={consumed: 1.0})


def read_back(store: Store) -> pa.Table:
    return store.read(
        lambda days: pa.concat_tables(pq.read_table(path) for day in days for path in day.rows())
    )


def test_what_was_appended_is_read_back_equal(tmp_path):
    table = rows(100)
    store = Store(tmp_path / "store")
    [name] = store.append(table)
    [path] = store.live(DAY).small
    assert path == str(tmp_path / "store" / f"day={DAY}" / name)
    assert pq.read_table(path, partitioning=None).equals(table)
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


def test_a_segment_names_the_version_of_its_schema(tmp_path):
    store = Store(tmp_path)
    store.append(rows(1))
    [path] = store.live(DAY).small
    assert pq.read_schema(path).metadata[b"cascade_otel.schema"] == schema.VERSION.encode()


def test_a_table_over_midnight_becomes_a_segment_a_day(tmp_path):
    store = Store(tmp_path)
    assert len(store.append(rows(100, days=3))) == 3
    assert store.days() == [DAY, DAY + 1, DAY + 2]
    for day in store.days():
        [path] = store.live(day).small
        assert set(pq.read_table(path, partitioning=None)["start_ns"].to_numpy() // DAY_NS) == {day}


def test_an_empty_table_leaves_no_file(tmp_path):
    store = Store(tmp_path)
    assert store.append(schema.SCHEMA.empty_table()) == []
    assert store.publish([]) == 0
    assert store.days() == []


def test_a_table_in_another_schema_is_refused(tmp_path):
    with pytest.raises(ValueError, match="another schema arrived"):
        Store(tmp_path).append(pa.table({"kind": [1]}))


def test_publishing_sorts_by_task_and_keeps_every_row(tmp_path):
    store = Store(tmp_path)
    assert store.publish([rows(200, seed=1), rows(100, seed=2)]) == 300
    for path in store.live(DAY).small:
        tasks = pq.read_table(path, partitioning=None)["task"].to_pylist()
        assert tasks == sorted(tasks)
    assert read_back(store).num_rows == 300


def test_a_publication_that_fails_half_way_leaves_nothing(tmp_path):
    def tables():
        yield rows(100)
        raise KeyError("bad row")

    store = Store(tmp_path)
    with pytest.raises(KeyError):
        store.publish(tables())
    assert store.days() == []
    assert list(store.tmp.iterdir()) == []


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    """The limit on a file's size makes the write itself fail, as a full disk does."""
    program = """
import resource, signal, sys
from tests.storage.storage_samples import rows
from cascade_otel.storage.segments import Store
store, table = Store(sys.argv[1]), rows(20_000)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    store.append(table)
except OSError:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
    print(store.days(), list(store.tmp.iterdir()), len(store.append(table)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "[] [] 1\n", done.stderr


def test_a_forked_process_writes_under_names_of_its_own(tmp_path):
    """A prefork server inherits the store, and with it what would otherwise make names unique."""
    store = Store(tmp_path)
    names = [store._new_stem()]
    read, write = os.pipe()
    twin = Store.__new__(Store)
    twin.__dict__.update(store.__dict__)
    child = os.fork()
    if child == 0:
        os.write(write, twin._new_stem().encode())
        os._exit(0)
    os.waitpid(child, 0)
    names.append(os.read(read, 200).decode())
    assert names[0].split("-")[2] != names[1].split("-")[2]


def test_a_store_that_has_to_be_there_is_not_made(tmp_path):
    with pytest.raises(
        UserError, match=r"no store at .*nowhere; wanted: .* start one with: cascade-otel serve"
    ):
        Store(tmp_path / "nowhere", create=False)
    assert not (tmp_path / "nowhere").exists()


def test_the_manifest_says_what_replaced_what(tmp_path):
    store = Store(tmp_path)
    consumed, left = store.append(rows(10, seed=1)) + store.append(rows(10, seed=2))
    folder = tmp_path / f"day={DAY}"
    (folder / "rows-1.parquet").write_bytes((folder / consumed).read_bytes())
    (folder / "rows-orphan.parquet").write_bytes(b"of a merge that never ended")
    (folder / "manifest.json").write_bytes(said(consumed).encoded())
    live = store.live(DAY)
    assert [entry.rows for entry in live.merged] == [str(folder / "rows-1.parquet")]
    assert live.small == (str(folder / left),)


def test_the_folder_is_listed_before_the_manifest_is_read(tmp_path, monkeypatch):
    """A merge publishes its manifest and deletes what it consumed between the two: no row may be missing."""
    store = Store(tmp_path)
    [name] = store.append(rows(10))
    folder = tmp_path / f"day={DAY}"
    manifest = store.manifest

    def merge_happens_now(day):
        (folder / name).rename(folder / "rows-1.parquet")
        (folder / "manifest.json").write_bytes(said(name).encoded())
        monkeypatch.setattr(store, "manifest", manifest)
        return manifest(day)

    monkeypatch.setattr(store, "manifest", merge_happens_now)
    live = store.live(DAY)
    assert ([entry.rows for entry in live.merged], live.small) == ([str(folder / "rows-1.parquet")], ())


def test_a_read_starts_over_when_a_file_went_away(tmp_path):
    store = Store(tmp_path)
    store.append(rows(10, seed=1))
    store.append(rows(10, seed=2))
    asked = []

    def query(days):
        [day] = days
        asked.append(len(day.small))
        if len(asked) == 1:
            Path(day.small[0]).unlink()
        return sum(pq.read_metadata(path).num_rows for path in day.small)

    assert store.read(query) == 10
    assert asked == [2, 1]


def test_a_read_gives_up_on_a_store_that_never_rests(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "READ_TRIES", 3)

    def query(days):
        raise FileNotFoundError

    with pytest.raises(TimeoutError, match="files went away"):
        Store(tmp_path).read(query)


def test_a_torn_segment_is_named_wherever_it_was_cut(tmp_path):
    store = Store(tmp_path)
    store.append(rows(300, seed=1))
    [whole] = store.live(DAY).small
    content = Path(whole).read_bytes()
    dice = random.Random(0)
    for cut in [0, 1, len(content) - 1, *(dice.randrange(len(content)) for _ in range(16))]:
        torn = tmp_path / "torn.parquet"
        torn.write_bytes(content[:cut])
        assert set(unreadable([whole, str(torn)])) == {str(torn)}, cut


def test_a_strange_file_is_named(tmp_path):
    pq.write_table(pa.table({"kind": ["text"]}), tmp_path / "strange.parquet")
    assert unreadable([str(tmp_path / "strange.parquet")]) == {
        str(tmp_path / "strange.parquet"): "a Parquet file, but not a segment of cascade-otel"
    }


def test_a_store_that_cannot_be_is_told_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(UserError, match=r"--store .* cannot be made a folder .* wanted"):
            Store(root)
