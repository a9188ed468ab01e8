"""What the sources counted is kept by the hour, and nothing counts twice."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_otel.records import DAY_NS, HOUR_NS, SECOND_NS
from cascade_otel.storage import counters
from cascade_otel.storage.counters import Counters
from tests.storage.metric_samples import DELTA, START_NS, request
from tests.storage.storage_samples import NOW_NS

HOUR = NOW_NS // HOUR_NS
MINUTE_NS = 60 * SECOND_NS
LONG_AGO_NS = NOW_NS - 3 * HOUR_NS


def total(kept: Counters) -> int:
    return int(kept.calls(0, 2 * HOUR)["n"].sum())


def test_a_store_without_counters_gives_nothing_and_gets_no_file(tmp_path):
    kept = Counters(tmp_path)
    assert kept.calls(0, 2 * HOUR).columns.tolist() == [
        "service", "task", "tier", "purpose", "outcome", "hour", "n",
    ]  # fmt: skip
    assert kept.dropped(0, 2 * HOUR).columns.tolist() == ["service", "reason", "hour", "n"]
    assert kept.add(b"", NOW_NS) == {}
    assert kept.add(request(5, metric="cascade.tier.tokens"), NOW_NS) == {}
    kept.drop_before(HOUR)
    assert kept.calls(0, 2 * HOUR).empty
    assert list(tmp_path.iterdir()) == []


def test_calls_are_kept_by_service_task_tier_purpose_outcome_and_hour(tmp_path):
    with Counters(tmp_path) as kept:
        kept.add(request(5, 2), NOW_NS)
        kept.add(request(6, 2, time_ns=NOW_NS + HOUR_NS), NOW_NS + HOUR_NS)
        found = kept.calls(HOUR, HOUR + 2)
    assert found.to_numpy().tolist() == [
        ["shop", "brand", "small", "", "accepted", HOUR, 5],
        ["shop", "brand", "small", "", "outcome 1", HOUR, 2],
        ["shop", "brand", "small", "", "accepted", HOUR + 1, 1],
    ]
    assert kept.calls(HOUR + 1, HOUR + 2)["n"].tolist() == [1]


def test_what_a_source_dropped_is_kept_by_reason(tmp_path):
    with Counters(tmp_path) as kept:
        kept.add(request(3, metric="cascade.telemetry.dropped", **{"cascade.drop.reason": "queue"}), NOW_NS)
    assert kept.dropped(0, 2 * HOUR).to_numpy().tolist() == [["shop", "queue", HOUR, 3]]
    assert kept.calls(0, 2 * HOUR).empty


@pytest.mark.parametrize(
    ("labels", "task", "purpose"),
    [
        ({"cascade.name": "c", "cascade.task": "t", "cascade.purpose": "production"}, "t", ""),
        ({"cascade.name": "c", "cascade.purpose": "audit"}, "c", "audit"),
        ({}, "small", ""),
    ],
)
def test_a_call_has_the_task_and_purpose_that_its_span_would_have(tmp_path, labels, task, purpose):
    with Counters(tmp_path) as kept:
        kept.add(request(1, **labels, **{"cascade.tier.name": "small"}), NOW_NS)
    assert kept.calls(0, 2 * HOUR)[["task", "purpose"]].to_numpy().tolist() == [[task, purpose]]


def test_processes_and_forked_children_count_for_themselves(tmp_path):
    with Counters(tmp_path) as kept:
        kept.add(request(5, instance="a"), NOW_NS)
        kept.add(request(5, instance="b"), NOW_NS)
        kept.add(request(4, instance="a", version="forked"), NOW_NS)
        kept.add(request(3, instance="a", start_ns=START_NS + 1), NOW_NS)
    assert total(kept) == 17


def test_intervals_add_up(tmp_path):
    with Counters(tmp_path) as kept:
        for minute, value in enumerate([5, 5, 0, 5]):
            start = START_NS + minute * MINUTE_NS
            sent = request(value, start_ns=start, time_ns=start + MINUTE_NS, temporality=DELTA)
            kept.add(sent, NOW_NS)
            kept.add(sent, NOW_NS)
    assert total(kept) == 15


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
    st.sampled_from([1, 2]),
)
def test_any_order_and_any_repetition_of_requests_gives_the_same_total(tmp_path_factory, steps, dice, kind):
    """Each request as it would be sent a minute after the one before, from a new process."""
    value, sent = 0, []
    for minute, step in enumerate(steps):
        value = step if kind == DELTA else value + step
        start = START_NS + (minute * MINUTE_NS if kind == DELTA else 0)
        time_ns = START_NS + (minute + 1) * MINUTE_NS
        sent.append(request(value, start_ns=start, time_ns=time_ns, temporality=kind))
    sent += dice.choices(sent, k=len(sent))
    dice.shuffle(sent)
    with Counters(tmp_path_factory.mktemp("store")) as kept:
        for body in sent:
            kept.add(body, NOW_NS + DAY_NS // 2)
        assert total(kept) == sum(steps)


def test_a_stream_that_counted_before_anybody_listened_is_counted_from_then_on(tmp_path):
    with Counters(tmp_path) as kept:
        kept.add(request(1_000, start_ns=LONG_AGO_NS), NOW_NS)
        assert total(kept) == 0
        kept.add(request(1_007, start_ns=LONG_AGO_NS, time_ns=NOW_NS + MINUTE_NS), NOW_NS)
    assert total(kept) == 7


def test_a_new_stream_of_a_source_that_was_heard_is_counted_from_0(tmp_path):
    """Many SDKs give every stream the start of the process."""
    with Counters(tmp_path) as kept:
        kept.add(request(1_000, start_ns=LONG_AGO_NS), NOW_NS)
        kept.add(request(1_000, 6, start_ns=LONG_AGO_NS, time_ns=NOW_NS + MINUTE_NS), NOW_NS)
    assert total(kept) == 6


def test_a_first_export_in_two_requests_is_a_base_line_in_both(tmp_path):
    """They bear the same time: the second tells nothing that has happened since the first."""
    other = {"cascade.tier.name": "large", "cascade.task": "brand"}
    with Counters(tmp_path) as kept:
        kept.add(request(1_000, start_ns=LONG_AGO_NS), NOW_NS)
        kept.add(request(500, start_ns=LONG_AGO_NS, **other), NOW_NS)
    assert total(kept) == 0


def test_streams_are_forgotten_after_two_days_and_their_points_with_them(tmp_path):
    later = NOW_NS + counters.FORGOTTEN_NS + HOUR_NS
    with Counters(tmp_path) as kept:
        kept.add(request(5, temporality=DELTA), NOW_NS)
        kept.add(request(1, instance="b", start_ns=later - 1, time_ns=later), later)
        again = kept.add(request(5, temporality=DELTA), later)
    assert again == {"cascade.tier.calls: time out of range": 1}
    assert total(kept) == 6
    with sqlite3.connect(tmp_path / counters.NAME) as file:
        assert file.execute("SELECT count(*) FROM last").fetchone() == (1,)
    file.close()


def test_a_stream_that_stands_still_is_not_forgotten(tmp_path):
    with Counters(tmp_path) as kept:
        for hours in range(0, 100, 2):
            now = NOW_NS + hours * HOUR_NS
            kept.add(request(5, time_ns=now), now)
        kept.add(request(8, time_ns=now + MINUTE_NS), now + MINUTE_NS)
    assert total(kept) == 8


def test_streams_are_bounded_and_the_known_ones_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(counters, "MAX_STREAMS", 3)
    with Counters(tmp_path) as kept:
        assert kept.add(request(1, 1, 1, 1, 1), NOW_NS) == {"too many streams": 2}
        assert kept.add(request(2, 2, 2, time_ns=NOW_NS + 1), NOW_NS) == {}
        assert kept.counts.as_dict() == {"kept": 6, "passed": 0, "rejected": 2}
    assert total(kept) == 6


def test_hours_are_dropped(tmp_path):
    with Counters(tmp_path) as kept:
        kept.add(request(5), NOW_NS)
        kept.add(request(9, time_ns=NOW_NS + HOUR_NS), NOW_NS)
        kept.drop_before(HOUR + 1)
        assert total(kept) == 4
        kept.add(request(9, time_ns=NOW_NS + HOUR_NS), NOW_NS)
    assert total(kept) == 4


def test_a_file_of_a_later_version_is_left_alone(tmp_path):
    with Counters(tmp_path) as kept:
        kept.add(request(5), NOW_NS)
    with sqlite3.connect(kept.path) as file:
        file.execute("PRAGMA user_version = 2")
    file.close()
    with Counters(tmp_path) as kept:
        with pytest.raises(sqlite3.DatabaseError, match="later version"):
            kept.add(request(6), NOW_NS)
        with pytest.raises(sqlite3.DatabaseError, match="later version"):
            kept.calls(0, 2 * HOUR)


def test_what_is_no_file_of_counters_is_said_and_not_overwritten(tmp_path):
    (tmp_path / counters.NAME).write_bytes(b"something else " * 100)
    with Counters(tmp_path) as kept:
        with pytest.raises(sqlite3.DatabaseError):
            kept.add(request(6), NOW_NS)
        with pytest.raises(sqlite3.DatabaseError):
            kept.calls(0, 2 * HOUR)
    assert kept.path.read_bytes().startswith(b"something else")
