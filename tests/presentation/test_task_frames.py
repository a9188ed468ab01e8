from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cascade_otel.presentation import task_frames
from cascade_otel.presentation.changes import Mark, stack, version_marks
from cascade_otel.presentation.periods import period
from cascade_otel.presentation.source import Watch
from cascade_otel.presentation.task_page import TaskPage, labelled_page, task_page
from cascade_otel.presentation.verdicts import verdict
from cascade_otel.storage.calls import two_tier_rows
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from tests.presentation.small_store import NOW_HOUR, SHIFT_HOURS, Built, calls, findings

WEEK = period("7d", NOW_HOUR, NOW_HOUR)
HOUR_MS = 3_600_000


def read(built: Built, task: str, over: str = "7d") -> TaskPage:
    with built.reader() as reader:
        return task_page(reader, built.watch(), task, period(over, NOW_HOUR, NOW_HOUR))


@pytest.fixture(scope="module")
def shifted(built: Built) -> TaskPage:
    return read(built, "shifted")


def test_the_rate_is_told_by_bucket_of_finished_hours(shifted: TaskPage) -> None:
    points = shifted.escalation.points
    assert points["rate"].tolist() == [0.2] * 40 + [0.4] * 16
    assert points["calls"].tolist() == [60] * 56
    assert points["time_ms"].iloc[0] == (NOW_HOUR - 168 + 1.5) * HOUR_MS


@pytest.mark.parametrize(("over", "buckets", "each"), [("24h", 24, 20), ("3d", 72, 20), ("30d", 40, 120)])
def test_longer_ranges_have_wider_buckets(built: Built, over: str, buckets: int, each: int) -> None:
    points = read(built, "shifted", over).escalation.points
    assert points["calls"].tolist() == [each] * buckets


def test_the_unfinished_hour_counts_but_is_not_drawn(built: Built) -> None:
    page = read(built, "steady")
    assert page.calls == 168 * 20 + 5
    assert page.escalation.points["calls"].sum() == 168 * 20


def test_the_band_is_the_references_coin_tosses_where_it_was_calm(shifted: TaskPage) -> None:
    assert shifted.escalation.reference == pytest.approx(0.2)
    half = task_frames.BAND_SD * np.sqrt(0.2 * 0.8 / 60)
    assert shifted.escalation.points["low"].to_numpy() == pytest.approx(np.full(56, 0.2 - half))
    assert shifted.escalation.points["high"].to_numpy() == pytest.approx(np.full(56, 0.2 + half))


def test_a_restless_reference_widens_the_band(tmp_path: Path) -> None:
    hours = np.arange(NOW_HOUR - 240, NOW_HOUR)
    restless = [calls("shifted", hours[day * 24 : day * 24 + 24], 20, 2 + 4 * (day % 2)) for day in range(10)]
    frame = pd.concat(restless, ignore_index=True).astype({"task": "category"})
    frame = frame.astype(dict.fromkeys(frame.select_dtypes(["object", "string"]), "category"))
    frame["trace_hi"] = frame["trace_lo"] = np.arange(1, len(frame) + 1)
    Store(tmp_path).append(two_tier_rows(frame))
    with open_reader(Store(tmp_path, create=False)) as reader:
        page = task_page(reader, Watch(findings=(findings()[2],)), "shifted", WEEK)
    width = page.escalation.points["high"] - page.escalation.points["low"]
    assert (width > 1.3 * 2 * task_frames.BAND_SD * np.sqrt(0.2 * 0.8 / 60)).all()


def test_marks_tell_alarm_change_and_the_new_model_each_on_its_line(shifted: TaskPage) -> None:
    marks = {mark.kind: mark for mark in shifted.escalation.marks}
    assert marks["change"].time_ms == marks["version"].time_ms == (NOW_HOUR - SHIFT_HOURS) * HOUR_MS
    assert marks["alarm"].time_ms == (NOW_HOUR - SHIFT_HOURS + 9) * HOUR_MS
    assert marks["version"].label == "model small-b"
    assert sorted(mark.row for mark in shifted.escalation.marks) == [0, 1, 2]
    low, high = shifted.escalation.change_ms or (0, 0)
    assert (low, high) == ((NOW_HOUR - 50) * HOUR_MS, (NOW_HOUR - 44) * HOUR_MS)


def test_a_quiet_task_has_a_band_and_no_marks(built: Built) -> None:
    found = read(built, "steady").escalation
    assert found.marks == ()
    assert found.change_ms is None
    assert found.reference == pytest.approx(0.2)


def test_a_task_that_is_learning_has_no_band(built: Built) -> None:
    found = read(built, "young").escalation
    assert found.reference is None
    assert found.points["low"].isna().all()


def test_a_mark_keeps_its_line_and_its_side() -> None:
    marks = stack([Mark(10, "early", "version"), Mark(900, "late", "alarm")], 0, 1000)
    assert [(mark.label, mark.row, mark.side) for mark in marks] == [
        ("late", 0, "left"),
        ("early", 1, "right"),
    ]


def test_a_rollback_is_a_change_too_but_the_start_of_a_store_is_none() -> None:
    rows = pd.DataFrame(
        {
            "hour": np.arange(200),
            "n": 10,
            "version": ["1"] * 60 + ["2"] * 60 + ["1"] * 80,
            "model": "m",
            "response_model": "",
            "threshold": 0.8,
        }
    )
    marks = version_marks(rows, period("30d", 200, 200))
    assert [(mark.time_ms // HOUR_MS, mark.label) for mark in marks] == [
        (60, "version 2"),
        (120, "version 1"),
    ]


def test_confidences_since_the_change_stand_beside_the_reference(shifted: TaskPage) -> None:
    cells = shifted.confidence.cells.set_index("cell")
    assert cells["now"].to_dict() == pytest.approx({0.5: 0.4, 0.9: 0.6})
    assert cells["before"].to_dict() == pytest.approx({0.5: 0.2, 0.9: 0.8})
    assert shifted.confidence.thresholds == (0.8,)
    assert shifted.confidence.earlier_thresholds == ()
    assert "960 calls; ticks: reference, 3,840 calls" in shifted.confidence.note


def test_latencies_are_told_by_path(shifted: TaskPage) -> None:
    quantiles = shifted.latency.quantiles.set_index("path")
    # The range begins at 16 of a day, and its days come whole.
    assert quantiles["calls"].to_dict() == {"accepted": 2496 + 16 * 16, "escalated": 864 + 16 * 4}
    assert quantiles.loc["accepted", "p50"] == pytest.approx(0.5, rel=0.09)
    assert quantiles.loc["escalated", "p95"] == pytest.approx(2.5, rel=0.09)
    assert shifted.latency.cells.groupby("path")["share"].sum().to_dict() == {
        "accepted": 1.0,
        "escalated": 1.0,
    }


def test_the_last_calls_tell_path_confidence_cost_and_trace(shifted: TaskPage) -> None:
    newest = shifted.last_calls.iloc[0].to_dict()
    assert len(shifted.last_calls) == 50
    assert newest["path"] == "small"
    assert newest["confidence"] == pytest.approx(0.9)
    assert newest["cost"] == pytest.approx(0.002)
    assert newest["model"] == "small-b"
    assert len(newest["trace"]) == 32
    assert newest["outcome"] == "accepted"
    escalated = shifted.last_calls[shifted.last_calls["path"] != "small"].iloc[0].to_dict()
    assert escalated["path"] == "small → large"
    assert escalated["confidence"] == pytest.approx(0.5)
    assert escalated["latency"] == pytest.approx(2.5)
    assert escalated["outcome"] == "escalated"


def test_labels_draw_both_curves_and_audits_stand_for_the_accepted(built: Built, shifted: TaskPage) -> None:
    with built.reader() as reader:
        told = labelled_page(reader, shifted, WEEK)
    assert told.deferral.missing == told.reliability.missing == ""
    share, right = told.deferral.now or (0.0, 0.0)
    # 864 of 3,360 calls escalate. The cheap tier is wrong in half of those, and never elsewhere.
    assert share == pytest.approx(864 / 3360, abs=0.01)
    assert right == pytest.approx(1.0)
    assert told.deferral.curve["accuracy"].iloc[0] == pytest.approx(1 - share / 2, abs=0.01)
    bins = told.reliability.bins.set_index("high")
    assert bins["accuracy"].to_dict() == pytest.approx({0.5: 0.5, 0.9: 1.0})
    assert bins["calls"].to_dict() == {0.5: 864, 0.9: 792}
    assert told.pays.startswith("Pays: it saves ")


def test_without_labels_the_page_says_what_to_switch_on(tmp_path: Path) -> None:
    frame = calls("bare", np.arange(NOW_HOUR - 5, NOW_HOUR), 20, 4).drop(
        columns=["cheap_correct", "strong_correct"]
    )
    frame["trace_hi"] = frame["trace_lo"] = np.arange(1, len(frame) + 1)
    Store(tmp_path).append(two_tier_rows(frame))
    with open_reader(Store(tmp_path, create=False)) as reader:
        told = labelled_page(reader, task_page(reader, Watch(), "bare", WEEK), WEEK)
    assert "feedback(trace_id, tier, correct" in told.reliability.missing
    assert "audit" in told.deferral.missing
    assert told.pays.startswith("Cannot tell yet: ")
    assert "no labels tell" in told.pays


def test_a_task_nobody_knows_makes_an_empty_page(built: Built) -> None:
    page = read(built, "nobody")
    assert page.calls == 0
    assert len(page.escalation.points) == len(page.confidence.cells) == len(page.last_calls) == 0


def test_tasks_are_listed_worst_first(built: Built) -> None:
    with built.reader() as reader:
        assert task_frames.tasks(reader, built.watch(), WEEK) == ("shifted", "young", "steady")


def test_tau_that_moved_is_told_with_the_one_before(tmp_path: Path) -> None:
    before, after = (
        calls("moved", np.arange(NOW_HOUR - 200, NOW_HOUR - 48), 20, 4),
        calls("moved", np.arange(NOW_HOUR - 48, NOW_HOUR), 20, 8),
    )
    after["threshold"] = 0.9
    frame = pd.concat([before, after], ignore_index=True)
    frame = frame.astype(dict.fromkeys(frame.select_dtypes(["object", "string"]), "category"))
    frame["trace_hi"] = frame["trace_lo"] = np.arange(1, len(frame) + 1)
    Store(tmp_path).append(two_tier_rows(frame))
    finding = replace(findings()[2], task="moved")
    with open_reader(Store(tmp_path, create=False)) as reader:
        page = task_page(reader, Watch(findings=(finding,)), "moved", WEEK)
    assert page.confidence.thresholds == (0.9,)
    assert page.confidence.earlier_thresholds == (0.8,)
    assert "τ 0.90" in {mark.label for mark in page.escalation.marks}


def test_a_verdict_without_findings_has_no_reference() -> None:
    one = verdict(Watch(), "x")
    assert (one.state, one.reference, one.current, one.since_hour, one.effects) == (
        "not judged yet",
        None,
        None,
        None,
        (),
    )
