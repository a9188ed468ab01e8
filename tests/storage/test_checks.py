"""Labels and audits find the calls they are about, whichever comes first and whenever."""

from __future__ import annotations

import pyarrow as pa
import pytest

from cascade_otel.records import DAY_NS, HOUR_NS
from cascade_otel.storage import files, schema
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.merging import LOOK_BACK_DAYS, MOST_CHECKED, Merging
from cascade_otel.storage.segments import Store
from tests.storage.storage_samples import DAY

NOON = DAY * DAY_NS + 12 * HOUR_NS


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def row(kind, span, trace=7, at_ns=NOON, **columns):
    made = {
        "kind": kind, "trace_hi": 1, "trace_lo": trace, "span_id": span, "start_ns": at_ns, "duration_ns": 5,
        "cascade": "extract", "task": "brand",
    }  # fmt: skip
    return schema.rows(
        {
            name: pa.array([value], pa.string() if isinstance(value, str) else None)
            for name, value in (made | columns).items()
        }
    )


def call(span=10, trace=7, at_ns=NOON, tier="small", **columns):
    accepted = {"outcome": "accepted", "confidence_nano": 9 * 10**8, "tier_index": 0, "escalated": False}
    return row(schema.TIER, span, trace, at_ns, tier=tier, **(accepted | columns))


def label(span=20, trace=7, at_ns=NOON + HOUR_NS, tier="small", correct=True, **columns):
    about = {"linked_trace_hi": 1, "linked_trace_lo": trace, "tier": tier, "correct": correct}
    return row(schema.LABEL, span, 99, at_ns, **(about | columns))


def audit(span=30, trace=7, at_ns=NOON + HOUR_NS, agreed=False, **columns):
    said = {"tier": "large", "purpose": "audit", "agreed": agreed, "cost_nano": 44, "outcome": "accepted"}
    return row(schema.TIER, span, trace, at_ns, **(said | columns))


def compacted(store, hours=0):
    with Compactor(store, grace_s=0) as compactor:
        compactor.run(NOON + hours * HOUR_NS)


def checked(store):
    paths = [path for day in store.days() for path in store.live(day).checked]
    if not paths:
        return []
    with files.connect(store) as connection:
        return connection.execute(
            "SELECT DISTINCT span_id, check_span_id, correct, agreed, confidence_nano, check_cost_nano "
            f"FROM {files.relation(paths)} ORDER BY ALL"
        ).fetchall()


LABELLED = (10, 20, True, None, 9 * 10**8, None)


@pytest.mark.parametrize(
    "commits",
    [
        [[call(), label()]],
        [[call()], [label()]],
        [[label()], [call()]],
        [[call()], [row(schema.CASCADE, 5)], [label()]],
    ],
    ids=["together", "label later", "call later", "others between"],
)
def test_a_label_finds_its_call_in_any_order(store, commits):
    for tables in commits:
        store.append(pa.concat_tables(tables).unify_dictionaries().combine_chunks())
        compacted(store)
    assert checked(store) == [LABELLED]


@pytest.mark.parametrize("first", ["call", "label"])
def test_a_label_of_the_next_day_finds_its_call(store, first):
    tables = [call(at_ns=NOON + 11 * HOUR_NS), label(at_ns=NOON + 14 * HOUR_NS)]
    for table in tables if first == "call" else reversed(tables):
        store.append(table)
        compacted(store, 15)
    assert checked(store) == [LABELLED]


def test_a_label_about_a_call_long_ago_is_joined_when_its_day_is_over(store):
    late = (LOOK_BACK_DAYS - 1) * 24
    store.append(call())
    compacted(store)
    store.append(label(at_ns=NOON + late * HOUR_NS))
    compacted(store, late + 11)
    assert checked(store) == []
    compacted(store, late + 14)
    assert checked(store) == [LABELLED]
    compacted(store, late + 15)
    assert len(store.live(DAY + LOOK_BACK_DAYS - 1).checked) == 1


def test_a_late_label_in_a_day_over_is_joined_at_once(store):
    store.append(call())
    compacted(store)
    for place, span in enumerate((20, 21)):
        store.append(label(span, at_ns=NOON + 20 * DAY_NS))
        compacted(store, 50 * 24)
        assert [check for _, check, *_ in checked(store)] == [20, 21][: place + 1]


def test_a_pass_without_anything_new_searches_no_history(store, monkeypatch):
    store.append(call())
    store.append(label(trace=8))
    compacted(store, 48)
    monkeypatch.setattr(Merging, "_search", None)
    store.append(call(11, at_ns=NOON + 47 * HOUR_NS))
    compacted(store, 48)
    compacted(store, 49)
    assert checked(store) == []


def test_a_label_is_about_its_own_tier_and_trace_and_not_about_repeats(store):
    others = [call(11, tier="large"), call(12, trace=8), call(13, outcome="repeated"), call()]
    for table in (*others, label()):
        store.append(table)
    compacted(store)
    assert checked(store) == [LABELLED]


def test_an_audit_finds_the_accepted_call_of_its_task_and_trace(store):
    others = [
        call(11, outcome="escalated", escalated=True),
        call(12, task="colour"),
        call(13, purpose="canary"),
        call(),
    ]
    for table in (*others, audit()):
        store.append(table)
        compacted(store)
    assert checked(store) == [(10, 30, None, False, 9 * 10**8, 44)]


def test_an_audit_without_a_comparison_and_a_label_without_a_tier_check_nothing(store):
    for table in (call(), audit(agreed=None), label(tier=None)):
        store.append(table)
    compacted(store)
    assert checked(store) == []
    assert store.live(DAY).merged[0].checks is None


def test_files_of_checked_calls_do_not_pile_up(store):
    with Compactor(store, grace_s=0) as compactor:
        for index in range(MOST_CHECKED + 3):
            tables = [call(100 + index, trace=index), label(200 + index, trace=index)]
            store.append(pa.concat_tables(tables).unify_dictionaries().combine_chunks())
            compactor.run(NOON)
    assert len(checked(store)) == MOST_CHECKED + 3
    assert len(store.live(DAY).checked) <= MOST_CHECKED


def test_labels_survive_a_manifest_that_breaks(store):
    store.append(call())
    compacted(store)
    store.append(label())
    compacted(store)
    (store.folder(DAY) / "manifest.json").write_bytes(b"{")
    compacted(store)
    compacted(store)
    assert checked(store) == [LABELLED]
