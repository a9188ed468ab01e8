"""The reader's figures are those of the rows, in any order, however often they came, whatever is broken."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cascade_otel.records import HOUR_NS
from cascade_otel.storage import parts, schema
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from tests.storage.storage_samples import DAY, rows

START, END = DAY * 24, DAY * 24 + 48
WHOLE = rows(400, seed=3, days=2)


def reference(table) -> pd.DataFrame:
    """Sums per site and hour, by pandas from the rows."""
    frame = table.to_pandas(types_mapper=None)
    texts = (
        "cascade",
        "task",
        "tier",
        "tier_kind",
        "model",
        "response_model",
        "version",
        "purpose",
        "final_tier",
    )
    for name in texts:
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "")
    cascade = frame["kind"] == schema.CASCADE
    frame["tier"] = np.where(cascade, frame["final_tier"], frame["tier"])
    failed = frame["error_type"].notna() & ~frame["outcome"].isin(["cancelled", "abandoned"])
    counted = pd.DataFrame({"n": 1, "errors": failed | frame["reason"].isin(["error", "timeout"])})
    counted["escalated"] = frame["escalated"].eq(True)
    counted["decided"] = frame["escalated"].notna()
    for name in ("low_confidence", "missing_confidence", "error", "timeout", "policy"):
        counted[name] = frame["reason"] == name
    for name in ("accepted", "repeated", "exhausted", "cancelled", "abandoned", "outlived"):
        counted[name] = frame["outcome"] == name
    for name in ("duration_ns", "cost_nano", "confidence_nano", "input_tokens", "output_tokens"):
        counted[name] = frame[name].fillna(0)
    counted["escalated_duration_ns"] = frame["duration_ns"].where(frame["escalated"].eq(True), 0)
    counted["compared"], counted["agreed"] = frame["agreed"].notna(), frame["agreed"].eq(True)
    counted["weight_ppm"] = frame["weight_ppm"].fillna(1e6)
    counted["costed"], counted["scored"] = frame["cost_nano"].notna(), frame["confidence_nano"].notna()
    keys = ["hour", "kind", "cascade", "task", "tier", "model", "response_model", "version", "purpose"]
    keyed = frame[keys].assign(threshold=np.rint(frame["threshold"] * 100).fillna(-1))
    grouped = counted.astype("int64").groupby([keyed[name] for name in keyed]).sum()
    return grouped[list(parts.COUNTS)].sort_index()


def found(sums: pd.DataFrame) -> pd.DataFrame:
    keys = [
        "hour",
        "kind",
        "cascade",
        "task",
        "tier",
        "model",
        "response_model",
        "version",
        "purpose",
        "threshold",
    ]
    sums = sums.assign(threshold=np.rint(sums["threshold"] * 100).fillna(-1))
    return sums.set_index(keys)[list(parts.COUNTS)].sort_index()


def test_sums_are_those_of_the_rows(tmp_path):
    store = Store(tmp_path)
    store.append(WHOLE)
    with open_reader(store) as reader:
        sums = reader.sums(START, END)
        pd.testing.assert_frame_equal(
            found(sums), reference(WHOLE), check_dtype=False, check_index_type=False
        )
        assert {str(sums[name].dtype) for name in (*parts.COUNTS, "hour", "kind", "tier_index")} == {"int64"}
        single = [reader.sums(START, END, task) for task in ("brand", "colour", "size")]
        assert pd.concat(single)["n"].sum() == sums["n"].sum() == 400
        assert reader.sums(START + 3, START + 9)["hour"].between(START + 3, START + 8).all()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False), st.integers(1, 9))
def test_order_and_repeats_change_nothing(tmp_path, dice, pieces):
    """The rows arrive cut in pieces, in any order, some of them twice and in another cut."""
    store = Store(tmp_path / f"{dice.random()}")
    edges = [0, *sorted(dice.sample(range(1, 400), pieces)), 400]
    cuts = list(itertools.pairwise(edges))
    order = dice.sample(cuts, len(cuts)) + [
        tuple(sorted(dice.sample(range(400), 2))) for _ in range(dice.randrange(3))
    ]
    for start, end in order:
        store.append(WHOLE.slice(start, end - start))
    with open_reader(store) as reader:
        pd.testing.assert_frame_equal(
            found(reader.sums(START, END)), reference(WHOLE), check_dtype=False, check_index_type=False
        )
        assert reader.last_seen()["spans"].sum() == 400


def test_a_repeat_that_arrives_between_two_questions_is_not_counted(tmp_path):
    store = Store(tmp_path)
    with open_reader(store) as reader:
        for _ in range(3):
            store.append(WHOLE)
            assert reader.sums(START, END)["n"].sum() == 400


def test_of_different_spans_with_one_id_the_first_to_come_counts(tmp_path):
    store = Store(tmp_path)
    one = {"span_id": [7], "trace_lo": [1], "kind": [0], "task": ["first"]}
    store.append(rows(1, **one))
    store.append(rows(1, **one | {"task": ["second"]}))
    with open_reader(store) as reader:
        assert reader.rows(None, START, END, kind=None)["task"].tolist() == ["first"]


@pytest.mark.parametrize(
    ("measure", "column", "hours"),
    [("confidence", "confidence_cell", 1), ("latency", "latency_cell", 24), ("cost", "cost_cell", 24)],
)
def test_cells_are_those_of_the_rows(tmp_path, measure, column, hours):
    store = Store(tmp_path)
    store.append(WHOLE)
    with open_reader(store) as reader:
        cells = reader.cells(START, END, measure)
    frame = WHOLE.to_pandas()
    frame = frame[frame[column].notna()]
    expected = frame.groupby([frame["hour"] // hours * hours, frame[column].astype("int64")]).size()
    got = cells.groupby(["bucket_hour", "cell"])["n"].sum()
    assert got.to_dict() == expected.to_dict()
    assert cells["escalated"].sum() == frame["escalated"].eq(True).sum()
    assert (
        cells.groupby(
            ["bucket_hour", "kind", "task", "tier", "purpose", "threshold", "cell"],
            dropna=False,
        ).size()
        == 1
    ).all()


def test_task_hours_count_the_first_tier_of_each_task(tmp_path):
    store = Store(tmp_path)
    store.append(WHOLE)
    with open_reader(store) as reader:
        hours = reader.task_hours(START - 2, END)
    frame = WHOLE.to_pandas()
    frame = frame[
        (frame["kind"] == 1)
        & (frame["tier"] == "small")
        & frame["purpose"].isna()
        & frame["escalated"].notna()
    ]
    assert hours.tasks == ("brand", "colour", "size")
    assert hours.tiers == ("small", "small", "small")
    assert hours.hours.tolist() == list(range(START - 2, END))
    assert hours.confidence.shape == (3, 50, 101)
    for index, task in enumerate(hours.tasks):
        mine = frame[frame["task"] == task]
        assert hours.calls[index].sum() == len(mine)
        assert hours.escalated[index].sum() == mine["escalated"].eq(True).sum()
        for hour, group in mine.groupby("hour"):
            assert hours.calls[index, hour - START + 2] == len(group)
            cells = np.bincount(group["confidence_cell"].dropna().astype(int), minlength=101)
            assert (hours.confidence[index, hour - START + 2] == cells).all()
        newest = mine[mine["hour"] == mine.loc[mine["threshold"].notna(), "hour"].max()]
        of_site = newest.groupby("site").agg(n=("site", "size"), threshold=("threshold", "max"))
        last = of_site.dropna().sort_values(["n", "threshold"])["threshold"].iloc[-1]
        assert hours.threshold_cell[index] == round(last * 1e9) // 10_000_000


def test_a_task_without_decisions_and_threshold_has_no_calls(tmp_path):
    store = Store(tmp_path)
    store.append(
        rows(
            5,
            kind=[1] * 5,
            tier=["t"] * 5,
            purpose=[None] * 5,
            escalated=[None] * 5,
            threshold=[None] * 5,
            task=["odd"] * 5,
        )
    )
    with open_reader(store) as reader:
        hours = reader.task_hours(START, END)
    assert (hours.tasks, hours.calls.sum(), hours.threshold_cell.tolist()) == (("odd",), 0, [-1])


def test_the_first_tier_is_the_smallest_index_and_of_several_the_most_used(tmp_path):
    store = Store(tmp_path)
    store.append(
        rows(
            6,
            kind=[1] * 6,
            task=["a"] * 6,
            purpose=[None] * 6,
            tier=["x", "y", "y", "z", "z", "z"],
            tier_index=[0, 0, 0, 1, 1, None],
        )
    )
    with open_reader(store) as reader:
        assert reader.task_hours(START, END).tiers == ("y",)


def test_single_rows_have_types_that_do_not_depend_on_values(tmp_path):
    store = Store(tmp_path)
    store.append(rows(50, escalated=[True] * 50, linked_trace_hi=[2**62 + 1] * 50))
    with open_reader(store) as reader:
        full = reader.rows(None, START, END, kind=None)
        none = reader.rows("no such task", START, END)
        assert list(full.columns) == list(none.columns) == schema.SCHEMA.names
        for frame in (full, none):
            assert str(frame["escalated"].dtype) == str(frame["correct"].dtype) == "boolean"
            assert str(frame["cost_nano"].dtype) == str(frame["input_size"].dtype) == "float64"
        assert set(full["linked_trace_hi"]) == {2**62 + 1}
        assert full["start_ns"].is_monotonic_increasing
        some = reader.rows("brand", START, END, kind=schema.CASCADE, columns=["task", "kind"])
        assert set(some["task"]) == {"brand"}
        assert set(some["kind"]) == {schema.CASCADE}
        with pytest.raises(ValueError, match=r"columns \['nope'\] arrived"):
            reader.rows("brand", START, END, columns=["nope"])


def test_services_and_hours_seen(tmp_path):
    store = Store(tmp_path)
    store.append(
        rows(
            3,
            service=["a", "a", None],
            start_ns=[START * HOUR_NS, (START + 30) * HOUR_NS, (START + 40) * HOUR_NS],
            duration_ns=[9, 7, 5],
        )
    )
    with open_reader(store) as reader:
        assert reader.span_hours() == (START, START + 40)
        assert reader.last_seen((START + 30) * HOUR_NS).to_dict("list") == {
            "service": ["", "a"],
            "last_start_ns": [(START + 40) * HOUR_NS, (START + 30) * HOUR_NS],
            "last_end_ns": [(START + 40) * HOUR_NS + 5, (START + 30) * HOUR_NS + 7],
            "spans": [1, 2],
            "ahead": [1, 0],
        }


def test_an_empty_store_has_empty_answers(tmp_path):
    with open_reader(Store(tmp_path)) as reader:
        assert reader.span_hours() is None
        columns = ["hour", *parts.SITE_NAMES, *parts.COUNTS, "last_threshold"]
        assert list(reader.sums(0, END).columns) == columns
        for frame in (
            reader.cells(0, END, "cost"),
            reader.rows(None, 0, END),
            reader.labels(0, END),
            reader.last_seen(),
            reader.last_calls("t", 5),
        ):
            assert len(frame) == 0
            assert len(frame.columns) > 2
        assert reader.task_hours(START, END).confidence.shape == (0, 48, 101)


def test_a_store_written_by_an_older_version_is_read(tmp_path):
    """Columns that came later are null, beside newer segments and alone."""
    store = Store(tmp_path)
    [name] = store.append(WHOLE.slice(0, 200))[:1]
    path = next(Path(path) for day in store.days() for path in store.live(day).small if path.endswith(name))
    older = pq.read_table(path, partitioning=None)
    pq.write_table(older.drop_columns(["agreed", "canary_id", "response_model", "first_chunk_ns"]), path)
    for day in store.days():
        for other in store.live(day).small:
            if other != str(path):
                Path(other).unlink()
    with open_reader(store) as reader:
        assert reader.sums(START, END)["n"].sum() == older.num_rows
        frame = reader.rows(None, START, END, kind=None)
        assert frame["canary_id"].isna().all()
        store.append(WHOLE)
        assert reader.sums(START, END)["n"].sum() == 400


def test_a_broken_segment_is_named_and_the_rest_is_read(tmp_path, caplog):
    store = Store(tmp_path)
    store.append(rows(100, seed=1))
    [torn] = store.append(rows(100, seed=2))
    path = tmp_path / f"day={DAY}" / torn
    with open_reader(store) as reader:
        path.write_bytes(path.read_bytes()[: random.Random(0).randrange(path.stat().st_size)])
        assert reader.sums(START, END)["n"].sum() == 100
        assert list(reader.unreadable) == [str(path)]
        assert torn in caplog.text
        assert reader.last_seen()["spans"].sum() == 100


def test_a_segment_damaged_inside_is_named_and_the_rest_is_read(tmp_path):
    store = Store(tmp_path)
    store.append(rows(100, seed=1))
    [damaged] = store.append(rows(4000, seed=2))
    path = tmp_path / f"day={DAY}" / damaged
    content = bytearray(path.read_bytes())
    content[100 : len(content) // 2] = bytes(len(content) // 2 - 100)
    path.write_bytes(content)
    with open_reader(store) as reader:
        assert reader.sums(START, END)["n"].sum() == 100
        assert list(reader.unreadable) == [str(path)]


def test_names_are_never_taken_for_sql_or_patterns(tmp_path):
    name = "x'; DROP TABLE nothing; -- \" [*?] \x00 ‮"
    store = Store(tmp_path / "it's [a] *store?")
    store.append(rows(3, task=[name] * 3, kind=[1] * 3, tier=["small"] * 3, purpose=[None] * 3))
    with open_reader(store) as reader:
        assert reader.sums(START, END, name)["n"].sum() == 3
        assert len(reader.rows(name, START, END)) == 3
        assert reader.task_hours(START, END).tasks == (name,)
        assert len(reader.sums(START, END, "x")) == 0


def test_only_the_days_asked_for_are_opened(tmp_path):
    store = Store(tmp_path)
    store.append(rows(10))
    other = tmp_path / f"day={DAY + 5}"
    other.mkdir()
    (other / "s-torn.parquet").write_bytes(b"torn")
    with open_reader(store) as reader:
        assert reader.sums(START, END)["n"].sum() == 10
        assert reader.unreadable == {}
        reader.sums(START, END + 24 * 9)
        assert list(reader.unreadable) == [str(other / "s-torn.parquet")]


def test_threads_take_turns_on_one_reader(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    store = Store(tmp_path)
    store.append(WHOLE)
    with open_reader(store) as reader, ThreadPoolExecutor(4) as pool:
        counts = pool.map(
            lambda task: reader.sums(START, END, task)["n"].sum(), ["brand", "colour", "size", None] * 5
        )
        assert sum(counts) == 5 * 2 * 400
