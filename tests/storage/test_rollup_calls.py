"""Labels meet their calls, and single calls come with their tiers."""

from __future__ import annotations

import numpy as np

from cascade_otel.records import HOUR_NS
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from tests.storage.storage_samples import DAY, rows

START, END = DAY * 24, DAY * 24 + 48


def labelled_call(**columns):
    usual = {
        "kind": [1],
        "trace_hi": [1],
        "trace_lo": [2],
        "tier": ["small"],
        "outcome": ["accepted"],
        "confidence_nano": [900_000_000],
    }
    return rows(1, **usual | {name: [value] for name, value in columns.items()})


def label(start_ns=DAY * 24 * HOUR_NS, **columns):
    usual = {
        "kind": [2],
        "linked_trace_hi": [1],
        "linked_trace_lo": [2],
        "tier": ["small"],
        "correct": [True],
        "weight_ppm": [2_500_000],
    }
    return rows(1, seed=9, start_ns=[start_ns], **usual | {name: [value] for name, value in columns.items()})


def test_a_label_meets_its_call_whichever_came_first_and_on_whatever_day(tmp_path):
    store = Store(tmp_path)
    store.append(label(start_ns=(DAY + 9) * 24 * HOUR_NS))
    store.append(labelled_call(span_id=1))
    with open_reader(store) as reader:
        [one] = reader.labels(START, END).to_dict("records")
        assert (one["trace_hi"], one["trace_lo"], one["tier"]) == (1, 2, "small")
        assert (one["confidence"], one["correct"], one["weight"]) == (0.9, True, 2.5)
        assert len(reader.labels(START - 48, START)) == 0


def test_the_latest_label_counts_and_means_the_call_that_stood(tmp_path):
    store = Store(tmp_path)
    early, late = DAY * 24 * HOUR_NS, (DAY + 1) * 24 * HOUR_NS
    store.append(label(early, span_id=1))
    store.append(label(late, span_id=2, correct=False))
    store.append(label(late, span_id=3, tier="large"))
    store.append(label(late, span_id=4, linked_trace_lo=99))
    store.append(labelled_call(span_id=5, start_ns=early, confidence_nano=100_000_000, outcome="repeated"))
    store.append(labelled_call(span_id=6, start_ns=early + 1))
    with open_reader(store) as reader:
        labels = reader.labels(START, END)
    assert labels["correct"].tolist() == [False]
    assert labels["confidence"].tolist() == [0.9]


def test_last_calls_are_the_newest_with_their_tiers_in_order(tmp_path):
    store = Store(tmp_path)
    base = DAY * 24 * HOUR_NS
    for number in range(4):
        start = base + number * 10 * HOUR_NS
        mine = {"trace_hi": [number], "trace_lo": [5], "task": ["brand"]}
        store.append(rows(1, kind=[0], span_id=[10 + number], start_ns=[start], duration_ns=[100], **mine))
        for step, tier in enumerate(("large", "small")):
            store.append(
                rows(
                    1,
                    kind=[1],
                    span_id=[100 + 2 * number + step],
                    parent_id=[999],
                    start_ns=[start + 10 - step],
                    tier=[tier],
                    confidence_nano=[None if step else 250_000_000],
                    model=[f"m-{tier}"],
                    response_model=[None],
                    **mine,
                )
            )
    with open_reader(store) as reader:
        calls = reader.last_calls("brand", 3)
        assert calls["span_id"].tolist() == [13, 12, 11]
        assert calls["tiers"].tolist() == [["small", "large"]] * 3
        assert calls["models"].tolist() == [["m-small", "m-large"]] * 3
        assert [len(one) for one in calls["confidences"]] == [2, 2, 2]
        assert np.isnan(calls["confidences"][0][0])
        assert calls["confidences"][0][1] == 0.25
        assert reader.last_calls("brand", 9, before_hour=START + 11)["span_id"].tolist() == [11, 10]
        nothing = reader.last_calls("no such task", 3)
        assert len(nothing) == 0
        assert list(nothing.columns) == list(calls.columns)
