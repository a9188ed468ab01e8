"""``doctor`` says of a folder whether it is a store, what lies in it that should not, and if it can grow."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from cascade_otel import cli
from cascade_otel.storage import health
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.health.remarks import size
from cascade_otel.storage.segments import Store
from cascade_otel.storage.state import State
from tests.storage.storage_samples import DAY, NOW_NS, rows


def told(root: Path) -> dict[str, health.Remark]:
    """What is said of a folder, by check; the made-up spans say other things too."""
    report = health.report(Store(root, create=False), root / "state.sqlite", NOW_NS)
    return {remark.check: remark for remark in report.remarks if remark.check != "clock"}


def wrong(root: Path) -> list[str]:
    return [remark.check for remark in told(root).values() if remark.is_wrong]


@pytest.fixture
def store(tmp_path) -> Store:
    made = Store(tmp_path / "store")
    made.append(rows(20))
    return made


def segment(store: Store) -> Path:
    (path,) = store.live(DAY).small
    return Path(path)


def test_a_folder_of_something_else_is_no_store(tmp_path, capsys):
    (tmp_path / "readme.txt").write_text("hi")
    assert cli.main(["doctor", "--store", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"no store here: {tmp_path} has readme.txt, but no folder of a day")
    assert line.endswith(f"type: cascade-otel serve --store {tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["readme.txt"]


def test_a_tmp_with_something_else_in_it_makes_no_store(tmp_path):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "photo.jpg").touch()
    assert set(told(tmp_path)) == {"no store"}


def test_the_store_next_to_it_is_named(store):
    beside, inside = store.root.parent, store.folder(DAY)
    for folder in (beside, inside):
        assert f"type: cascade-otel doctor --store {store.root};" in told(folder)["no store"].text


@pytest.mark.parametrize("has_state", [False, True])
def test_a_store_without_spans_is_one(tmp_path, has_state):
    Store(tmp_path)
    if has_state:
        State(tmp_path / "state.sqlite").close()
    with Compactor(Store(tmp_path)) as compactor:
        compactor.run(NOW_NS)
    assert {"size", "service"} <= set(told(tmp_path))
    assert wrong(tmp_path) == []


def test_what_lies_beside_the_days_is_named(store):
    (store.root / "notes.txt").touch()
    (store.root / "lost+found").mkdir()
    remark = told(store.root)["foreign file"]
    assert not remark.is_wrong
    assert remark.about == {"paths": [str(store.root / "notes.txt")]}
    (store.root / "notes.txt").unlink()
    (store.root / "day=abc").mkdir()
    shutil.copy(segment(store), store.root)
    remark = told(store.root)["foreign file"]
    assert remark.is_wrong
    assert remark.about == {"paths": [str(store.root / "day=abc"), str(store.root / segment(store).name)]}


def test_a_day_without_files_counts_as_none(store):
    (store.root / "day=99999").mkdir()
    found = told(store.root)
    assert found["size"].about["days"] == 1
    assert found["empty day"].about == {"paths": [str(store.root / "day=99999")]}
    assert wrong(store.root) == []


@pytest.mark.parametrize("name", ["s-copy.parquet", "s-1-2-0123abcd-0-00000000.parquet"])
def test_a_copy_is_named_with_its_original(store, name):
    """Without a checksum in its name, or with one that does not hold."""
    copy = store.folder(DAY) / name
    shutil.copy(segment(store), copy)
    original = next(path for path in store.live(DAY).small if path != str(copy))
    found = told(store.root)
    assert found["copy"].about == {"path": str(copy), "original": original}
    assert "Spans that stand in both count once." in found["copy"].text
    assert wrong(store.root) == ["copy"]
    assert "40 rows in 2 files of 1 day" in found["size"].text
    assert "service shop: " in "".join(remark.text for remark in found.values())


def test_a_copy_in_another_day_is_said_to_count_twice(store):
    store.folder(DAY + 1).mkdir()
    shutil.copy(segment(store), store.folder(DAY + 1))
    assert "count its spans twice. Delete one" in told(store.root)["copy"].text


def test_a_file_with_a_name_of_its_own_is_named_where_no_original_is_left(store):
    copy = store.folder(DAY) / "s-copy.parquet"
    segment(store).rename(copy)
    remark = told(store.root)["renamed"]
    assert remark.about == {"paths": [str(copy)]}
    assert not remark.is_wrong


def test_a_store_that_cannot_be_written_is_named(store, monkeypatch):
    closed = {str(store.root), str(store.tmp)}
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) not in closed)
    remark = told(store.root)["read-only"]
    assert remark.is_wrong
    assert set(remark.about["paths"]) == closed
    assert "so nothing can be stored or compacted here by this user" in remark.text
    closed = {str(store.folder(DAY))}
    assert "so nothing of these days can be stored or compacted" in told(store.root)["read-only"].text


def test_on_a_full_disk_it_says_that_spans_are_refused_now(store, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("free", "free")(0))
    found = told(store.root)
    assert found["room"].text.startswith("no room: 0 bytes free. Spans are being refused now")
    assert "growth" not in found


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 byte"),
        (812, "812 bytes"),
        (21_449, "21.4 kB"),
        (999_960, "1.0 MB"),
        (57_620_600_000, "57.6 GB"),
        (2.5e15, "2,500.0 TB"),
    ],
)
def test_sizes_are_in_the_unit_that_fits(count, text):
    assert size(count) == text
