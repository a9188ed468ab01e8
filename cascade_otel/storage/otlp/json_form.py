"""OTLP in JSON to OTLP in protobuf, so that both are checked by the same code.

Only what a store reads is carried over. A value of the wrong type becomes one that the checks refuse, so
that it costs its span or data point; a document of another shape is refused as a whole.
"""

from __future__ import annotations

import binascii
import json
import math
import re
import struct
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from cascade_otel.storage.otlp.wire import MalformedError, TooManyError

MAX_JSON, MAX_PARTS = 4 << 20, 500_000
"""Bytes of a document, and its lists, objects and members: each takes up to 200 bytes once it is read."""
MAX_DIGITS = 20
"""Longer integers are read as floating-point numbers: no field of OTLP holds them."""
INT64_MIN, INT64_MAX, UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1
VARINT, FIXED64, LENGTH = 0, 1, 2
INTEGER = re.compile(r"-?[0-9]{1,20}")
NO_ID, NO_UTF8, NO_ATTRIBUTE = b"\x00", b"\xff", b"\xff"
"""What stands for a value of the wrong type, and is refused as such."""
_fixed, _signed, _double = struct.Struct("<Q"), struct.Struct("<q"), struct.Struct("<d")

Request = Literal["traces", "metrics"]


class Field(NamedTuple):
    """A field: its number in protobuf, the name of its message or kind of value, whether it is a list."""

    number: int
    kind: str
    repeated: bool = False


Layout = dict[str, Field]
_TIMES = {"startTimeUnixNano": Field(2, "fixed"), "timeUnixNano": Field(3, "fixed")}
_RESOURCE = {"attributes": Field(1, "attribute", True)}


def _data(points: str) -> Layout:
    return {"dataPoints": Field(1, points, True), "aggregationTemporality": Field(2, "integer")}


_LAYOUT: dict[str, Layout] = {
    "traces": {"resourceSpans": Field(1, "ResourceSpans", True)},
    "ResourceSpans": {"resource": Field(1, "Resource"), "scopeSpans": Field(2, "ScopeSpans", True)},
    "Resource": _RESOURCE,
    "ScopeSpans": {"spans": Field(2, "Span", True)},
    "Span": {
        "traceId": Field(1, "id"),
        "spanId": Field(2, "id"),
        "traceState": Field(3, "text"),
        "parentSpanId": Field(4, "id"),
        "startTimeUnixNano": Field(7, "fixed"),
        "endTimeUnixNano": Field(8, "fixed"),
        "attributes": Field(9, "attribute", True),
        "links": Field(13, "Link", True),
    },
    "Link": {"traceId": Field(1, "id"), "spanId": Field(2, "id")},
    "metrics": {"resourceMetrics": Field(1, "ResourceMetrics", True)},
    "ResourceMetrics": {"resource": Field(1, "Resource"), "scopeMetrics": Field(2, "ScopeMetrics", True)},
    "ScopeMetrics": {"scope": Field(1, "Scope"), "metrics": Field(2, "Metric", True)},
    "Scope": {
        "name": Field(1, "text"),
        "version": Field(2, "text"),
        "attributes": Field(3, "attribute", True),
    },
    "Metric": {
        "name": Field(1, "text"),
        "unit": Field(3, "text"),
        "gauge": Field(5, "Gauge"),
        "sum": Field(7, "Sum"),
        "histogram": Field(9, "Histogram"),
        "exponentialHistogram": Field(10, "ExponentialHistogram"),
        "summary": Field(11, "Summary"),
    },
    "Gauge": {"dataPoints": Field(1, "NumberDataPoint", True)},
    "Sum": _data("NumberDataPoint") | {"isMonotonic": Field(3, "bool")},
    "Histogram": _data("HistogramDataPoint"),
    "ExponentialHistogram": _data("ExponentialHistogramDataPoint"),
    "Summary": {"dataPoints": Field(1, "SummaryDataPoint", True)},
    "NumberDataPoint": _TIMES
    | {
        "asDouble": Field(4, "double"),
        "asInt": Field(6, "whole"),
        "attributes": Field(7, "attribute", True),
        "flags": Field(8, "integer"),
    },
    "HistogramDataPoint": _TIMES
    | {"count": Field(4, "fixed"), "sum": Field(5, "double"), "attributes": Field(9, "attribute", True)},
    "ExponentialHistogramDataPoint": _TIMES
    | {"attributes": Field(1, "attribute", True), "count": Field(4, "fixed"), "sum": Field(5, "double")},
    "SummaryDataPoint": _TIMES
    | {"count": Field(4, "fixed"), "sum": Field(5, "double"), "attributes": Field(7, "attribute", True)},
}


def protobuf(body: bytes, request: Request) -> bytes:
    """The request as protobuf.

    Raises MalformedError for what is no OTLP request in JSON, TooManyError for more than one may hold.
    """
    if len(body) > MAX_JSON:
        raise TooManyError(f"the JSON is larger than {MAX_JSON:,} bytes; send smaller batches, or protobuf")
    if sum(map(body.count, (b"{", b"[", b","))) > MAX_PARTS:
        raise TooManyError(f"the JSON has more than {MAX_PARTS:,} parts; send smaller batches, or protobuf")
    try:
        # Bytes that are no UTF-8 are carried through: they cost the span they are in.
        document = json.loads(body.decode(errors="surrogateescape"), parse_int=_number)
    except ValueError:
        raise MalformedError("the body is no JSON") from None
    except RecursionError:
        raise MalformedError("the JSON is nested too deeply") from None
    return _message(document, request)


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def _message(value: Any, name: str) -> bytes:
    if not isinstance(value, dict):
        raise MalformedError(f"the JSON has {_words(value)} where {name} belongs; wanted: an object")
    layout = _LAYOUT[name]
    encoded = bytearray()
    for key, member in value.items():
        field = layout.get(key)
        if field is None or member is None:
            continue
        if not field.repeated:
            encoded += _field(field, member)
        elif isinstance(member, list):
            for item in member:
                encoded += _field(field, item)
        else:
            raise MalformedError(f"the JSON has {_words(member)} as {key}; wanted: a list")
    return bytes(encoded)


def _field(field: Field, value: Any) -> bytes:
    if field.kind == "whole":
        return _whole(value)
    scalar = _SCALARS.get(field.kind)
    if scalar is None:
        return _tagged(field.number, LENGTH, _message(value, field.kind))
    wire, encode = scalar
    return _tagged(field.number, wire, encode(value))


def _tagged(number: int, wire: int, encoded: bytes) -> bytes:
    size = _varint(len(encoded)) if wire == LENGTH else b""
    return _varint(number << 3 | wire) + size + encoded


def _varint(value: int) -> bytes:
    if value < 128:
        return bytes((value,))
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _utf8(value: str) -> bytes:
    try:
        return value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return value.encode(errors="surrogatepass")


def _text(value: Any) -> bytes:
    return _utf8(value) if isinstance(value, str) else NO_UTF8


def _id(value: Any) -> bytes:
    try:
        return binascii.unhexlify(value) if isinstance(value, str) else NO_ID
    except ValueError:
        return NO_ID


def _integer_of(value: Any) -> int | None:
    """The integer that a JSON number or text stands for, None if neither does."""
    if isinstance(value, str):
        return int(value) if INTEGER.fullmatch(value) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= INT64_MAX else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _double_of(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _unsigned(value: Any) -> bytes:
    number = _integer_of(value)
    return _fixed.pack(number if number is not None and 0 <= number <= UINT64_MAX else 0)


def _any(value: Any) -> bytes:
    """An AnyValue; one whose type is not the one it is said to have is written as what it is."""
    if not isinstance(value, dict):
        return b""
    for kind, member in value.items():
        if kind in _VALUES and member is not None:
            return _VALUES[kind](member)
    return b""


def _as_it_is(member: Any) -> bytes:
    if isinstance(member, str):
        return _tagged(1, LENGTH, _utf8(member))
    if isinstance(member, bool):
        return _tagged(2, VARINT, bytes((member,)))
    if isinstance(member, int) and INT64_MIN <= member <= INT64_MAX:
        return _tagged(3, VARINT, _varint(member & UINT64_MAX))
    if isinstance(member, int | float):
        return _tagged(4, FIXED64, _double.pack(member))
    # What is in lists and objects is read nowhere: their type is enough.
    return _tagged(5 if isinstance(member, list) else 6, LENGTH, b"")


def _int_value(member: Any) -> bytes:
    number = _integer_of(member)
    return _as_it_is(member if number is None else number)


def _double_value(member: Any) -> bytes:
    number = _double_of(member)
    return _as_it_is(member if number is None else number)


_VALUES: dict[str, Callable[[Any], bytes]] = {
    "stringValue": _as_it_is,
    "boolValue": _as_it_is,
    "intValue": _int_value,
    "doubleValue": _double_value,
    "arrayValue": lambda _: _tagged(5, LENGTH, b""),
    "kvlistValue": lambda _: _tagged(6, LENGTH, b""),
    "bytesValue": lambda _: _tagged(7, LENGTH, b""),
}


def _attribute(value: Any) -> bytes:
    if not isinstance(value, dict) or not isinstance(value.get("key"), str):
        return NO_ATTRIBUTE
    return _tagged(1, LENGTH, _utf8(value["key"])) + _tagged(2, LENGTH, _any(value.get("value")))


def _whole(value: Any) -> bytes:
    """A data point's ``asInt``; what is no integer becomes its ``asDouble``, and no number."""
    number = _integer_of(value)
    if number is None or not INT64_MIN <= number <= INT64_MAX:
        return _tagged(4, FIXED64, _double.pack(math.nan))
    return _tagged(6, FIXED64, _signed.pack(number))


def _small(value: Any) -> bytes:
    number = _integer_of(value)
    return _varint(number if number is not None and 0 <= number <= UINT64_MAX else 0)


def _double_or_nan(value: Any) -> bytes:
    number = _double_of(value)
    return _double.pack(math.nan if number is None else number)


_SCALARS: dict[str, tuple[int, Callable[[Any], bytes]]] = {
    "text": (LENGTH, _text),
    "id": (LENGTH, _id),
    "attribute": (LENGTH, _attribute),
    "fixed": (FIXED64, _unsigned),
    "double": (FIXED64, _double_or_nan),
    "integer": (VARINT, _small),
    "bool": (VARINT, lambda value: bytes((value is True,))),
}


def _words(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}.get(
        type(value), "a number"
    )
