"""What people and machines do to a store: files taken away, odd entries, clocks that are wrong."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from cascade_otel.records import DAY_NS, UserError
from cascade_otel.storage import compaction, merging, schema, segments
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.manifest import NAME, BrokenManifestError, decoded
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from tests.storage.storage_samples import DAY, NOW_NS, rows

SPAN = (DAY * 24, DAY * 24 + 48)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def compacted(store, now_ns=NOW_NS, keep_days=None):
    with Compactor(store, 0.0) as compactor:
        return compactor.run(now_ns, keep_days)


def counted(store):
    """Rows, and what the sums say there are."""
    with open_reader(store) as reader:
        return len(reader.rows(None, *SPAN, kind=None)), int(reader.sums(*SPAN)["n"].sum())


def entries(store):
    return [entry for day in store.days() for entry in store.live(day).merged]


def test_a_merged_file_that_was_taken_away_is_left_out_and_its_day_goes_on(store, caplog):
    store.append(rows(10))
    compacted(store)
    gone = Path(entries(store)[0].rows)
    shutil.move(gone, store.root / "elsewhere")
    store.append(rows(20, seed=2))
    assert counted(store) == (20, 30)
    assert compacted(store).failed == {}
    assert counted(store) == (20, 30)
    assert f"{gone} cannot be read and is left out: it is not there" in caplog.text
    shutil.move(store.root / "elsewhere", gone)
    assert counted(store) == (30, 30)


def test_a_part_that_was_taken_away_is_made_of_its_rows(store):
    store.append(rows(10))
    compacted(store)
    Path(entries(store)[0].sums).unlink()
    assert counted(store) == (10, 10)


def test_a_reader_that_lives_on_finds_a_file_that_was_restored(store, monkeypatch):
    store.append(rows(10))
    compacted(store)
    gone = Path(entries(store)[0].rows)
    with open_reader(store) as reader:
        shutil.move(gone, store.root / "elsewhere")
        assert len(reader.rows(None, *SPAN, kind=None)) == 0
        shutil.move(store.root / "elsewhere", gone)
        now = time.monotonic() + 301
        monkeypatch.setattr(time, "monotonic", lambda: now)
        assert len(reader.rows(None, *SPAN, kind=None)) == 10


def test_a_link_that_leads_nowhere_and_a_folder_among_segments_harm_nothing(store):
    store.append(rows(10))
    (store.folder(DAY) / "s-9-x.parquet").symlink_to("/nowhere")
    (store.folder(DAY) / "s-1-00000000.parquet").mkdir()
    assert counted(store) == (10, 10)
    done = compacted(store)
    assert (done.rows, done.failed) == (10, {})
    assert counted(store) == (10, 10)


@pytest.mark.parametrize("name", ["day=007", "day=٣", "day=-6", "day=x"])
def test_a_folder_with_an_odd_name_is_no_day(store, name):
    store.append(rows(10))
    (store.root / name).mkdir()
    (store.root / "day=12").write_text("a file")
    assert store.days() == [DAY]
    assert compacted(store).rows == 10
    assert counted(store) == (10, 10)


@pytest.mark.parametrize("name", ["a[b", "a?b", "a*b", "a'b", "a{b", "a\nb", "a%b", "ä b"])
def test_a_path_with_any_letters_is_no_pattern(tmp_path, name):
    store = Store(tmp_path / name)
    store.append(rows(10))
    assert counted(store) == (10, 10)
    assert compacted(store).rows == 10
    assert counted(store) == (10, 10)


def test_a_path_with_a_backslash_is_refused(tmp_path):
    with pytest.raises(UserError, match="has a backslash in it; wanted: a path without one"):
        Store(tmp_path / "a\\[b")
    assert list(tmp_path.iterdir()) == []


def test_a_start_before_1970_is_refused(store):
    table = rows(10).drop_columns(list(schema.DERIVED))
    columns = {name: table[name] for name in table.column_names}
    with pytest.raises(ValueError, match="a start before 1970"):
        store.publish([schema.rows(columns | {"start_ns": table["start_ns"].to_numpy() - NOW_NS - DAY_NS})])
    assert list(store.root.iterdir()) == [store.tmp]


def test_a_clock_that_is_wrong_by_a_year_drops_nothing(store):
    store.append(rows(90, days=3))
    assert compacted(store, NOW_NS + 400 * DAY_NS, keep_days=365).dropped == ()
    assert compacted(store, NOW_NS + 400 * DAY_NS, keep_days=1).dropped == (DAY,)
    assert compacted(store, NOW_NS - 400 * DAY_NS, keep_days=1).dropped == ()


def test_a_manifest_of_a_day_long_over_is_made_anew(store):
    store.append(rows(50))
    compacted(store)
    compacted(store)
    for harm in (Path.unlink, lambda path: path.write_bytes(b"{")):
        harm(store.folder(DAY) / NAME)
        assert compacted(store, NOW_NS + 9 * DAY_NS).rows == 50
        assert [entry.n for entry in entries(store)] == [50]
        assert compacted(store, NOW_NS + 9 * DAY_NS).rows == 0


def test_a_manifest_nested_beyond_reason_is_a_broken_one():
    with pytest.raises(BrokenManifestError):
        decoded(b"[" * 200_000)


def test_the_first_pass_of_a_day_takes_segments_in_batches_too(store, monkeypatch):
    for seed in range(6):
        store.append(rows(60, seed=seed))
    taken, take_in = [], merging.Merging.take_in
    monkeypatch.setattr(compaction, "BATCH_BYTES", 1)
    monkeypatch.setattr(merging, "LARGEST", 150)
    monkeypatch.setattr(
        merging.Merging, "take_in", lambda self, batch: taken.append(len(batch)) or take_in(self, batch)
    )
    compacted(store)
    assert taken == [1] * 6
    assert sum(entry.n for entry in entries(store)) == 360
    assert max(entry.n for entry in entries(store)) <= 150


def test_a_file_that_stays_unreadable_is_told_once(store, caplog):
    [torn] = store.append(rows(30))
    path = store.folder(DAY) / torn
    path.write_bytes(path.read_bytes()[:-100])
    with Compactor(store, 0.0) as compactor, caplog.at_level(logging.WARNING):
        for _ in range(4):
            compactor.run(NOW_NS)
    assert caplog.text.count(torn) == 1


def test_what_cannot_be_swept_costs_nothing_else(store, monkeypatch, caplog):
    def denied(path):
        raise PermissionError(13, "Permission denied")

    store.append(rows(60, days=3))
    monkeypatch.setattr(shutil, "rmtree", denied)
    done = compacted(store, NOW_NS + 2 * DAY_NS, keep_days=1)
    assert (done.dropped, done.failed) == ((DAY,), {})
    assert "cannot be removed: Permission denied" in caplog.text


def test_what_dead_processes_have_spilled_is_swept_once_it_is_old(store):
    died = subprocess.Popen(["true"])
    died.wait()
    names = {"old": f"spill-{died.pid}-1", "new": f"spill-{died.pid}-2", "in use": f"spill-{os.getpid()}-3"}
    folders = {which: store.tmp / name for which, name in names.items()}
    for folder in folders.values():
        folder.mkdir()
        (folder / "duckdb_temp_storage").write_bytes(b"half")
    for which in ("old", "in use"):
        os.utime(folders[which], (1.0, 1.0))
    compacted(store)
    assert [which for which, folder in folders.items() if folder.exists()] == ["new", "in use"]


class Disk:
    """What is asked of the disk, in order."""

    def __init__(self, monkeypatch):
        self.asked = []
        fsync, rename = os.fsync, Path.rename

        def synced(descriptor):
            self.asked.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
            fsync(descriptor)

        def renamed(path, target):
            self.asked.append(("rename", str(path), str(target)))
            return rename(path, target)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(Path, "rename", renamed)

    def assert_synced_before_and_after(self, target):
        [place] = [
            i for i, (what, *paths) in enumerate(self.asked) if what == "rename" and paths[1] == target
        ]
        source = self.asked[place][1]
        assert ("sync", source) in self.asked[:place]
        assert ("sync", str(Path(target).parent)) in self.asked[place:]


def test_a_segment_and_its_folder_are_synced_before_it_is_acknowledged(store, monkeypatch):
    disk = Disk(monkeypatch)
    [name] = store.append(rows(10))
    disk.assert_synced_before_and_after(str(store.folder(DAY) / name))
    assert ("sync", str(store.root)) in disk.asked


def test_merged_files_are_synced_before_a_manifest_names_them(store, monkeypatch):
    store.append(rows(10))
    disk = Disk(monkeypatch)
    compacted(store)
    manifest = str(store.folder(DAY) / NAME)
    disk.assert_synced_before_and_after(manifest)
    published = next(
        i for i, (what, *paths) in enumerate(disk.asked) if what == "rename" and paths[1] == manifest
    )
    before = disk.asked[:published]
    for path in entries(store)[0].names():
        [renamed] = [i for i, (what, *paths) in enumerate(before) if what == "rename" and paths[1] == path]
        assert ("sync", before[renamed][1]) in before[:renamed]
        assert ("sync", str(store.folder(DAY))) in before[renamed:]


def test_what_a_day_long_over_was_sealed_from_is_deleted_too(store, monkeypatch):
    """Also where its small segments have gone before, in the pass that sealed it."""
    for count in (700, 100, 20):
        store.append(rows(count, seed=count))
        compacted(store)
    with Compactor(store, 30.0) as compactor:
        compactor.run(NOW_NS + 9 * DAY_NS)
        assert store.manifest(DAY).consumed
        later = time.time() + 31
        monkeypatch.setattr(time, "time", lambda: later)
        compactor.run(NOW_NS + 9 * DAY_NS)
    [entry] = entries(store)
    assert {path.name for path in store.folder(DAY).iterdir()} == {NAME, *map(_name, entry.names())}


def _name(path):
    return Path(path).name


def test_merged_files_stay_a_while_too(store):
    for seed in (1, 2):
        store.append(rows(20, seed=seed))
        with Compactor(store, 30.0) as compactor:
            compactor.run(NOW_NS)
    first = [name for name in store.manifest(DAY).consumed if not name.startswith("s-")]
    assert len(first) == 4
    assert all((store.folder(DAY) / name).exists() for name in first)


def test_a_clock_that_has_stepped_back_delays_no_deletion_for_ever(store, monkeypatch):
    [name] = store.append(rows(10))
    later = time.time() + 1e6
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: later)
        with Compactor(store, 30.0) as compactor:
            compactor.run(NOW_NS)
    with Compactor(store, 30.0) as compactor:
        compactor.run(NOW_NS)
    assert not (store.folder(DAY) / name).exists()


def test_a_rows_file_that_no_manifest_names_and_that_is_broken_is_kept_under_another_name(store):
    for seed in (1, 2):
        store.append(rows(40 * seed * seed, seed=seed))
        compacted(store)
    compacted(store)
    broken = Path(max(entries(store), key=lambda entry: entry.n).rows)
    broken.write_bytes(broken.read_bytes()[:-100])
    (store.folder(DAY) / NAME).unlink()
    for _ in range(2):
        compacted(store)
    assert (store.folder(DAY) / f"broken-{broken.name}").exists()
    assert segments.damaged([str(store.folder(DAY) / f"broken-{broken.name}")])
