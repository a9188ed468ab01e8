"""A point that cannot be used costs itself alone; a request that is too much costs nothing."""

from __future__ import annotations

import random
import resource
import tracemalloc

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from cascade_otel.records import DAY_NS, HOUR_NS
from cascade_otel.storage.counters import Counters
from cascade_otel.storage.otlp import metrics as otlp_metrics
from cascade_otel.storage.otlp.wire import MalformedError, TooManyError
from tests.storage.metric_samples import START_NS, first, request
from tests.storage.storage_samples import NOW_NS, put

HOUR = NOW_NS // HOUR_NS


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    size, length = len(content), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def bad(**fields: int | float):
    def change(point):
        for name, value in fields.items():
            setattr(point, name, value)

    return first(change)


def relabelled(**labels):
    return first(lambda point: put(point, **labels))


def crowded(point):
    for number in range(200):
        put(point, **{f"label {number}": number})


def as_gauge(metric: Metric):
    points = [*metric.sum.data_points]
    metric.gauge.data_points.extend(points)


REJECTED = {
    "not a number": bad(as_double=float("nan")),
    "negative": bad(as_int=-1),
    "out of range": bad(as_double=float("inf")),
    "not a whole number": bad(as_double=0.5),
    "no start time": bad(start_time_unix_nano=0),
    "time before start": bad(time_unix_nano=START_NS - 1),
    "time out of range": bad(time_unix_nano=NOW_NS + 2 * DAY_NS),
    "cascade.task: int for string": relabelled(**{"cascade.task": 5}),
    "cascade.task: no value for string": relabelled(**{"cascade.task": None}),
    "too many attributes of the point": first(crowded),
    "point too large": relabelled(**{"prompt": "x" * 100_000}),
}


@pytest.mark.parametrize("reason", REJECTED)
def test_a_bad_point_is_rejected_with_its_reason_and_the_others_count(tmp_path, reason):
    with Counters(tmp_path) as kept:
        rejected = kept.add(request(5, 2, change=REJECTED[reason]), NOW_NS)
        assert rejected == {f"cascade.tier.calls: {reason}": 1}
        assert kept.calls(0, 2 * HOUR)["n"].tolist() == [2]
        assert kept.counts.as_dict() == {"kept": 1, "passed": 0, "rejected": 1}


def test_bad_utf_8_costs_its_point(tmp_path):
    body = request(5, 2, **{"cascade.task": "brand", "cascade.tier.name": "small"})
    body += request(3, **{"cascade.tier.name": "XXXXXXX"}).replace(b"XXXXXXX", b"\xff" * 7)
    with Counters(tmp_path) as kept:
        assert kept.add(body, NOW_NS) == {"cascade.tier.calls: cascade.tier.name: no UTF-8": 1}
        assert kept.calls(0, 2 * HOUR)["n"].tolist() == [5]


def test_bad_utf_8_in_the_name_of_a_service_leaves_it_unnamed(tmp_path):
    with Counters(tmp_path) as kept:
        assert kept.add(request(3, service="XXXXXXX").replace(b"XXXXXXX", b"\xff" * 7), NOW_NS) == {}
        assert kept.calls(0, 2 * HOUR)["service"].tolist() == [""]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda metric: setattr(metric.sum, "is_monotonic", False), "not monotonic"),
        (lambda metric: setattr(metric.sum, "aggregation_temporality", 0), "no temporality"),
        (as_gauge, "gauge for sum"),
    ],
)
def test_what_is_no_counter_is_rejected_whole(tmp_path, change, reason):
    with Counters(tmp_path) as kept:
        assert kept.add(request(5, 2, change=change), NOW_NS) == {f"cascade.tier.calls: {reason}": 2}


def test_a_stream_that_has_ended_says_nothing(tmp_path):
    """Its last point has the flag "no recorded value"."""
    with Counters(tmp_path) as kept:
        assert kept.add(request(5, 2, change=bad(flags=1)), NOW_NS) == {}
        assert kept.counts.as_dict() == {"kept": 1, "passed": 1, "rejected": 0}


def test_other_metrics_are_only_counted(tmp_path):
    def histogram(metric: Metric) -> None:
        metric.Clear()
        metric.name = "cascade.duration"
        for _ in range(3):
            metric.histogram.data_points.add(count=1)

    with Counters(tmp_path) as kept:
        assert kept.add(request(1, change=histogram) + request(4, 4, metric="http.requests"), NOW_NS) == {}
        assert kept.counts.as_dict() == {"kept": 0, "passed": 5, "rejected": 0}


def test_long_texts_are_cut(tmp_path):
    with Counters(tmp_path) as kept:
        kept.add(request(1, **{"cascade.task": "x" * 10_000}), NOW_NS)
        assert kept.calls(0, 2 * HOUR)["task"].tolist() == ["x" * 256]


def test_hostile_names_stay_names(tmp_path):
    names = ["'; DROP TABLE calls; --", "<script>", "\x00", "‮abc", "a\nb"]
    with Counters(tmp_path) as kept:
        for name in names:
            kept.add(request(1, **{"cascade.task": name}), NOW_NS)
        assert sorted(kept.calls(0, 2 * HOUR)["task"]) == sorted(names)


@pytest.mark.parametrize(
    "body", [b"\xff", b"not protobuf", b'{"resourceMetrics": []}', field(1, b"\x0a\xff")]
)
def test_what_is_no_request_is_malformed(tmp_path, body):
    with Counters(tmp_path) as kept, pytest.raises(MalformedError):
        kept.add(body, NOW_NS)
    assert list(tmp_path.iterdir()) == []


def points(count: int) -> bytes:
    metric = field(1, b"cascade.tier.calls") + field(7, b"\x0a\x00" * count)
    return field(1, field(2, field(2, metric)))


@pytest.mark.parametrize("level", range(4))
def test_an_amplified_request_is_refused_before_it_costs_memory(tmp_path, level):
    """Two bytes a message: resources, scopes, metrics or points by the million."""
    millions = b"\x0a\x00" * 2_000_000 if level in (0, 3) else b"\x12\x00" * 2_000_000
    body = [
        millions,
        field(1, millions),
        field(1, field(2, millions)),
        field(1, field(2, field(2, field(9, millions)))),
    ][level]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Counters(tmp_path) as kept, pytest.raises(TooManyError, match="more than 100,000 data points"):
        kept.add(body, NOW_NS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10


def test_as_many_points_as_are_allowed_are_taken_and_one_more_is_not(monkeypatch):
    monkeypatch.setattr(otlp_metrics, "MAX_POINTS", 50)
    assert otlp_metrics.read(points(50), NOW_NS).rejected == {"cascade.tier.calls: not monotonic": 50}
    with pytest.raises(TooManyError):
        otlp_metrics.read(points(51), NOW_NS)


def test_bodies_with_flipped_bytes_end_in_an_answer_and_leave_the_counters_right(tmp_path):
    dice = random.Random(3)
    body = request(5, 2, 7) + request(1, metric="cascade.telemetry.dropped") + request(4, metric="other")
    with Counters(tmp_path) as kept:
        tracemalloc.start()
        for _ in range(1_000):
            torn = bytearray(body)
            for _ in range(dice.randrange(1, 6)):
                torn[dice.randrange(len(torn))] = dice.randrange(256)
            try:
                answer = kept.add(bytes(torn), NOW_NS)
            except (MalformedError, TooManyError):
                continue
            assert all(n > 0 for n in answer.values())
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
        tracemalloc.stop()
        before = kept.calls(0, 2 * HOUR)
        assert (before["n"] > 0).all()
        kept.add(request(5, 2, instance="another"), NOW_NS)
        assert kept.calls(0, 2 * HOUR)["n"].sum() == before["n"].sum() + 7


def test_unknown_fields_are_passed_over(tmp_path):
    made = ExportMetricsServiceRequest.FromString(request(5))
    body = made.SerializeToString() + field(15, b"later")
    with Counters(tmp_path) as kept:
        assert kept.add(body, NOW_NS) == {}
        assert kept.calls(0, 2 * HOUR)["n"].tolist() == [5]
