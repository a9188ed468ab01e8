"""Files cut or with flipped bytes: named, left out, never deleted; what can be read stays right."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from cascade_otel.records import DAY_NS
from cascade_otel.storage import health, manifest
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.exporter import SegmentExporter
from cascade_otel.storage.manifest import BrokenManifestError
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store, unreadable
from tests.storage import torture_spans
from tests.storage.storage_samples import NOW_NS
from tests.storage.torture_spans import Batch

CASES = 200 if os.environ.get("CASCADE_OTEL_TORTURE") else 20
TODAY = NOW_NS // DAY_NS
HOURS = ((TODAY - 1) * 24, (TODAY + 1) * 24)
KINDS = ("s-", "rows-", "sums-", "cells-", "sites-", "checks-", "checked-", manifest.NAME)
LABELS = 2


class Answers(NamedTuple):
    """What a reader says: spans, how many of them are no labels, and the same by sums and by cells."""

    spans: list[int]
    calls: int
    in_sums: int
    in_cells: int
    labelled: int


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store of two days with merged files of several generations, their parts, and small segments."""
    root = tmp_path_factory.mktemp("whole") / "store"
    with Compactor(Store(root), grace_s=0) as compactor:
        for writer, count in enumerate((32, 24, 6)):
            for number in range(count):
                SegmentExporter(root).export(torture_spans.readable(Batch(writer, number), TODAY))
            if writer < 2:
                for _ in range(2):
                    compactor.run(NOW_NS, torture_spans.KEPT_DAYS)
    return root


def answers(store: Store) -> Answers:
    """What is asked of a store before and after."""
    with open_reader(store) as reader:
        rows = reader.rows(None, *HOURS, kind=None, columns=["span_id", "kind"])
        return Answers(
            sorted(map(int, rows["span_id"])),
            int((rows["kind"] != LABELS).sum()),
            int(reader.sums(*HOURS)["n"].sum()),
            int(reader.cells(*HOURS, "latency")["n"].sum()),
            len(reader.labels(*HOURS)),
        )


def cut(content: bytes, dice: random.Random) -> bytes:
    """What is before a random byte."""
    return content[: dice.randrange(len(content))]


def flipped(content: bytes, dice: random.Random) -> bytes:
    """With up to three bytes changed."""
    changed = bytearray(content)
    for _ in range(dice.randrange(1, 4)):
        changed[dice.randrange(len(changed))] ^= dice.randrange(1, 256)
    return bytes(changed)


def own_spans(store: Store, path: Path) -> set[int]:
    """Spans that stand in this file of rows alone."""
    if not path.name.startswith(("s-", "rows-")):
        return set()
    others = [other for day in store.days() for other in store.live(day).rows() if other != str(path)]
    return _spans(str(path)).difference(*map(_spans, others))


def _spans(path: str) -> set[int]:
    found: set[int] = set(pq.read_table(path, columns=["span_id"], partitioning=None)["span_id"].to_pylist())
    return found


@pytest.mark.timeout(1800)
def test_a_cut_file_costs_its_own_rows_and_nothing_else(whole, tmp_path):
    dice, before = random.Random(1), answers(Store(whole))
    for case in range(CASES // 2):
        kind = KINDS[case % len(KINDS)]
        with damaged_store(whole, tmp_path, kind, cut, dice) as (store, path, own):
            left = sorted(set(before.spans) - own)
            labels = range(before.labelled + 1) if own or kind.startswith("check") else [before.labelled]
            for compacted in (False, True):
                if compacted:
                    compact(store, path)
                found, told = answers(store), f"{path.name} {compacted}"
                assert found.spans == left, told
                # Of rows that cannot be read the sums still can.
                calls = (found.calls, before.calls) if kind == "rows-" else (found.calls,)
                assert found.in_sums in calls, told
                assert found.in_cells in calls, told
                assert found.labelled in labels, told


@pytest.mark.timeout(1800)
def test_flipped_bytes_are_named_and_harm_nothing_but_their_own_file(whole, tmp_path):
    """Some still read as other values: named all the same, and merged into nothing."""
    dice, before = random.Random(2), answers(Store(whole))
    for case in range(CASES // 2):
        kind = KINDS[case % len(KINDS)]
        with damaged_store(whole, tmp_path, kind, flipped, dice) as (store, path, own):
            for compacted in (False, True):
                if compacted:
                    compact(store, path)
                found, told = answers(store), f"{path.name} {compacted}"
                assert set(found.spans) >= set(before.spans) - own, told
                if kind in ("rows-", manifest.NAME):
                    assert (found.in_sums, found.in_cells) == (before.in_sums, before.in_cells), told


def test_a_lost_manifest_costs_nothing(whole, tmp_path):
    """Every row stands in a file that is still there, maybe in several."""
    before, root = answers(Store(whole)), tmp_path / "store"
    shutil.copytree(whole, root)
    store = Store(root)
    for path in root.glob(f"day=*/{manifest.NAME}"):
        path.unlink()
    assert answers(store) == before
    compact(store, root)
    assert answers(store) == before


@contextlib.contextmanager
def damaged_store(
    whole: Path, folder: Path, kind: str, damage: Callable[[bytes, random.Random], bytes], dice: random.Random
) -> Iterator[tuple[Store, Path, set[int]]]:
    """A copy of the store in which one file is damaged and named; the file, and the spans it alone holds."""
    root = folder / "store"
    shutil.copytree(whole, root)
    store = Store(root)
    path = dice.choice(sorted(root.glob(f"day=*/{kind}*")))
    own = own_spans(store, path)
    path.write_bytes(damage(path.read_bytes(), dice))
    content = path.read_bytes()
    assert is_named(store, path)
    remarks = health.files.remarks(store, health.files.look(store), NOW_NS)
    assert str(path) in [remark.about.get("path") for remark in remarks if remark.is_wrong]
    yield store, path, own
    if own:
        assert content in [file.read_bytes() for file in root.glob("day=*/*")], path.name
    shutil.rmtree(root)


def compact(store: Store, damaged: Path) -> None:
    """Compacts: no day fails, and of the small segments only a damaged one is left."""
    with Compactor(store, grace_s=0) as compactor:
        for _ in range(2):
            assert compactor.run(NOW_NS).failed == {}, damaged.name
    left = [name for day in store.days() for name in store.live(day).small]
    assert left == ([str(damaged)] if damaged.name.startswith("s-") else []), damaged.name


def is_named(store: Store, path: Path) -> bool:
    """Whether the fault is told of this file."""
    if path.name != manifest.NAME:
        return str(path) in unreadable([str(path)])
    try:
        store.manifest(int(path.parent.name.removeprefix("day=")))
    except BrokenManifestError:
        return True
    return False
