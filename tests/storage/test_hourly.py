"""What the detector counts is what the rows say, compacted or not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

from cascade_otel.records import DAY_NS, HOUR_NS, LABELLED, Measured
from cascade_otel.storage import schema
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.reading.rollup import Reader, open_reader
from cascade_otel.storage.segments import Store
from tests.storage import hourly_reference, slow_reference
from tests.storage.slow_reference import NAMES, Row, hostile, listed
from tests.storage.storage_samples import DAY, rows
from tests.storage.test_checks import NOON, audit, call, label

START, END = DAY * 24, DAY * 24 + 48
MEASURES: tuple[Measured, ...] = get_args(Measured)


def with_checks_on_the_next_day() -> pa.Table:
    """Hostile rows of two days: labels and audits of calls long ago, or yet to come, are not always found."""
    table = hostile(1200, seed=8, days=1)
    checks = np.array([is_check(row) for row in listed(table)])
    columns = {name: table[name] for name in schema.RECORDED}
    return schema.rows(columns | {"start_ns": table["start_ns"].to_numpy() + checks * DAY_NS})


def is_check(row: Row) -> bool:
    return row["kind"] == schema.LABEL or (row["purpose"] == "audit" and row["agreed"] is not None)


WHOLE = with_checks_on_the_next_day()
ROWS = listed(WHOLE)
FIRST = hourly_reference.first_tiers(ROWS, START, END)
TASKS = tuple(sorted(FIRST))
TIERS = tuple(FIRST[task]["tier"] for task in TASKS)


@pytest.fixture(scope="module", params=["fresh", "half", "compacted"])
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A store whose rows are compacted not at all, partly, or all."""
    store = Store(tmp_path_factory.mktemp("hourly") / "store")
    for part in range(4):
        store.append(WHOLE.slice(part * 300, 300))
        if request.param == "compacted" or (request.param == "half" and part == 1):
            with Compactor(store, grace_s=0) as compactor:
                compactor.run((DAY + 60) * 24 * HOUR_NS)
    with open_reader(store) as found:
        yield found


def small(*tables: object, folder: Path) -> Reader:
    store = Store(folder / "store")
    for table in tables:
        store.append(table)
    return Reader(store)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(("start", "end"), [(START, END), (START + 5, START + 43), (END, END + 9)])
def test_cells_are_those_of_the_rows(reader: Reader, measure: Measured, start: int, end: int) -> None:
    found = reader.hour_cells(measure, TASKS, TIERS, start, end)
    assert hourly_reference.cells_of(found) == hourly_reference.cells(ROWS, measure, TASKS, TIERS, start, end)


def test_the_rows_leave_no_measure_without_entries() -> None:
    for measure in MEASURES:
        assert hourly_reference.cells(ROWS, measure, TASKS, TIERS, START, END)
    assert set(TASKS) == set(NAMES)


def test_tasks_are_numbered_in_the_order_they_are_asked_for(reader: Reader) -> None:
    tasks, tiers = TASKS[::-3], TIERS[::-3]
    for measure in ("escalation", "latency_accepted"):
        found = hourly_reference.cells_of(reader.hour_cells(measure, tasks, tiers, START, END))
        assert found == hourly_reference.cells(ROWS, measure, tasks, tiers, START, END)
    assert len(reader.hour_cells("errors", ["no such task"], ["small"], START, END).task) == 0
    assert len(reader.hour_cells("errors", [], [], START, END).task) == 0


@pytest.mark.parametrize(("start", "end"), [(START, END), (START + 5, START + 20), (END, END + 5)])
def test_first_tiers_are_those_of_the_rows(reader: Reader, start: int, end: int) -> None:
    found = {row["task"]: row for row in reader.first_tiers(start, end).to_dict("records")}
    expected = hourly_reference.first_tiers(ROWS, start, end)
    slow = slow_reference.task_hours(ROWS, start, end)
    assert tuple(found) == tuple(sorted(expected)) == slow.tasks
    for place, (task, one) in enumerate(found.items()):
        assert one["tier"] == expected[task]["tier"]
        assert one["model"] in expected[task]["models"]
        hour = None if math.isnan(one["first_hour"]) else one["first_hour"]
        assert hour == expected[task]["first_hour"]
        cell = -1 if math.isnan(one["threshold"]) else round(one["threshold"] * 1e9) // 10_000_000
        assert cell == slow.threshold_cell[place]


def test_days_are_those_with_decisions(reader: Reader) -> None:
    for start, end in ((START, END), (START + 5, START + 20), (START + 20, END)):
        found = reader.days_with_calls(TASKS, TIERS, start, end)
        assert found == hourly_reference.days(ROWS, TASKS, TIERS, start, end)


def test_the_model_is_the_one_of_most_calls_over_all_versions(tmp_path: Path) -> None:
    model = ["big"] * 4 + ["mini"] * 6
    version = ["a"] * 4 + ["b"] * 3 + ["c"] * 3
    table = rows(
        10, kind=[1] * 10, task=["t"] * 10, tier=["small"] * 10, purpose=[None] * 10, model=model,
        version=version, response_model=[None] * 10, tier_index=[None] * 10, threshold=[0.8] * 10,
    )  # fmt: skip
    with small(table, folder=tmp_path) as reader:
        assert reader.first_tiers(START, END)["model"].tolist() == ["mini"]


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("days_later", [0, 1, 20])
def test_a_check_counts_in_its_own_hour_however_late(tmp_path: Path, compact: bool, days_later: int) -> None:
    store = Store(tmp_path / "store")
    later = NOON + (days_later * 24 + 1) * HOUR_NS
    for table in (call(), label(at_ns=later, correct=False), audit(at_ns=later, agreed=False)):
        store.append(table)
    if compact:
        with Compactor(store, grace_s=0) as compactor:
            compactor.run(later + 48 * HOUR_NS)
    hour = later // HOUR_NS
    with open_reader(store) as reader:
        audited = reader.hour_cells("disagreement", ["brand"], ["small"], hour, hour + 1)
        known = reader.hour_cells("calibration", ["brand"], ["small"], hour, hour + 1)
        before = reader.hour_cells("calibration", ["brand"], ["small"], hour - 5, hour)
    if compact or days_later < 2:
        assert hourly_reference.cells_of(audited) == {(0, hour, 1): 1}
        assert hourly_reference.cells_of(known) == {(0, hour, 181): 1, (0, hour, LABELLED + 181): 1}
    assert len(before.task) == 0


def test_what_is_counted_of_an_hour_does_not_depend_on_the_hours_beside_it(reader: Reader) -> None:
    for measure in ("calibration", "disagreement"):
        whole = hourly_reference.cells_of(reader.hour_cells(measure, TASKS, TIERS, START, END))
        for hour in sorted({hour for _, hour, _ in whole})[-6:]:
            one = hourly_reference.cells_of(reader.hour_cells(measure, TASKS, TIERS, hour, hour + 1))
            assert one == {key: calls for key, calls in whole.items() if key[1] == hour}


def test_canaries_and_audits_are_nobodys_calls(tmp_path: Path) -> None:
    tables = [call(span, trace=span, purpose=purpose) for span, purpose in ((40, "canary"), (41, "audit"))]
    with small(*tables, label(trace=40), folder=tmp_path) as reader:
        assert len(reader.first_tiers(START, END)) == 0
        assert reader.days_with_calls(["brand"], ["small"], START, END) == [set()]
        for measure in MEASURES:
            assert len(reader.hour_cells(measure, ["brand"], ["small"], START, END).task) == 0


def test_tasks_without_an_index_have_the_tier_that_is_most_used(tmp_path: Path) -> None:
    tables = [call(50 + n, trace=n, tier=tier, tier_index=None) for n, tier in enumerate(("x", "y", "y"))]
    with small(*tables, folder=tmp_path) as reader:
        assert reader.first_tiers(START, END)["tier"].tolist() == ["y"]
        found = reader.hour_cells("escalation", ["brand"], ["y"], START, END)
    assert hourly_reference.cells_of(found) == {(0, NOON // HOUR_NS, 0): 2}


def test_an_empty_store_counts_nothing(tmp_path: Path) -> None:
    with small(folder=tmp_path) as reader:
        found = reader.first_tiers(START, END)
        assert list(found.columns) == ["task", "tier", "first_hour", "threshold", "model"]
        assert len(found) == 0
        for measure in MEASURES:
            assert len(reader.hour_cells(measure, ["t"], ["small"], START, END).task) == 0
