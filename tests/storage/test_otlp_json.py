"""OTLP in JSON becomes what the same request is in protobuf, and passes the same checks."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from cascade_otel.storage.otlp import json_form as otlp_json
from cascade_otel.storage.otlp import metrics as otlp_metrics
from cascade_otel.storage.otlp.decode import Decoded, decode
from cascade_otel.storage.otlp.wire import MalformedError, TooManyError
from tests.storage.otlp_requests import as_json, metrics, set_json, spans, text_of
from tests.storage.storage_samples import NOW_NS, body, put


def decoded(document: object) -> Decoded:
    raw = document if isinstance(document, bytes) else text_of(document)
    return decode([otlp_json.protobuf(raw, "traces")], NOW_NS)


def changed(change) -> Decoded:
    """Three spans in JSON, the first of them changed."""
    document = as_json(body())
    change(spans(document)[0])
    return decoded(document)


def test_a_request_says_the_same_in_both_encodings():
    encoded = body(50, lambda span: put(span, a=True, b=None, **{"cascade.threshold": 2.5}), seed=3)
    assert decoded(as_json(encoded)).table.equals(decode([encoded], NOW_NS).table)


def test_labels_with_links_and_sampled_spans_do_too():
    def change(span):
        put(span, **{"cascade.feedback.correct": True})
        span.links.add(trace_id=b"\x01" * 16)
        span.trace_state = "ot=th:8"

    for encoded in (body(2, change), body(2, lambda span: setattr(span, "trace_state", "ot=th:c"))):
        assert decoded(as_json(encoded)).table.equals(decode([encoded], NOW_NS).table)


def test_integers_may_be_texts_or_numbers_and_doubles_too():
    def numbers(span):
        for name in ("startTimeUnixNano", "endTimeUnixNano"):
            span[name] = int(span[name])
        set_json(span, "cascade.tier.index", {"intValue": 0})
        set_json(span, "gen_ai.usage.input_tokens", {"intValue": 12.0})
        set_json(span, "cascade.cost.amount", {"intValue": "1"})
        set_json(span, "cascade.threshold", {"doubleValue": "0.8"})

    table = changed(numbers).table
    assert table.num_rows == 3
    first = table.slice(0, 1).to_pylist()[0]
    assert (first["input_tokens"], first["cost_nano"], first["threshold"]) == (12, 10**9, 0.8)


def test_what_is_unknown_absent_or_null_is_passed_over():
    def add(span):
        span |= {"new": {"deep": [1, {"x": None}]}, "flags": 256, "events": [{"name": "e"}], "kind": 1}
        span |= {"traceState": None, "links": None, "status": {"code": 1}}
        span["attributes"].append({"key": "list", "value": {"arrayValue": {"values": [{"intValue": "1"}]}}})
        span["attributes"].append({"key": "map", "value": {"kvlistValue": {"values": []}}, "extra": 1})
        span["attributes"].append({"key": "bytes", "value": {"bytesValue": "AAEC"}})

    assert changed(add).table.equals(decode([body()], NOW_NS).table)
    for empty in ({}, {"resourceSpans": None}, {"resourceSpans": [{}]}, {"other": 1}):
        assert decoded(empty).table.num_rows == 0


def test_of_a_key_that_stands_twice_the_last_counts():
    raw = text_of(as_json(body(1))).replace(b'"traceId":', b'"traceId": "00", "traceId":')
    assert decoded(raw).table.num_rows == 1


TYPES = {
    "cascade.tier.index": [
        ({"intValue": "many"}, "string for int"),
        ({"stringValue": "1"}, "string for int"),
    ],
    "cascade.confidence.score": [
        ({"doubleValue": "NaN"}, "out of range"),
        ({"doubleValue": float("nan")}, "out of range"),
        ({"doubleValue": "-Infinity"}, "out of range"),
        ({"doubleValue": 10**400}, "out of range"),
        ({"doubleValue": 1e999}, "out of range"),
        ({"doubleValue": [0.5]}, "array for double"),
        ({"doubleValue": True}, "bool for double"),
        ({}, "no.* for double"),
        ("0.5", "no.* for double"),
    ],
    "cascade.task": [
        ({"stringValue": 5}, "int for string"),
        ({"stringValue": {"a": 1}}, "kvlist for string"),
        ({"stringValue": "\ud800"}, "no UTF-8"),
        ({"stringValue": "\udc80"}, "no UTF-8"),
    ],
    "cascade.escalated": [({"boolValue": "true"}, "string for bool"), ({"boolValue": 1}, "int for bool")],
    "gen_ai.usage.input_tokens": [
        ({"intValue": "9" * 5000}, "string for int"),
        ({"intValue": 1.5}, "double for int"),
    ],
}


@pytest.mark.parametrize(
    ("name", "value", "reason"), [(name, *case) for name, cases in TYPES.items() for case in cases]
)
def test_a_value_of_the_wrong_type_costs_its_span_alone(name, value, reason):
    result = changed(lambda span: set_json(span, name, value))
    assert result.table.num_rows == 2
    ((told, count),) = result.rejected[0].items()
    assert re.fullmatch(f"{name}: {reason}", told)
    assert count == 1


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("traceId", "00" * 16, "trace id"),
        ("traceId", "ab", "trace id"),
        ("traceId", "zz" * 16, "trace id"),
        ("traceId", "A" * 33, "trace id"),
        ("traceId", "é" * 32, "trace id"),
        ("traceId", 12, "trace id"),
        ("spanId", "1" * 18, "span id"),
        ("spanId", ["01" * 8], "span id"),
        ("parentSpanId", "no", "parent id"),
        ("startTimeUnixNano", "yesterday", "time out of range"),
        ("startTimeUnixNano", -5, "time out of range"),
        ("endTimeUnixNano", {"seconds": 1}, "end before start"),
        ("endTimeUnixNano", 2**64, "end before start"),
        ("endTimeUnixNano", "9" * 19, "time out of range"),
    ],
)
def test_an_id_or_time_of_the_wrong_kind_costs_its_span_alone(field, value, reason):
    result = changed(lambda span: span.update({field: value}))
    assert result.table.num_rows == 2
    assert result.rejected == [{reason: 1}]


def test_an_attribute_that_is_none_costs_its_span_alone():
    result = changed(lambda span: span["attributes"].append({"key": 5}))
    assert result.rejected == [{"malformed attribute": 1}]


def test_ids_may_be_in_capitals():
    assert changed(lambda span: span.update(traceId=span["traceId"].upper())).table.num_rows == 3


def test_bytes_that_are_no_utf8_cost_their_span_alone():
    raw = text_of(as_json(body())).replace(b'"brand"', b'"br\xffnd"', 1)
    result = decoded(raw)
    assert result.table.num_rows == 2
    assert result.rejected == [{"cascade.task: no UTF-8": 1}]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no",
        b"[]",
        b"5",
        b'"text"',
        b"null",
        b"{",
        b"[" * 400_000,
        b"\xef\xbb\xbf{}",
        body(3),
        b'{"resourceSpans": {}}',
        b'{"resourceSpans": [1]}',
        b'{"resourceSpans": [{"resource": []}]}',
        b'{"resourceSpans": [{"scopeSpans": 1}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [null]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": {}}]}]}]}',
    ],
)
def test_a_document_of_another_shape_is_refused(raw):
    with pytest.raises(MalformedError, match=r"the JSON|no JSON"):
        otlp_json.protobuf(raw, "traces")


@pytest.mark.parametrize(
    "raw", [b" " * (otlp_json.MAX_JSON + 1), b"[" + b"0," * otlp_json.MAX_PARTS + b"0]", b"{}," * 300_000]
)
def test_a_document_that_would_take_much_memory_is_refused_unread(raw, monkeypatch):
    monkeypatch.setattr(otlp_json.json, "loads", None)
    with pytest.raises(TooManyError, match="send smaller batches"):
        otlp_json.protobuf(raw, "traces")


def test_too_many_attributes_cost_their_span():
    extra = [{"key": "a", "value": {"intValue": 1}}] * 100_000
    assert changed(lambda span: span["attributes"].extend(extra)).rejected == [{"too many attributes": 1}]


def test_metrics_say_the_same_in_both_encodings():
    encoded = metrics(7, NOW_NS)
    converted = otlp_json.protobuf(text_of(as_json(encoded, ExportMetricsServiceRequest)), "metrics")
    assert otlp_metrics.read(converted, NOW_NS) == otlp_metrics.read(encoded, NOW_NS)


@pytest.mark.parametrize(
    ("point", "reasons"),
    [
        ({"asInt": "many"}, ["not a number"]),
        ({"asInt": 2**70}, ["not a number"]),
        ({"asInt": None, "asDouble": "NaN"}, ["not a number"]),
        ({"asInt": None, "asDouble": {}}, ["not a number"]),
        ({"asInt": "-1"}, ["negative"]),
        ({"asInt": None, "asDouble": 5}, []),
        ({"timeUnixNano": "late"}, ["time before start"]),
    ],
)
def test_a_data_point_with_a_wrong_value_is_rejected_alone(point, reasons):
    document = as_json(metrics(7, NOW_NS), ExportMetricsServiceRequest)
    document["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["sum"]["dataPoints"][0] |= point
    read = otlp_metrics.read(otlp_json.protobuf(text_of(document), "metrics"), NOW_NS)
    assert read.rejected == {f"cascade.tier.calls: {reason}": 1 for reason in reasons}
    assert (len(read.points), read.passed) == (1 - len(reasons), 1)


@pytest.mark.parametrize("kind", ["gauge", "histogram", "exponentialHistogram", "summary"])
def test_points_of_every_kind_are_counted(kind):
    points = {"dataPoints": [{"count": "3", "attributes": []}, {"timeUnixNano": 5}]}
    document = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "other", kind: points}]}]}]}
    assert otlp_metrics.read(otlp_json.protobuf(text_of(document), "metrics"), NOW_NS).passed == 2


KEYS = sorted({key for layout in otlp_json._LAYOUT.values() for key in layout} | set(otlp_json._VALUES))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*KEYS, "key", "value"]), inner),
    max_leaves=40,
)


@settings(max_examples=100, deadline=None)
@given(documents, st.sampled_from(["traces", "metrics"]))
def test_nonsense_is_refused_or_read_but_never_an_accident(document, request):
    raw = json.dumps(document).encode()
    try:
        converted = otlp_json.protobuf(raw, request)
        decode([converted]) if request == "traces" else otlp_metrics.read(converted, NOW_NS)
    except (MalformedError, TooManyError):
        pass


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(otlp_json._LAYOUT["Span"])), documents), documents)
def test_nonsense_in_a_span_leaves_its_neighbours(changes, value):
    document = as_json(body())
    spans(document)[0] |= {key: item for key, item in changes.items() if key not in ("attributes", "links")}
    set_json(spans(document)[0], "cascade.task", value)
    result = decoded(document)
    assert result.table.num_rows + sum(result.rejected[0].values()) == 3
    assert result.table.num_rows >= 2
