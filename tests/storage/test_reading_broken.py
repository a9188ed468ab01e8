"""A part that cannot be read is made of its rows; rows that cannot be read leave what was made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cascade_otel.records import DAY_NS
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.manifest import Merged
from cascade_otel.storage.reading.rollup import Reader, open_reader
from cascade_otel.storage.segments import Store
from tests.storage import slow_reference as slow
from tests.storage.storage_samples import DAY

START, END = DAY * 24, DAY * 24 + 24
TABLE = slow.hostile(120, seed=2, days=1)
ROWS = slow.listed(TABLE)


def compacted(root: Path, *tables: pa.Table) -> tuple[Store, Merged]:
    """A store of merged files, and the first of these."""
    store = Store(root)
    with Compactor(store, grace_s=0) as compactor:
        for table in tables:
            store.append(table)
            compactor.run((DAY + 2) * DAY_NS)
    return store, store.live(DAY).merged[0]


def damaged(path: str) -> None:
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])


QUESTIONS: dict[str, Callable[[Reader], object]] = {
    "sums": lambda reader: slow.sums_of(reader.sums(START, END)),
    "cells": lambda reader: slow.cells_of(reader.cells(START, END, "latency")),
    "sites": lambda reader: slow.sums_of(reader.sums(START, END)),
    "checks": lambda reader: reader.span_hours(),
}


@pytest.mark.parametrize("part", QUESTIONS)
def test_a_broken_part_is_made_of_its_rows(
    tmp_path: Path, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    store, entry = compacted(tmp_path, TABLE)
    with open_reader(store) as reader:
        expected = QUESTIONS[part](reader)
    path = getattr(entry, part)
    damaged(path)
    with open_reader(store) as reader:
        assert QUESTIONS[part](reader) == expected
        assert list(reader.unreadable) == [path]
        assert path in caplog.text
        hours, slowly = reader.task_hours(START, END), slow.task_hours(ROWS, START, END)
        assert (hours.calls == slowly.calls).all()
        assert (hours.confidence == slowly.confidence).all()


def test_sums_and_cells_outlive_their_rows(tmp_path: Path) -> None:
    store, entry = compacted(tmp_path, TABLE)
    damaged(entry.rows)
    with open_reader(store) as reader:
        assert slow.sums_of(reader.sums(START, END)) == slow.sums(ROWS)
        assert slow.cells_of(reader.cells(START, END, "confidence")) == slow.cells(ROWS, "confidence")
        assert reader.last_seen()["spans"].sum() == len(ROWS)
        assert reader.unreadable.keys() <= {entry.rows}
        assert len(reader.rows(None, START, END, kind=None)) == 0
        assert list(reader.unreadable) == [entry.rows]
        assert slow.sums_of(reader.sums(START, END)) == slow.sums(ROWS)


def test_new_rows_count_beside_merged_ones_that_cannot_be_read(tmp_path: Path) -> None:
    store, entry = compacted(tmp_path, TABLE)
    new = slow.hostile(300, seed=3, days=1).slice(200)
    store.append(new)
    damaged(entry.rows)
    with open_reader(store) as reader:
        assert slow.sums_of(reader.sums(START, END)) == slow.sums([*ROWS, *slow.listed(new)])


def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    """A merged day that is damaged after it was counted is not opened again; the day that changes is."""
    two_days = slow.hostile(200, seed=4)
    store, entry = compacted(tmp_path, two_days)
    with open_reader(store) as reader:
        before = reader.task_hours(START, END + 24)
        damaged(entry.sums)
        damaged(entry.cells)
        more = slow.hostile(900, seed=5).slice(800)
        store.append(more.filter(pc.greater_equal(more["hour"], END)))
        after = reader.task_hours(START, END + 24)
        assert not reader.unreadable
        assert after.calls.sum() > before.calls.sum()
        assert after.calls[:, :24].sum() == before.calls[:, :24].sum()
