"""``doctor`` looks at every file of a store, and says of each that is not as it should be what to do."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cascade_otel.records import DAY_NS
from cascade_otel.storage import health, manifest
from cascade_otel.storage.compaction import LEFT_S, Compactor
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from tests.storage.storage_samples import DAY, NOW_NS, rows


@pytest.fixture
def store(tmp_path) -> Store:
    """A day of two merged files and a small one."""
    made = Store(tmp_path)
    made.append(rows(200, seed=1))
    compact(made)
    made.append(rows(20, seed=2))
    return made


def compact(store: Store) -> None:
    with Compactor(store, grace_s=0) as compactor:
        compactor.run(NOW_NS)


def wrong(store: Store, now_ns: int = NOW_NS) -> list[health.Remark]:
    """What is wrong with the files; the made-up spans say other things too."""
    report = health.report(store, store.root / "state.sqlite", now_ns)
    return [remark for remark in report.remarks if remark.is_wrong and remark.check != "clock"]


def said_of(store: Store) -> manifest.Manifest:
    said = store.manifest(DAY)
    assert said is not None
    return said


def test_a_store_as_it_should_be_is_well(store):
    assert wrong(store) == []
    report = health.report(store, store.root / "state.sqlite", NOW_NS)
    (size,) = [remark.about for remark in report.remarks if remark.check == "size"]
    assert (size["rows"], size["days"], size["files"]) == (220, 1, 2)
    assert size["bytes"] == sum(path.stat().st_size for path in store.folder(DAY).iterdir())


@pytest.mark.parametrize("index", [0, 1])
def test_a_broken_file_is_named_with_what_to_do(store, index):
    broken = Path(store.live(DAY).rows()[index])
    broken.write_bytes(broken.read_bytes()[:-20])
    (remark,) = wrong(store)
    assert remark.check == "unreadable"
    assert remark.about["path"] == str(broken)
    assert remark.text.startswith(f"cannot be read and is left out: {broken} (")


def test_a_file_broken_inside_is_named_beside_one_that_is_cut_short(store):
    inside = Path(store.live(DAY).small[0])
    content = bytearray(inside.read_bytes())
    content[40] ^= 0xFF
    inside.write_bytes(content)
    torn = store.folder(DAY) / "s-torn.parquet"
    torn.write_bytes(b"PAR1 torn")
    assert {remark.about["path"] for remark in wrong(store)} == {str(inside), str(torn)}


def test_of_a_broken_part_nothing_is_lost(store):
    part = store.folder(DAY) / said_of(store).files[0].sums
    part.write_bytes(b"PAR1")
    (remark,) = wrong(store)
    assert "Nothing is lost" in remark.text


def test_files_of_others_and_of_a_later_version_are_named(store):
    other, later = (store.folder(DAY) / f"s-{name}.parquet" for name in ("other", "later"))
    pq.write_table(pa.table({"x": [1]}), other)
    made = rows(1)
    pq.write_table(made.replace_schema_metadata({"cascade_otel.schema": "9"}), later)
    (store.folder(DAY) / "notes.txt").write_text("x")
    told = {remark.about.get("path") or remark.about["paths"][0]: remark.text for remark in wrong(store)}
    assert "not a segment of cascade-otel" in told[str(other)]
    assert told[str(later)].startswith("from a later version: ")
    assert told[str(store.folder(DAY) / "notes.txt")].startswith("not written by cascade-otel")


@pytest.mark.parametrize("content", [b"{", b"[]", None])
def test_a_manifest_that_is_broken_or_gone_is_named(store, content):
    path = store.folder(DAY) / manifest.NAME
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    (remark,) = wrong(store)
    assert remark.check == "manifest"
    assert str(path) in remark.text
    compact(store)
    assert wrong(store) == []


def test_a_manifest_of_a_later_version_is_named(store):
    path = store.folder(DAY) / manifest.NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    (remark,) = wrong(store)
    assert remark.text.endswith("Upgrade cascade-otel.")


def test_files_that_a_manifest_promises_and_are_gone_are_named(store):
    entry = said_of(store).files[0]
    (store.folder(DAY) / entry.cells).unlink()
    (remark,) = wrong(store)
    assert remark.check == "missing file"
    assert remark.about["missing"] == [str(store.folder(DAY) / entry.cells)]
    assert "Nothing is lost." in remark.text
    (store.folder(DAY) / manifest.NAME).unlink()
    compact(store)
    assert wrong(store) == []


@pytest.mark.parametrize("how", ["cut", "taken away"])
def test_of_broken_rows_it_says_what_figures_keep_and_says_it_once(store, how, caplog):
    rows_path = Path(store.live(DAY).merged[0].rows)
    if how == "cut":
        rows_path.write_bytes(rows_path.read_bytes()[:-20])
    else:
        rows_path.unlink()
    (remark,) = wrong(store)
    assert remark.about["path"] == str(rows_path)
    assert "Figures keep its 200 spans, by the sums beside it; they are missing where single" in remark.text
    assert caplog.text == ""
    with open_reader(store) as reader:
        hours = (DAY * 24, DAY * 24 + 24)
        assert (int(reader.sums(*hours)["n"].sum()), len(reader.rows(None, *hours, kind=None))) == (220, 20)
    assert str(rows_path) in caplog.text  # the log is silent during a report alone


def test_a_file_changed_so_that_it_still_reads_is_said_to_be_read(store):
    path = Path(store.live(DAY).small[0])
    pq.write_table(rows(5, seed=9), path)
    (remark,) = wrong(store)
    assert "It is read as it is now" in remark.text
    with open_reader(store) as reader:
        assert int(reader.sums(DAY * 24, DAY * 24 + 24)["n"].sum()) == 205


def test_a_file_that_was_given_up_counts_again_once_restored_as_it_says(store):
    """A pass without a manifest meets rows that cannot be read."""
    path = Path(store.live(DAY).merged[0].rows)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    (store.folder(DAY) / manifest.NAME).unlink()
    compact(store)
    (remark,) = wrong(store)
    (given_up,) = remark.about["paths"]
    assert "with 's-' in the place of 'broken-rows-' in its name" in remark.text
    Path(given_up.replace("broken-rows-", "s-")).write_bytes(whole)
    Path(given_up).unlink()
    compact(store)
    assert wrong(store) == []
    assert sum(entry.n for entry in store.live(DAY).merged) == 220


def test_a_file_with_other_rows_than_the_manifest_promises_is_named(store):
    said = said_of(store)
    promise = replace(said, files=(replace(said.files[0], n=201), *said.files[1:]))
    (store.folder(DAY) / manifest.NAME).write_bytes(promise.encoded())
    (remark,) = wrong(store)
    assert (remark.about["promised"], remark.about["found"]) == (201, 200)


def test_small_files_that_nobody_merges_are_named(store):
    for number in range(60):
        (name,) = store.append(rows(1, seed=number + 10))
        old = time.time() - 3 * 3600
        os.utime(store.folder(DAY) / name, (old, old))
    (remark,) = wrong(store)
    assert "60 small files wait to be merged, the oldest for 3.0 hours" in remark.text
    compact(store)
    assert wrong(store) == []


def test_what_killed_processes_left_is_named_once_it_is_old(store):
    left = store.tmp / "s-left.parquet"
    left.write_bytes(b"x")
    (store.tmp / "spill").mkdir()
    assert wrong(store) == []
    old = time.time() - LEFT_S - 60
    os.utime(left, (old, old))
    os.utime(store.tmp / "spill", (old, old))
    (remark,) = wrong(store)
    assert remark.about == {"paths": [str(left)]}


def test_it_says_when_the_disk_will_be_full(store, monkeypatch):
    free = namedtuple("free", "free")
    tomorrow = NOW_NS + DAY_NS
    (growth,) = (r for r in health.report(store, "none", tomorrow).remarks if r.check == "growth")
    a_day = growth.about["bytes_a_day"]
    assert a_day == sum(path.stat().st_size for path in store.folder(DAY).iterdir())
    assert not growth.is_wrong
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free(3 * a_day))
    room, growth = wrong(store, tomorrow)
    assert room.text.startswith(f"little room: {3 * a_day / 1e3:.1f} kB free")
    assert "full on 2026-09-08 if no day is dropped. Make room" in growth.text
