"""Every span is checked, a bad one put aside alone, and nothing that arrives does worse than that."""

from __future__ import annotations

import gzip
import math
import random
import struct
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from cascade_otel import semconv
from cascade_otel.records import DAY_NS
from cascade_otel.storage import schema
from cascade_otel.storage.otlp import attributes as otlp_attributes
from cascade_otel.storage.otlp.attributes import MAX_TEXT, PLACE, RULES, Known
from cascade_otel.storage.otlp.decode import MalformedError, Parsed, TooManyError, decode
from tests.storage.storage_samples import NOW_NS, body, put

Change = Callable[[Span], None]


def attributes(**values) -> Change:
    return lambda span: put(span, **{name.replace("__", "."): value for name, value in values.items()})


def fields(**values) -> Change:
    def change(span: Span) -> None:
        for name, value in values.items():
            setattr(span, name, value)

    return change


def only(**values) -> Change:
    """The span has these attributes and no others."""

    def change(span: Span) -> None:
        del span.attributes[:]
        attributes(**values)(span)

    return change


def first(change: Change, count: int = 1) -> dict[str, object]:
    return decode([body(count, change)], NOW_NS).table.slice(0, 1).to_pylist()[0]


def plainly(encoded: bytes) -> list[dict[str, object]]:
    """The same rows by the official messages."""
    found = []
    for resource in ExportTraceServiceRequest.FromString(encoded).resource_spans:
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            values = {
                one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes
            }
            found.append(
                {
                    "kind": schema.TIER,
                    "trace_hi": struct.unpack(">q", span.trace_id[:8])[0],
                    "trace_lo": struct.unpack(">q", span.trace_id[8:])[0],
                    "span_id": struct.unpack(">q", span.span_id)[0],
                    "parent_id": struct.unpack(">q", span.parent_span_id)[0],
                    "start_ns": span.start_time_unix_nano,
                    "duration_ns": span.end_time_unix_nano - span.start_time_unix_nano,
                    "service": "shop",
                    "cascade": values["cascade.name"],
                    "task": values["cascade.task"],
                    "tier": values["cascade.tier.name"],
                    "tier_index": values["cascade.tier.index"],
                    "confidence_nano": round(values["cascade.confidence.score"] * 1e9),
                    "confidence_cell": round(values["cascade.confidence.score"] * 1e9) // 10_000_000,
                    "threshold": values["cascade.threshold"],
                    "escalated": values["cascade.escalated"],
                    "cost_nano": round(values["cascade.cost.amount"] * 1e9),
                    "input_tokens": values["gen_ai.usage.input_tokens"],
                }
            )
    return found


def test_rows_are_those_of_the_official_messages():
    bodies = [body(50, seed=seed) for seed in range(4)]
    decoded = decode(bodies, NOW_NS)
    wanted = [row for one in bodies for row in plainly(one)]
    assert decoded.table.select(list(wanted[0])).to_pylist() == wanted
    assert (decoded.rejected, decoded.passed, decoded.put_aside) == ([{}] * 4, [0] * 4, [])
    assert decoded.table.schema == schema.SCHEMA


def test_every_attribute_has_a_column():
    """What is emitted is stored, except what only metrics carry."""
    stored = {name.decode() for name in RULES}
    metrics_only = {semconv.DROP_REASON, semconv.TOKEN_TYPE}
    named = {attribute.name for attribute in semconv.ATTRIBUTES} - metrics_only
    assert named <= stored
    columns = {rule.column for rule in RULES.values()} - {"total_cost_nano"}
    assert columns <= set(schema.RECORDED)


BAD: list[tuple[str, Change]] = [
    ("trace id", fields(trace_id=b"12345")),
    ("trace id", fields(trace_id=bytes(16))),
    ("trace id", fields(trace_id=b"")),
    ("span id", fields(span_id=b"123456789")),
    ("span id", fields(span_id=bytes(8))),
    ("parent id", fields(parent_span_id=b"1234")),
    ("end before start", fields(end_time_unix_nano=NOW_NS - 1)),
    ("time out of range", fields(end_time_unix_nano=NOW_NS + 2 * DAY_NS)),
    ("time out of range", fields(start_time_unix_nano=0)),
    ("time out of range", fields(start_time_unix_nano=NOW_NS // 1000)),
    ("time out of range", fields(end_time_unix_nano=2**64 - 1)),
    ("time out of range", fields(start_time_unix_nano=2**63, end_time_unix_nano=2**63 + 5)),
    ("cascade.task: int for string", attributes(cascade__task=3)),
    ("cascade.confidence.score: string for double", attributes(cascade__confidence__score="0.4")),
    ("cascade.escalated: string for bool", attributes(cascade__escalated="true")),
    ("gen_ai.usage.input_tokens: double for int", attributes(gen_ai__usage__input_tokens=3.0)),
    ("cascade.threshold: bool for double", attributes(cascade__threshold=True)),
    ("cascade.tier.name: no value for string", attributes(cascade__tier__name=None)),
    *(
        ("cascade.confidence.score: out of range", attributes(cascade__confidence__score=value))
        for value in (math.nan, math.inf, -math.inf, -0.1, 1.1, 7)
    ),
    ("cascade.cost.amount: out of range", attributes(cascade__cost__amount=-1.0)),
    ("cascade.cost.amount: out of range", attributes(cascade__cost__amount=1e300)),
    ("cascade.threshold: out of range", attributes(cascade__threshold=math.nan)),
    ("gen_ai.usage.input_tokens: out of range", attributes(gen_ai__usage__input_tokens=-1)),
    ("gen_ai.usage.input_tokens: out of range", attributes(gen_ai__usage__input_tokens=2**40)),
    ("cascade.tier.index: out of range", attributes(cascade__tier__index=2**62)),
    ("neither cascade nor tier is named", only(cascade__task="brand")),
    ("too many attributes", lambda span: [span.attributes.add(key=f"k{index}") for index in range(300)]),
]


@pytest.mark.parametrize(("reason", "change"), BAD)
def test_a_bad_span_is_put_aside_alone(reason, change):
    decoded = decode([body(4, seed=1), body(3, change, seed=2), body(2, seed=3)], NOW_NS)
    assert decoded.rejected == [{}, {reason: 1}, {}]
    assert decoded.table.num_rows == 8
    [aside] = decoded.put_aside
    assert (aside.reason, aside.service) == (reason, "shop")
    assert aside.attribute == (reason.partition(":")[0] if ":" in reason else "")
    good = decode([body(4, seed=1), body(2, seed=3)], NOW_NS).table
    assert decoded.table.slice(0, 4).equals(good.slice(0, 4))
    assert decoded.table.slice(6).to_pylist() == good.slice(4).to_pylist()


@pytest.mark.parametrize("text", [b"brand", b"cascade.task"])
def test_bad_utf8_costs_its_span_not_the_request(text):
    """In a value it is named; a name that is no text is nobody's attribute, and the task is missing."""
    encoded = body(4).replace(text, b"\xff" * len(text), 1)
    decoded = decode([encoded], NOW_NS)
    if text == b"brand":
        assert decoded.rejected == [{"cascade.task: no UTF-8": 1}]
        assert decoded.table.num_rows == 3
    else:
        assert decoded.table["task"].to_pylist() == ["extract", "brand", "brand", "brand"]


def test_the_text_of_other_peoples_attributes_is_not_looked_at():
    encoded = body(1, attributes(prompt="secret text"))
    decoded = decode([encoded.replace(b"secret text", b"\xff" * 11)], NOW_NS)
    assert decoded.table.num_rows == 1
    assert decoded.rejected == [{}]


def test_spans_of_others_are_passed_over_even_if_they_are_bad():
    foreign = [
        only(http__method="GET"),
        only(gen_ai__operation__name="chat", gen_ai__usage__input_tokens=5),
        lambda span: (only()(span), fields(trace_id=b"1")(span)),
        lambda span: (only()(span), [span.attributes.add(key=f"k{index}") for index in range(300)]),
    ]
    decoded = decode([body(2, change) for change in foreign], NOW_NS)
    assert decoded.passed == [1] * 4
    assert decoded.rejected == [{}] * 4
    assert decoded.table.num_rows == 4


def test_an_integer_is_a_double():
    row = first(attributes(cascade__confidence__score=1, cascade__threshold=0))
    assert (row["confidence_nano"], row["confidence_cell"], row["threshold"]) == (10**9, 100, 0.0)


def test_what_kind_of_span_it_is():
    assert (
        first(only(cascade__name="c", cascade__task="t", cascade__total_cost=0.5))["cost_nano"] == 500_000_000
    )
    assert first(only(cascade__name="c"))["kind"] == schema.CASCADE
    assert first(only(cascade__name="c", cascade__tier__name="s"))["kind"] == schema.TIER
    assert first(only(cascade__tier__name="s", cascade__feedback__correct=True))["kind"] == schema.LABEL


@pytest.mark.parametrize(
    ("change", "cascade", "task"),
    [
        (only(cascade__name="c"), "c", "c"),
        (only(cascade__name="c", cascade__task=""), "c", "c"),
        (only(cascade__name="c", cascade__tier__name="s"), "c", "c"),
        (only(cascade__task="t", cascade__tier__name="s"), "t", "t"),
        (only(cascade__tier__name="s"), "s", "s"),
        (only(cascade__tier__name="s", cascade__feedback__correct=False), "", ""),
    ],
)
def test_a_call_without_task_or_cascade_is_stored_under_what_it_has(change, cascade, task):
    row = first(change)
    assert (row["cascade"], row["task"]) == (cascade, task)


def test_a_label_means_the_linked_trace_or_its_own():
    def linked(span: Span) -> None:
        only(cascade__feedback__correct=True, cascade__tier__name="small", cascade__feedback__weight=2.5)(
            span
        )
        span.links.add(trace_id=bytes(range(1, 17)), span_id=bytes(range(8)))

    row = first(linked)
    assert (row["linked_trace_hi"], row["linked_trace_lo"]) == struct.unpack(">2q", bytes(range(1, 17)))
    assert (row["correct"], row["weight_ppm"]) == (True, 2_500_000)
    alone = first(only(cascade__feedback__correct=True, cascade__tier__name="small"))
    assert (alone["linked_trace_hi"], alone["linked_trace_lo"]) == (alone["trace_hi"], alone["trace_lo"])


@pytest.mark.parametrize(
    ("state", "weight"),
    [
        ("", None),
        ("ot=th:0", None),
        ("ot=th:8", 2_000_000),
        ("vendor=x, ot=rv:1234;th:c", 4_000_000),
        ("ot=th:fd70a3d70a3d71", 100_000_000),
        ("ot=th:ffffffffffffff", 10**12),
        ("ot=rv:1;th:8;x:y,other=th:c", 2_000_000),
        ("other=1;th:c", None),
        ("ot=th:8nonsense", None),
        ("ot=th:nonsense", None),
        ("ot=th:-1", None),
        ("ot=th:", None),
        ("ot=th:123456789012345678", None),
        ("th:8", None),
    ],
)
def test_a_sampled_span_stands_for_several(state, weight):
    assert first(fields(trace_state=state))["weight_ppm"] == weight


def test_production_is_the_absent_purpose():
    assert first(attributes(cascade__purpose="production"))["purpose"] is None
    assert first(attributes(cascade__purpose="audit"))["purpose"] == "audit"


def test_long_texts_are_cut():
    assert first(attributes(cascade__task="é" * 10_000))["task"] == "é" * MAX_TEXT


def test_seconds_to_the_first_chunk_become_nanoseconds():
    assert first(attributes(**{semconv.TIME_TO_FIRST_CHUNK: 0.25}))["first_chunk_ns"] == 250_000_000


def test_nothing_at_all_is_an_empty_table():
    assert decode([], NOW_NS).table.equals(schema.SCHEMA.empty_table())
    assert decode([b""], NOW_NS).table.num_rows == 0


def test_many_bad_spans_are_all_counted_and_some_described():
    decoded = decode([body(1, attributes(cascade__task=3), seed=seed) for seed in range(1_200)], NOW_NS)
    assert sum(sum(reasons.values()) for reasons in decoded.rejected) == 1_200
    assert len(decoded.put_aside) == 1_000


def encoded_attribute(name: str, **value) -> bytes:
    return KeyValue(key=name, value=AnyValue(**value)).SerializeToString()


def test_what_is_remembered_of_attributes_is_bounded(monkeypatch):
    monkeypatch.setattr(otlp_attributes, "REMEMBERED", 10)
    known = Known()
    for index in range(100):
        task = encoded_attribute("cascade.task", string_value=f"t{index}")
        assert known[task] == (PLACE["task"], f"t{index}")
        assert task in known
        assert len(known) <= 10
    long = encoded_attribute("cascade.task", string_value="x" * 300)
    assert known[long] == (PLACE["task"], "x" * 256)
    assert long not in known


@pytest.mark.parametrize("value", [0.25, 0.0, -0.0, 1.0, 1.5, -1e-9, math.nan, math.inf, 5e-324, 0.1 + 0.2])
@pytest.mark.parametrize("name", ["cascade.confidence.score", "cascade.cost.amount", "gen_ai.x"])
def test_a_score_is_read_as_any_other_attribute_and_not_remembered(name, value):
    """There is a quick way for what differs at every call; it says what the plain one does."""
    known, encoded = Known(), encoded_attribute(name, double_value=value)
    assert known[encoded] == otlp_attributes.read(encoded)
    assert (encoded in known) == (name == "gen_ai.x")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_malformed_or_has_no_rows_of_ours(encoded):
    try:
        parsed = Parsed(encoded)
    except (MalformedError, TooManyError):
        return
    decode([encoded], NOW_NS)
    assert parsed.count >= 0


FIXED = body(6, seed=3)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8))
def test_flipped_bytes_never_shift_a_neighbour(seed, flips):
    """Of a damaged body every span is stored, rejected or passed over; the body after it is as it was."""
    dice, damaged = random.Random(seed), bytearray(FIXED)
    for _ in range(flips):
        damaged[dice.randrange(len(damaged))] = dice.randrange(256)
    try:
        count = Parsed(bytes(damaged)).count
    except (MalformedError, TooManyError):
        return
    decoded = decode([bytes(damaged), FIXED], NOW_NS)
    assert decoded.table.num_rows + sum(decoded.rejected[0].values()) + decoded.passed[0] == count + 6
    whole = decode([FIXED], NOW_NS).table.to_pylist()
    assert decoded.table.slice(decoded.table.num_rows - 6).to_pylist() == whole


def wrapped(tag: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([tag]) + length + bytes([size]) + content


@pytest.mark.parametrize(
    "encoded",
    [
        wrapped(0x0A, wrapped(0x12, b"\x12\x00" * 1_900_000)),
        wrapped(0x0A, b"\x12\x00" * 1_900_000),
        b"\x0a\x00" * 1_900_000,
        wrapped(0x0A, wrapped(0x12, b"\x12\x00" * 500_000)),
    ],
    ids=["spans", "scopes", "resources", "spans below the size that is counted first"],
)
def test_amplification_is_refused_quickly(encoded):
    """Some kilobytes of gzip hold millions of empty messages: refused before they cost time."""
    assert len(gzip.compress(encoded)) < 10_000
    start = time.process_time()
    with pytest.raises(TooManyError, match="send smaller batches"):
        Parsed(encoded)
    assert time.process_time() - start < 2


def test_a_span_of_millions_of_attributes_is_put_aside_or_passed_over():
    encoded = wrapped(0x0A, wrapped(0x12, wrapped(0x12, b"\x4a\x00" * 1_000_000)))
    decoded = decode([encoded], NOW_NS)
    assert (decoded.table.num_rows, decoded.passed) == (0, [1])


@pytest.mark.parametrize(
    "encoded", [b"\xff" * 2_000_000, wrapped(0x0A, b"\x12" + b"\xff" * 1_200_000), b"text" * 300_000]
)
def test_large_garbage_is_malformed(encoded):
    with pytest.raises(MalformedError):
        Parsed(encoded)
