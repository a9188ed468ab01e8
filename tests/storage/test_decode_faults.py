"""Whatever stands beside it, a good span keeps every column; what is bad or none of ours is counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from cascade_otel.records import DAY_NS
from cascade_otel.storage import schema
from cascade_otel.storage.otlp.attributes import BOOLEAN, DOUBLE, INTEGER, MAX_TEXT, RULES, TEXT
from cascade_otel.storage.otlp.decode import FUTURE_NS, PAST_NS, MalformedError, Parsed, decode
from tests.storage.storage_samples import NOW_NS, body, put
from tests.storage.test_decode import wrapped

Change = Callable[[Span], object]
NUMBERS = {name.decode(): rule for name, rule in RULES.items() if rule.type in (INTEGER, DOUBLE)}
OF_KIND: dict[str, Change] = {
    "string": lambda value: setattr(value, "string_value", "0.5"),
    "int": lambda value: setattr(value, "int_value", 1),
    "double": lambda value: setattr(value, "double_value", 0.5),
    "bool": lambda value: setattr(value, "bool_value", True),
    "array": lambda value: value.array_value.values.add(string_value="brand"),
    "kvlist": lambda value: value.kvlist_value.values.add(key="brand"),
    "bytes": lambda value: setattr(value, "bytes_value", b"brand"),
    "no value": lambda value: None,
}


def of_kind(name: str, kind: str) -> Change:
    """The attribute's value is of that kind."""

    def change(span: Span) -> None:
        put(span, **{name: None})
        [value] = [one.value for one in span.attributes if one.key == name]
        OF_KIND[kind](value)

    return change


def times(start: int, end: int) -> Change:
    def change(span: Span) -> None:
        span.start_time_unix_nano, span.end_time_unix_nano = start, end

    return change


def foreign(span: Span) -> None:
    del span.attributes[:]
    put(span, **{"http.request.method": "GET", "gen_ai.usage.input_tokens": -1})


def without(*names: str) -> Change:
    def change(span: Span) -> None:
        kept = [one for one in span.attributes if one.key not in names]
        del span.attributes[:]
        span.attributes.extend(kept)

    return change


@st.composite
def bad_changes(draw) -> tuple[str, Change]:
    """A reason for which a span is put aside, and what makes it such a span."""
    what = draw(st.sampled_from(["type", "number", "id", "end", "far", "nameless"]))
    if what == "type":
        name, rule = draw(st.sampled_from(sorted((name.decode(), rule.type) for name, rule in RULES.items())))
        wanted = rule.removesuffix("_value")
        kinds = set(OF_KIND) - {wanted} - ({"int"} if wanted == "double" else set())
        kind = draw(st.sampled_from(sorted(kinds)))
        return f"{name}: {kind} for {wanted}", of_kind(name, kind)
    if what == "number":
        name = draw(st.sampled_from(sorted(NUMBERS)))
        rule = NUMBERS[name]
        if rule.type == INTEGER:
            value = draw(st.integers(-(2**63), -1) | st.integers(int(rule.high) + 1, 2**63 - 1))
        else:
            floats = st.floats(allow_nan=True, allow_infinity=True)
            value = draw(floats.filter(lambda one: not rule.low <= one <= rule.high))
        return f"{name}: out of range", lambda span: put(span, **{name: value})
    if what == "id":
        field, size, reason = draw(
            st.sampled_from(
                [("trace_id", 16, "trace id"), ("span_id", 8, "span id"), ("parent_span_id", 8, "parent id")]
            )
        )
        lengths = st.integers(1 if field == "parent_span_id" else 0, 40).filter(lambda length: length != size)
        content = b"\x01" * draw(lengths)
        return reason, lambda span: setattr(span, field, content)
    if what == "end":
        early = draw(st.integers(1, NOW_NS))
        return "end before start", times(NOW_NS, NOW_NS - early)
    if what == "far":
        start, end = draw(
            st.tuples(st.integers(0, NOW_NS - PAST_NS - 1), st.just(NOW_NS))
            | st.tuples(st.just(NOW_NS), st.integers(NOW_NS + FUTURE_NS + 1, 2**64 - 1))
            | st.tuples(st.just(2**63), st.integers(2**63, 2**64 - 1))
        )
        return "time out of range", times(start, end)
    return "neither cascade nor tier is named", without("cascade.name", "cascade.tier.name")


SPAN = st.none() | st.just(("", foreign)) | bad_changes()
"""A good span, one of other people, or a bad one."""


def one_request(bodies: list[bytes]) -> bytes:
    """All spans of the bodies in one scope."""
    whole = ExportTraceServiceRequest.FromString(body(0))
    for each in bodies:
        spans = ExportTraceServiceRequest.FromString(each).resource_spans[0].scope_spans[0].spans
        whole.resource_spans[0].scope_spans[0].spans.extend(spans)
    encoded: bytes = whole.SerializeToString()
    return encoded


@settings(max_examples=200, deadline=None)
@given(st.lists(SPAN, min_size=1, max_size=12))
def test_a_good_span_keeps_every_column_whatever_stands_beside_it(spans):
    bodies = [body(1, one[1] if one else None, seed=seed) for seed, one in enumerate(spans)]
    decoded = decode([one_request(bodies)], NOW_NS)
    good = [row for each, one in zip(bodies, spans, strict=True) if not one for row in rows_of(each)]
    assert decoded.table.to_pylist() == good
    reasons = Counter(one[0] for one in spans if one and one[0])
    assert decoded.rejected == [dict(reasons)]
    assert Counter(aside.reason for aside in decoded.put_aside) == reasons
    assert decoded.passed == [sum(bool(one and not one[0]) for one in spans)]


def rows_of(encoded: bytes) -> list[dict[str, object]]:
    """Rows of a body, and that they say what the body was made of."""
    found = decode([encoded], NOW_NS).table.to_pylist()
    for row in found:
        assert (row["task"], row["tier"], row["service"], row["kind"]) == (
            "brand",
            "small",
            "shop",
            schema.TIER,
        )
        assert row["confidence_cell"] == row["confidence_nano"] // 10_000_000
        assert row["start_ns"] >= NOW_NS
    return found


@pytest.mark.parametrize("kind", sorted(OF_KIND))
@pytest.mark.parametrize("name", sorted(name.decode() for name in RULES))
def test_every_attribute_of_every_kind_is_taken_or_named(name, kind):
    wanted = RULES[name.encode()].type.removesuffix("_value")
    decoded = decode([body(2, of_kind(name, kind))], NOW_NS)
    if kind == wanted or (kind, wanted) == ("int", "double"):
        assert decoded.table.num_rows == 2
    else:
        assert decoded.rejected == [{f"{name}: {kind} for {wanted}": 1}]
        assert decoded.put_aside[0].attribute == name


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63)])
@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_the_largest_integers_are_out_of_range_everywhere(name, value):
    decoded = decode([body(2, lambda span: put(span, **{name: value}))], NOW_NS)
    assert decoded.rejected == [{f"{name}: out of range": 1}]
    assert decoded.table.num_rows == 1


def test_an_integer_stands_for_the_double_it_is_equal_to():
    doubles = sorted(name for name, rule in NUMBERS.items() if rule.type == DOUBLE)
    as_int = decode([body(1, lambda span: put(span, **dict.fromkeys(doubles, 1)))], NOW_NS).table
    as_double = decode([body(1, lambda span: put(span, **dict.fromkeys(doubles, 1.0)))], NOW_NS).table
    assert as_int.equals(as_double)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("cascade.outcome", TEXT), ("cascade.tier.count", INTEGER), ("cascade.cost.amount", DOUBLE),
     ("cascade.tier.agreed", BOOLEAN)],
)  # fmt: skip
def test_a_missing_attribute_is_null_and_moves_nothing(name, kind):
    assert RULES[name.encode()].type == kind
    whole = decode([body(3, lambda span: of_kind(name, kind.removesuffix("_value"))(span))], NOW_NS).table
    lacking = decode([body(3, without(name))], NOW_NS).table
    column = RULES[name.encode()].column
    assert whole[column][0].as_py() is not None
    assert lacking[column][0].as_py() is None
    derived = {"cost_nano": ["cost_cell"]}.get(column, [])
    others = [other for other in schema.SCHEMA.names if other not in (column, *derived)]
    assert lacking.select(others).equals(whole.select(others))


def test_the_edges_of_what_is_too_old_or_too_far_ahead():
    inside = [(NOW_NS - PAST_NS, NOW_NS), (NOW_NS, NOW_NS + FUTURE_NS), (NOW_NS, NOW_NS)]
    outside = [(NOW_NS - PAST_NS - 1, NOW_NS), (NOW_NS, NOW_NS + FUTURE_NS + 1)]
    for start, end in inside:
        row = decode([body(1, times(start, end))], NOW_NS).table.to_pylist()[0]
        assert (row["start_ns"], row["duration_ns"], row["hour"]) == (
            start,
            end - start,
            start // (DAY_NS // 24),
        )
    for start, end in outside:
        assert decode([body(1, times(start, end))], NOW_NS).rejected == [{"time out of range": 1}]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=30), st.integers(1, 4))
def test_late_repeated_and_out_of_order_spans_are_the_rows_they_always_were(order, size):
    """Whatever order and grouping they arrive in: the same ids, hours and values, and nothing left out."""
    late = [body(1, times(NOW_NS - n * 40 * DAY_NS, NOW_NS - n * 40 * DAY_NS + 5), seed=n) for n in range(8)]
    each = [decode([one], NOW_NS).table.to_pylist()[0] for one in late]
    arrived = [late[index] for index in order]
    groups = [one_request(arrived[at : at + size]) for at in range(0, len(arrived), size)]
    assert decode(groups, NOW_NS).table.to_pylist() == [each[index] for index in order]


@pytest.mark.parametrize("count", [257, 100_000])
def test_a_call_with_a_hundred_thousand_attributes_is_put_aside_alone_and_quickly(count):
    many = body(3, lambda span: [span.attributes.add(key=f"k{index}") for index in range(count)])
    start = time.process_time()
    decoded = decode([many], NOW_NS)
    assert time.process_time() - start < 1
    assert (decoded.rejected, decoded.table.num_rows) == ([{"too many attributes": 1}], 2)


def test_a_text_of_ten_megabytes_is_cut_and_not_kept():
    before = body(3, seed=5)
    long = body(3, lambda span: put(span, **{"cascade.task": "ü" * 5_000_000, "prompt": "x" * 10_000_000}))
    decoded = decode([long, before], NOW_NS)
    assert decoded.table["task"].to_pylist() == ["ü" * MAX_TEXT, *["brand"] * 5]
    assert decoded.table.nbytes < 100_000


def test_the_name_of_a_sender_that_is_no_text_costs_the_name_alone():
    decoded = decode([body(3).replace(b"shop", b"\xff\xfe\xfd\xfc")], NOW_NS)
    assert decoded.table["service"].to_pylist() == [None] * 3
    assert decoded.rejected == [{}]


@pytest.mark.parametrize(
    "scopes",
    [b"\x12\x00" * 200_000, wrapped(0x12, b"\x12\x00") * 9_000],
    ids=["scopes without spans", "scopes of an empty span"],
)
def test_a_resource_of_many_attributes_and_scopes_is_read_once_or_little(scopes):
    resource = wrapped(0x0A, b"\x0a\x00" * 200_000)
    start = time.process_time()
    decoded = decode([wrapped(0x0A, resource + scopes)], NOW_NS)
    assert time.process_time() - start < 3
    assert decoded.table.num_rows == 0


def test_a_message_that_reaches_past_the_one_around_it_is_malformed():
    """Else each of many such would be followed to the end of the body."""
    reaching = b"\x12\xff\xff\xff\x7f"
    encoded = wrapped(0x0A, wrapped(0x12, reaching * 300_000))
    start = time.process_time()
    with pytest.raises(MalformedError):
        Parsed(encoded)
    assert time.process_time() - start < 1


def test_a_column_of_integers_and_doubles_is_one_of_doubles():
    values = [0, 1, 0.25, 1, 0.5]
    changes = [lambda span, value=value: put(span, **{"cascade.threshold": value}) for value in values]
    decoded = decode([body(1, change, seed=seed) for seed, change in enumerate(changes)], NOW_NS)
    assert decoded.table["threshold"].to_pylist() == values
