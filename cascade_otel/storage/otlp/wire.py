"""OTLP trace requests, sliced without being trusted: what a body holds, span by span, before anything is
decoded.

The messages declared here are wire-compatible with OTLP's but keep text as bytes and attributes
unparsed, so that one bad text or attribute costs its span and not the whole request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

MAX_SPANS = 20_000
COUNTED_FIRST = 1 << 20
"""Bodies larger than this many bytes have their spans counted before they are parsed."""

Layout = dict[str, list[tuple[str, int, int, str, bool]]]
"""Of each message its fields: name, number, kind, what message it is, whether it is repeated."""
MESSAGE, BYTES, BOOL, INT64, DOUBLE, FIXED64 = 11, 12, 8, 3, 1, 6
"""Kinds of fields, as protobuf's descriptors number them."""
_TRACES: Layout = {
    "Request": [("resource_spans", 1, MESSAGE, "ResourceSpans", True)],
    "ResourceSpans": [
        ("resource", 1, MESSAGE, "Resource", False),
        ("scope_spans", 2, MESSAGE, "ScopeSpans", True),
    ],
    "Resource": [("attributes", 1, BYTES, "", True)],
    "ScopeSpans": [("spans", 2, MESSAGE, "Span", True)],
    "Span": [
        ("trace_id", 1, BYTES, "", False),
        ("span_id", 2, BYTES, "", False),
        ("trace_state", 3, BYTES, "", False),
        ("parent_span_id", 4, BYTES, "", False),
        ("start_ns", 7, FIXED64, "", False),
        ("end_ns", 8, FIXED64, "", False),
        ("attributes", 9, BYTES, "", True),
        ("links", 13, MESSAGE, "Link", True),
    ],
    "Link": [("trace_id", 1, BYTES, "", False)],
    "KeyValue": [("key", 1, BYTES, "", False), ("value", 2, MESSAGE, "AnyValue", False)],
    "AnyValue": [
        ("string_value", 1, BYTES, "", False),
        ("bool_value", 2, BOOL, "", False),
        ("int_value", 3, INT64, "", False),
        ("double_value", 4, DOUBLE, "", False),
        ("array_value", 5, BYTES, "", False),
        ("kvlist_value", 6, BYTES, "", False),
        ("bytes_value", 7, BYTES, "", False),
    ],
    "Status": [("message", 2, BYTES, "", False)],
}  # fmt: skip


class MalformedError(ValueError):
    """A body that is no OTLP request."""


class TooManyError(ValueError):
    """A body with more in it than one request may have."""


def messages(package: str, layout: Layout) -> dict[str, Any]:
    """Message classes by name; of one called AnyValue, at most one field is set."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package.replace('.', '/')}.proto", package=package, syntax="proto3"
    )
    for name, fields in layout.items():
        message = file.message_type.add(name=name)
        if name == "AnyValue":
            message.oneof_decl.add(name="value")
        for field, number, kind, message_type, repeated in fields:
            added = message.field.add(name=field, number=number, label=3 if repeated else 1)
            added.type = kind  # type: ignore[assignment]  # the stub wants an enum, which is this integer
            if message_type:
                added.type_name = f".{package}.{message_type}"
            if name == "AnyValue":
                added.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in layout
    }


_TYPES = messages("cascade_otel.reading", _TRACES)
KeyValue: Any = _TYPES["KeyValue"]
Status: Any = _TYPES["Status"]
"""What an OTLP request is refused with."""


class Parsed:
    """One request: its ``scopes`` as pairs of a scope's spans and their resource's raw attributes,
    ``count`` spans in all.

    Raises MalformedError for what is no trace request, TooManyError above ``MAX_SPANS``.
    """

    __slots__ = ("count", "scopes")

    def __init__(self, body: bytes):
        if len(body) > COUNTED_FIRST:
            _refuse_many(body)
        try:
            request = _TYPES["Request"].FromString(body)
        except DecodeError:
            raise MalformedError("the body is no OTLP trace request in protobuf") from None
        self.scopes: list[tuple[Any, Any]] = [
            (scope.spans, resource.resource.attributes)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            if len(scope.spans)  # what holds nothing must not cost anything
        ]
        self.count = sum(len(spans) for spans, _ in self.scopes)
        if self.count > MAX_SPANS:
            raise _too_many()


def _too_many() -> TooManyError:
    return TooManyError(f"more than {MAX_SPANS:,} spans in one request; send smaller batches")


def _refuse_many(body: bytes) -> None:
    """Counts resources, scopes and spans without building any, and stops at the limit."""
    count = 0
    try:
        for _, start, end in lengths(body, 0, len(body), 1):
            for _, scope_start, scope_end in lengths(body, start, end, 2):
                for _ in lengths(body, scope_start, scope_end, 2):
                    count += 1
                    if count > MAX_SPANS:
                        raise _too_many()
                count += 1
            count += 1
            if count > MAX_SPANS:
                raise _too_many()
    except IndexError:
        raise MalformedError("the body ends in the middle of a message") from None


def lengths(body: bytes, at: int, end: int, wanted: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of the length-delimited fields numbered ``wanted`` in body[at:end].

    Raises MalformedError for what is no protobuf, or IndexError where the body ends too early.
    """
    while at < end:
        tag, at = _varint(body, at)
        wire = tag & 7
        if wire == 2:
            size, at = _varint(body, at)
            if at + size > end:
                raise MalformedError("a message ends before what it says it holds")
            if tag >> 3 == wanted:
                yield tag >> 3, at, at + size
            at += size
        elif wire == 0:
            _, at = _varint(body, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise MalformedError("the body is no protobuf")


def _varint(body: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = body[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at
        if shift > 63:
            raise MalformedError("the body is no protobuf")
