"""OTLP metric requests, sliced without being trusted: the points of the two counters that figures use.

All other metrics are passed over, and their points only counted: they stay bytes. A point that cannot be
used costs itself alone, as does text that is no UTF-8.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from cascade_otel import semconv
from cascade_otel.records import DAY_NS
from cascade_otel.storage.otlp.attributes import MAX_TEXT
from cascade_otel.storage.otlp.wire import (
    BOOL,
    BYTES,
    COUNTED_FIRST,
    DOUBLE,
    FIXED64,
    INT64,
    MESSAGE,
    KeyValue,
    MalformedError,
    TooManyError,
    lengths,
    messages,
)

MAX_POINTS = 100_000
"""Data points of a request. A thousand tasks of three tiers send a third of that at once."""
MAX_BYTES, MAX_ATTRIBUTES = 64 << 10, 128
"""Of a resource, and of a point that is kept."""
MAX_VALUE = 1 << 53
"""Beyond it a double does not know every whole number."""
KEPT_NS, FUTURE_NS = 2 * DAY_NS, DAY_NS
"""How old a point may be, and how far ahead of our clock the sender's."""
DELTA, CUMULATIVE = 1, 2
NO_VALUE = 1
"""The flag of a point that says its stream has ended."""

_SFIXED64 = 16
_KINDS = (("gauge", 5), ("sum", 7), ("histogram", 9), ("exponential_histogram", 10), ("summary", 11))
_TYPES = messages(
    "cascade_otel.reading_metrics",
    {
        "Request": [("resource_metrics", 1, MESSAGE, "ResourceMetrics", True)],
        "ResourceMetrics": [
            ("resource", 1, BYTES, "", False),
            ("scope_metrics", 2, MESSAGE, "ScopeMetrics", True),
        ],
        "ScopeMetrics": [("scope", 1, BYTES, "", False), ("metrics", 2, MESSAGE, "Metric", True)],
        "Metric": [("name", 1, BYTES, "", False), *((kind, n, BYTES, "", False) for kind, n in _KINDS)],
        "Points": [
            ("points", 1, BYTES, "", True),
            ("temporality", 2, INT64, "", False),
            ("monotonic", 3, BOOL, "", False),
        ],
        "Point": [
            ("start_ns", 2, FIXED64, "", False),
            ("time_ns", 3, FIXED64, "", False),
            ("as_double", 4, DOUBLE, "", False),
            ("as_int", 6, _SFIXED64, "", False),
            ("attributes", 7, BYTES, "", True),
            ("flags", 8, INT64, "", False),
        ],
        "Resource": [("attributes", 1, BYTES, "", True)],
    },
)
_KEPT = {name.encode(): name for name in (semconv.TIER_CALLS, semconv.DROPPED)}
_LABELS = {
    name.encode(): name
    for name in (
        semconv.CASCADE_NAME, semconv.CASCADE_TASK, semconv.CASCADE_PURPOSE, semconv.TIER_NAME,
        semconv.OUTCOME, semconv.DROP_REASON, semconv.SERVICE_NAME,
    )
}  # fmt: skip


class Point(NamedTuple):
    """One point of a kept counter.

    ``key`` is (service, task, tier, purpose, outcome) of calls, (service, reason) of what was dropped;
    '' where absent, and for the purpose production. ``source`` and ``stream`` are the OTLP identity,
    hashed: resource, scope, metric and start time, and with the attributes.
    """

    metric: str
    key: tuple[str, ...]
    source: bytes
    stream: bytes
    is_cumulative: bool
    start_ns: int
    time_ns: int
    value: int


@dataclass(frozen=True)
class Request:
    """What a request says: points of kept counters, how many others there are, points rejected by reason."""

    points: list[Point]
    passed: int
    rejected: dict[str, int]


class BadPointError(Exception):
    """Why a point, or every point of a metric, cannot be used."""


def read(body: bytes, now_ns: int) -> Request:
    """Reads a protobuf body; times are checked against ``now_ns``. Raises MalformedError, TooManyError."""
    if len(body) > COUNTED_FIRST:
        _refuse_many(body)
    try:
        request = _TYPES["Request"].FromString(body)
    except DecodeError:
        raise MalformedError("the body is no OTLP metrics request in protobuf") from None
    points: list[Point] = []
    rejected: Counter[str] = Counter()
    total = passed = 0
    for resource in request.resource_metrics:
        origin = _Origin(resource.resource)
        for scope, metric in ((s.scope, metric) for s in resource.scope_metrics for metric in s.metrics):
            name = _KEPT.get(metric.name)
            for kind, listed in _listed(metric):
                total += len(listed.points)
                if total > MAX_POINTS:
                    raise _too_many()
                if name is None:
                    passed += len(listed.points)
                    continue
                try:
                    series = _Series(name, kind, listed, origin, scope)
                except BadPointError as bad:
                    rejected[f"{name}: {bad}"] += len(listed.points)
                    continue
                for raw in listed.points:
                    try:
                        point = series.point(raw, now_ns)
                    except BadPointError as bad:
                        rejected[f"{name}: {bad}"] += 1
                        continue
                    if point is None:
                        passed += 1
                    else:
                        points.append(point)
    return Request(points, passed, dict(rejected))


def _listed(metric: Any) -> Iterator[tuple[str, Any]]:
    """The kind of the metric's data with its points as bytes; more than one only where it is hostile."""
    for kind, _ in _KINDS:
        if raw := getattr(metric, kind):
            try:
                yield kind, _TYPES["Points"].FromString(raw)
            except DecodeError:
                raise MalformedError("the body is no OTLP metrics request in protobuf") from None


class _Origin:
    """A resource, looked into once one of its points is kept."""

    def __init__(self, raw: bytes):
        self.raw = raw

    @functools.cached_property
    def told(self) -> tuple[str, bytes]:
        """The service's name ('' unnamed, or no text) and the resource hashed. Raises BadPointError."""
        attributes = _attributes(_TYPES["Resource"], self.raw, "resource").attributes
        try:
            service = _labels(attributes).get(semconv.SERVICE_NAME, "")
        except BadPointError:
            service = ""
        return service, _hash(*sorted(attributes))


class _Series:
    """What the points of one metric have in common. Raises BadPointError where none can be used."""

    def __init__(self, name: str, kind: str, listed: Any, origin: _Origin, scope: bytes):
        if kind != "sum":
            raise BadPointError(f"{kind} for sum")
        if not listed.monotonic:
            raise BadPointError("not monotonic")
        if listed.temporality not in (DELTA, CUMULATIVE):
            raise BadPointError("no temporality")
        self.name, self.is_cumulative = name, listed.temporality == CUMULATIVE
        self.service, resource = origin.told
        self.common = _hash(name.encode(), resource, scope, bytes([listed.temporality]))

    def point(self, raw: bytes, now_ns: int) -> Point | None:
        """One point; None where it has no value. Raises BadPointError."""
        said = _attributes(_TYPES["Point"], raw, "point")
        if said.flags & NO_VALUE:
            return None
        if not said.start_ns:
            raise BadPointError("no start time")
        if said.time_ns < said.start_ns:
            raise BadPointError("time before start")
        if not now_ns - KEPT_NS <= said.time_ns <= now_ns + FUTURE_NS:
            raise BadPointError("time out of range")
        source = _hash(self.common, said.start_ns.to_bytes(8, "big"))
        return Point(
            metric=self.name,
            key=self._key(_labels(said.attributes)),
            source=source,
            stream=_hash(source, *sorted(said.attributes)),
            is_cumulative=self.is_cumulative,
            start_ns=said.start_ns,
            time_ns=said.time_ns,
            value=_value(said),
        )

    def _key(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        if self.name == semconv.DROPPED:
            return self.service, labels.get(semconv.DROP_REASON, "")
        tier, purpose = labels.get(semconv.TIER_NAME, ""), labels.get(semconv.CASCADE_PURPOSE, "")
        # As for spans: a tier call outside any cascade goes by its own name.
        task = labels.get(semconv.CASCADE_TASK) or labels.get(semconv.CASCADE_NAME) or tier
        purpose = "" if purpose == semconv.PURPOSES[0] else purpose
        return self.service, task, tier, purpose, labels.get(semconv.OUTCOME, "")


def _attributes(kind: Any, raw: bytes, what: str) -> Any:
    """The message, if it and the number of its attributes are within bounds. Raises BadPointError."""
    if len(raw) > MAX_BYTES:
        raise BadPointError(f"{what} too large")
    try:
        message = kind.FromString(raw)
    except DecodeError:
        raise BadPointError(f"malformed {what}") from None
    if len(message.attributes) > MAX_ATTRIBUTES:
        raise BadPointError(f"too many attributes of the {what}")
    return message


def _labels(attributes: Iterable[bytes]) -> dict[str, str]:
    """The attributes a key is made of, by name. Raises BadPointError for a wrong type or bad UTF-8."""
    labels: dict[str, str] = {}
    for raw in attributes:
        try:
            attribute = KeyValue.FromString(raw)
        except DecodeError:
            raise BadPointError("malformed attribute") from None
        name = _LABELS.get(attribute.key)
        if name is None:
            continue
        kind = attribute.value.WhichOneof("value")
        if kind != "string_value":
            arrived = kind.removesuffix("_value") if kind else "no value"
            raise BadPointError(f"{name}: {arrived} for string")
        try:
            labels[name] = attribute.value.string_value.decode()[:MAX_TEXT]
        except UnicodeDecodeError:
            raise BadPointError(f"{name}: no UTF-8") from None
    return labels


def _value(said: Any) -> int:
    number = said.as_int or said.as_double
    if math.isnan(number):
        raise BadPointError("not a number")
    if number < 0:
        raise BadPointError("negative")
    if number > MAX_VALUE:
        raise BadPointError("out of range")
    if number != int(number):
        raise BadPointError("not a whole number")
    return int(number)


def _hash(*parts: bytes) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(len(part).to_bytes(4, "big"))
        found.update(part)
    return found.digest()


def _too_many() -> TooManyError:
    return TooManyError(f"more than {MAX_POINTS:,} data points in one request; send smaller batches")


def _refuse_many(body: bytes) -> None:
    """Counts resources, scopes, metrics and points without building any, and stops at the limit."""
    path = ((1,), (2,), (2,), tuple(number for _, number in _KINDS), (1,))
    for count, _ in enumerate(_messages_within(body, 0, len(body), path)):
        if count >= MAX_POINTS:
            raise _too_many()


def _messages_within(body: bytes, start: int, end: int, path: tuple[tuple[int, ...], ...]) -> Iterator[None]:
    """One item for each message of each level of the path of field numbers."""
    for number in path[0]:
        try:
            for _, inner_start, inner_end in lengths(body, start, end, number):
                yield
                if path[1:]:
                    yield from _messages_within(body, inner_start, inner_end, path[1:])
        except IndexError:
            raise MalformedError("the body ends in the middle of a message") from None
