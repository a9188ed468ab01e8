"""What earlier and later versions wrote is read as it is, or named; it is never taken for nothing.

``stores/v1`` was written by the first version, by ``written_now`` below, and stays as it is.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cascade_otel.records import DAY_NS, HOUR_NS
from cascade_otel.storage import schema, segments
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store, unreadable

V1 = Path(__file__).parent / "stores" / "v1"
FIRST_DAY = 20_700
AT_NS = FIRST_DAY * DAY_NS + 10 * HOUR_NS
NOW_NS = AT_NS + 3 * DAY_NS
RANGE = (FIRST_DAY * 24, (FIRST_DAY + 2) * 24)


def first_version() -> pa.Table:
    """Two calls on the first day, one on the second, and a label of each day's first small call."""
    cascade, tier, label = schema.CASCADE, schema.TIER, schema.LABEL
    day, minute = DAY_NS, 60 * 10**9
    columns = ("kind", "trace_lo", "span_id", "parent_id", "start_ns", "duration_ns", "tier", "tier_index",
               "final_tier", "escalated", "outcome", "confidence_nano", "cost_nano", "correct",
               "linked_trace_lo")  # fmt: skip
    values: list[tuple[object, ...]] = [
        (cascade, 1, 10, 0, 0, 900, None, None, "large", True, "accepted", None, 5_500, None, None),
        (tier, 1, 11, 10, 0, 300, "small", 0, None, True, "escalated", 420_000_000, 500, None, None),
        (tier, 1, 12, 10, 300, 600, "large", 1, None, False, "accepted", None, 5_000, None, None),
        (cascade, 2, 20, 0, minute, 250, None, None, "small", False, "accepted", None, 450, None, None),
        (tier, 2, 21, 20, minute, 250, "small", 0, None, False, "accepted", 930_000_000, 450, None, None),
        (label, 3, 30, 0, 2 * minute, 0, "small", None, None, None, None, None, None, False, 1),
        (cascade, 4, 40, 0, day, 280, None, None, "small", False, "accepted", None, 480, None, None),
        (tier, 4, 41, 40, day, 280, "small", 0, None, False, "accepted", 880_000_000, 480, None, None),
        (label, 5, 50, 0, day + minute, 0, "small", None, None, None, None, None, None, True, 4),
    ]
    made = dict(zip(columns, map(list, zip(*values, strict=True)), strict=True))
    n = len(values)
    made["start_ns"] = [AT_NS + start for start in made["start_ns"]]
    made["duration_ns"] = [milliseconds * 10**6 for milliseconds in made["duration_ns"]]
    shared = {"service": "shop", "cascade": "extract", "task": "brand", "version": "a", "trace_hi": 7}
    of_tiers = {"threshold": 0.8, "model": "gpt-5-nano", "currency": "USD"}
    is_tier = [kind == tier for kind in made["kind"]]
    return schema.rows(
        made
        | {name: [value] * n for name, value in shared.items()}
        | {name: [value if of_tier else None for of_tier in is_tier] for name, value in of_tiers.items()}
        | {"linked_trace_hi": [None if about is None else 7 for about in made["linked_trace_lo"]]}
    )


def written_now(root: Path) -> Path:
    Store(root).append(first_version())
    return root


def written_then(root: Path) -> Path:
    return Path(shutil.copytree(V1, root))


@pytest.mark.parametrize("compacted", [False, True], ids=["as it is", "compacted"])
@pytest.mark.parametrize("write", [written_then, written_now])
def test_a_store_of_the_first_version_says_what_it_always_said(tmp_path, write, compacted):
    store = Store(write(tmp_path / "store"))
    if compacted:
        with Compactor(store) as compactor:
            done = compactor.run(NOW_NS)
        assert (done.rows, done.failed) == (9, {})
    with open_reader(store) as reader:
        assert reader.unreadable == {}
        assert reader.span_hours() == (FIRST_DAY * 24 + 10, FIRST_DAY * 24 + 34)
        sums = reader.sums(*RANGE)
        assert set(zip(sums["cascade"], sums["task"], sums["version"], strict=True)) == {
            ("extract", "brand", "a")
        }
        counted = {
            (day, kind, tier): tuple(map(int, numbers))
            for (day, kind, tier), numbers in sums.assign(day=sums["hour"] // 24 - FIRST_DAY)
            .groupby(["day", "kind", "tier"])[
                ["n", "escalated", "cost_nano", "duration_ns", "confidence_nano"]
            ]
            .sum()
            .iterrows()
        }
        assert counted == {
            (0, schema.CASCADE, "large"): (1, 1, 5_500, 900 * 10**6, 0),
            (0, schema.CASCADE, "small"): (1, 0, 450, 250 * 10**6, 0),
            (0, schema.TIER, "small"): (2, 1, 950, 550 * 10**6, 1_350_000_000),
            (0, schema.TIER, "large"): (1, 0, 5_000, 600 * 10**6, 0),
            (1, schema.CASCADE, "small"): (1, 0, 480, 280 * 10**6, 0),
            (1, schema.TIER, "small"): (1, 0, 480, 280 * 10**6, 880_000_000),
        }
        cells = reader.cells(*RANGE, "confidence")
        assert sorted(zip(cells["tier"], cells["cell"], cells["n"], strict=True)) == [
            ("small", 42, 1),
            ("small", 88, 1),
            ("small", 93, 1),
        ]
        labels = reader.labels(*RANGE)
        assert list(zip(labels["confidence"], labels["correct"], labels["escalated"], strict=True)) == [
            (0.42, False, True),
            (0.88, True, False),
        ]
        calls = reader.last_calls("brand", 10)
        assert calls["span_id"].tolist() == [40, 20, 10]
        assert calls["tiers"].tolist() == [["small"], ["small"], ["small", "large"]]
        assert len(reader.rows("brand", *RANGE, kind=None)) == 9


def test_rows_of_the_first_version_are_those_this_one_writes(tmp_path):
    """Nothing that is recorded is read in another way than it was meant."""
    then, now = (
        pa.concat_tables(
            pq.read_table(path, partitioning=None) for path in sorted(root.glob("day=*/*.parquet"))
        ).to_pylist()
        for root in (V1, written_now(tmp_path / "now"))
    )
    for rows in (then, now):
        for row in rows:
            del row["site"]  # only equal within a file's day, and free to change
    assert then == now


def rewritten(tmp_path: Path, table: pa.Table, version: bytes | None = b"1") -> Store:
    """A store in which this segment, as another version might have written it, stands beside a good one."""
    store = Store(tmp_path / "store")
    store.append(first_version())
    metadata = {} if version is None else {"cascade_otel.schema": version}
    folder = store.root / f"day={FIRST_DAY}"
    pq.write_table(table.replace_schema_metadata(metadata), folder / "s-1-other.parquet")
    return store


def other_rows() -> pa.Table:
    """One tier row more."""
    row = first_version().slice(1, 1)
    return row.set_column(row.column_names.index("span_id"), "span_id", pa.array([99], pa.int64()))


def n_of_small(store: Store) -> int:
    with open_reader(store) as reader:
        sums = reader.sums(*RANGE)
    of_tier = sums[(sums["kind"] == schema.TIER) & (sums["tier"] == "small")]
    return int(of_tier["n"].sum())


LATER_COLUMNS = ["first_chunk_ns", "agreed", "feedback_source", "input_size"]


def test_a_column_an_earlier_version_did_not_have_is_null(tmp_path):
    store = rewritten(tmp_path, other_rows().drop_columns(LATER_COLUMNS))
    assert unreadable(store.live(FIRST_DAY).small) == {}
    assert n_of_small(store) == 4
    with open_reader(store) as reader:
        rows = reader.rows("brand", *RANGE).set_index("span_id")
        assert rows.loc[99, LATER_COLUMNS].isna().all()
        assert rows.loc[99, "confidence_nano"] == 420_000_000
    with Compactor(store) as compactor:
        assert compactor.run(NOW_NS).rows == 10
    assert n_of_small(store) == 4


def test_what_a_later_version_wrote_is_read_as_far_as_it_is_known_and_left_where_it_is(tmp_path, caplog):
    """Merged, it would lose what only that version knows: it stays as it is, and is named."""
    later = other_rows().append_column("reasoning_tokens", pa.array([17], pa.int64()))
    store = rewritten(tmp_path, later, b"2")
    path = store.root / f"day={FIRST_DAY}" / "s-1-other.parquet"
    reasons = segments.later(store.live(FIRST_DAY).small)
    assert unreadable(store.live(FIRST_DAY).small) == {}
    assert list(reasons) == [str(path)]
    assert "later version (2); upgrade cascade-otel" in reasons[str(path)]
    assert n_of_small(store) == 4
    before = path.read_bytes()
    with Compactor(store, grace_s=0) as compactor:
        assert compactor.run(NOW_NS).rows == 9
        compactor.run(NOW_NS + HOUR_NS)
    assert path.read_bytes() == before
    assert str(path) in caplog.text
    assert n_of_small(store) == 4


def test_a_parquet_file_of_somebody_else_is_named(tmp_path):
    store = rewritten(tmp_path, pa.table({"task": ["brand"]}), None)
    [reason] = unreadable(store.live(FIRST_DAY).small).values()
    assert "not a segment of cascade-otel" in reason
    assert n_of_small(store) == 3
