"""What ``two_tier_rows`` makes of a table of calls: what decorated functions record of the same calls."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import opentelemetry.sdk.trace as sdk_trace
import pandas as pd
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from cascade_otel import testing
from cascade_otel.demo import answers, history, live, plan
from cascade_otel.demo.receiving import receiving
from cascade_otel.instrumentation import _calls
from cascade_otel.storage import schema
from cascade_otel.storage.calls import CASCADE_ROW, CHEAP_ROW, span_ids, two_tier_rows
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store

IDS = ["trace_hi", "trace_lo", "span_id", "parent_id", "linked_trace_hi", "linked_trace_lo"]
ORDER = ["kind", "start_ns", "task", "tier", "duration_ns", "input_size", "threshold"]


def calls(**changed: object) -> pd.DataFrame:
    """Four calls: accepted, escalated, accepted and audited, without a confidence."""
    columns = {
        "trace_hi": [1, 1, 1, 1],
        "trace_lo": [11, 12, 13, 14],
        "start_ns": [10**18] * 4,
        "cascade": "extract",
        "task": "colour",
        "cheap_tier": "small",
        "strong_tier": "large",
        "cheap_model": "a",
        "strong_model": "b",
        "cheap_confidence": [0.95, 0.5, 0.9, np.nan],
        "threshold": 0.9,
        "escalated": [False, True, False, True],
        "audited": [False, True, True, False],
        "cheap_duration_ns": 1_000,
        "strong_duration_ns": 5_000,
        "cheap_cost_nano": 10,
        "strong_cost_nano": 100,
        "cheap_correct": pd.array([None, False, True, None], "boolean"),
        "strong_correct": pd.array([None, True, True, None], "boolean"),
    }
    return pd.DataFrame(columns | changed)


def rows(table: pd.DataFrame) -> pd.DataFrame:
    return two_tier_rows(table).to_pandas()


def test_each_call_gives_a_cascade_row_a_cheap_row_and_a_strong_row_where_the_strong_tier_was_asked():
    made = rows(calls())
    assert (made["kind"] == schema.CASCADE).sum() == 4
    tiers = made[made["kind"] == schema.TIER]
    assert (tiers["tier"] == "small").sum() == 4
    strong = tiers[tiers["tier"] == "large"].set_index("trace_lo")
    assert strong["purpose"].astype(object).where(strong["purpose"].notna(), None).to_dict() == {
        12: None,
        14: None,
        13: "audit",
    }


def test_an_audit_stays_outside_rate_cost_and_latency_of_its_call():
    made = rows(calls())
    audited = made[(made["kind"] == schema.CASCADE) & (made["trace_lo"] == 13)].iloc[0]
    assert (audited["cost_nano"], audited["duration_ns"], audited["tier_count"]) == (10, 1_000, 1)
    audit = made[made["purpose"] == "audit"].iloc[0]
    assert pd.isna(audit["escalated"])
    assert audit["start_ns"] > audited["start_ns"] + audited["duration_ns"]


def test_an_escalated_call_costs_and_takes_what_both_tiers_do():
    made = rows(calls())
    call = made[(made["kind"] == schema.CASCADE) & (made["trace_lo"] == 12)].iloc[0]
    assert (call["cost_nano"], call["duration_ns"], call["tier_count"]) == (110, 6_000, 2)
    assert (call["escalated"], call["final_tier"], call["outcome"]) == (True, "large", "accepted")


def test_a_missing_confidence_is_its_own_reason():
    cheap = rows(calls()).query("tier == 'small' and kind == 1").set_index("trace_lo")
    assert cheap["reason"].dropna().to_dict() == {12: "low_confidence", 14: "missing_confidence"}
    assert pd.isna(cheap.loc[14, "confidence_cell"])


def test_labels_are_there_where_correctness_is_known_and_the_tier_was_asked():
    made = rows(calls())
    labels = made[made["kind"] == schema.LABEL]
    known = set(zip(labels["linked_trace_lo"], labels["tier"], labels["correct"], strict=True))
    assert known == {(12, "small", False), (12, "large", True), (13, "small", True), (13, "large", True)}


def test_costs_that_are_unknown_stay_unknown():
    made = rows(calls(strong_cost_nano=np.nan))
    total = made[made["kind"] == schema.CASCADE].set_index("trace_lo")["cost_nano"]
    assert total[11] == 10
    assert total[[12, 14]].isna().all()
    large = made[(made["tier"] == "large") & (made["kind"] == schema.TIER)]
    assert large[["cost_nano", "currency", "cost_source"]].isna().all(axis=None)


def test_ids_follow_from_the_trace_and_differ_between_rows():
    many = pd.DataFrame({"trace_hi": np.zeros(50_000, np.int64), "trace_lo": np.arange(50_000)})
    ids = np.concatenate([span_ids(many, CASCADE_ROW), span_ids(many, CHEAP_ROW)])
    assert len(np.unique(ids)) == len(ids)
    assert (ids != 0).all()
    assert (span_ids(many, CHEAP_ROW) == ids[50_000:]).all()


def test_a_call_in_any_order_and_without_the_optional_columns_gives_rows():
    made = rows(calls().drop(columns=["audited", "cheap_correct", "strong_correct", "cheap_cost_nano"]))
    assert set(made["kind"]) == {schema.CASCADE, schema.TIER}
    assert made[made["kind"] == schema.CASCADE]["cost_nano"].isna().all()


class Clock:
    """Stands still unless told to move."""

    now = 0

    def __call__(self) -> int:
        return self.now

    async def wait(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


def test_decorated_functions_over_otlp_store_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """1,000 calls: the table's rows equal those of decorators → official exporter → receiver → store."""
    pools = answers.load()
    drawn = plan.draw(3, "three", int(time.time() // 3600), pools)
    hours = np.arange(drawn.live_hour - 60, drawn.live_hour)
    asked = history.draw_calls(drawn, pools, hours, hide_models=False).sample(1000, random_state=1)
    asked["audited"] = False

    clock = Clock()
    monkeypatch.setattr(_calls, "time_ns", clock)
    monkeypatch.setattr(_calls, "perf_counter_ns", clock)
    _calls.wake()
    monkeypatch.setattr(sdk_trace, "time_ns", clock)
    tracers = TracerProvider(resource=Resource({"service.name": history.SERVICE}), shutdown_on_exit=False)
    extracts = {task.name: live.cascade_of(task, wait=clock.wait) for task in drawn.tasks}

    async def ask_one_by_one() -> None:
        for start_ns, question in zip(asked["start_ns"], live.questions(asked), strict=True):
            clock.now = int(start_ns)
            await extracts[question.task](question)

    with testing.record(tracers) as recorded:
        asyncio.run(ask_one_by_one())
    with receiving(tmp_path / "live") as endpoint:
        exporter = OTLPSpanExporter(f"{endpoint}/v1/traces")
        assert exporter.export(recorded.spans) is SpanExportResult.SUCCESS
        exporter.shutdown()
    Store(tmp_path / "made").append(two_tier_rows(asked))

    sent, made = (_all_rows(tmp_path / name) for name in ("live", "made"))
    assert len(made) > 2300
    pd.testing.assert_frame_equal(sent, made)


def _all_rows(root: Path) -> pd.DataFrame:
    with open_reader(Store(root)) as reader:
        first, last = reader.span_hours() or (0, 0)
        found = reader.rows(None, first, last + 1, kind=None)
    return found.drop(columns=IDS).sort_values(ORDER, kind="stable").reset_index(drop=True)
