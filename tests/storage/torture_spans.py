"""Batches of spans that follow from their numbers alone, so that a store's figures can be foretold."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext

from cascade_otel.records import DAY_NS, HOUR_NS

CALLS = 12
DROPPED_DAYS_AGO, KEPT_DAYS = 30, 10
"""Some batches are so old that retention takes them away."""
HOT = 8
"""Writers of this number and above write nothing that is not of today."""
_TASKS = ("brand", "colour", "size")
_TRACE_HI = 7 << 64


class Batch(NamedTuple):
    """Number ``number`` of one writer."""

    writer: int
    number: int


class Part(NamedTuple):
    """What of a batch lies in one day: a segment holds all of it or nothing."""

    batch: Batch
    day: int


class Span(NamedTuple):
    """What is known of a span before it is sent; ``purpose`` is 'label' for a label."""

    id: int
    trace: int
    start_ns: int
    task: str
    tier: str
    purpose: str
    escalated: bool
    cost: int
    about: int = 0


def span_batch(span_id: int) -> Batch:
    """Of which batch the span is."""
    return Batch((span_id >> 40) - 1, (span_id >> 12) & 0xFFFFFFF)


@functools.lru_cache(100_000)
def spans(batch: Batch, today: int) -> tuple[Span, ...]:
    """Twelve calls of two tiers, with audits, and labels about calls of this batch and of the one before.

    Every eighth batch straddles midnight, others are of yesterday, late, or too old to be kept.
    """
    made: list[Span] = []
    first = (batch.writer + 1 << 40) + (batch.number << 12)
    start = _start(batch, today)

    def add(call: int, task: str, tier: str, purpose: str, escalated: bool, about: int = 0) -> None:
        made.append(
            Span(
                first + len(made) + 1,
                first + call if purpose != "label" else first + 100 + call,
                start + call * 5 * 60 * 10**9 + len(made) * 1000,
                task,
                tier,
                purpose,
                escalated,
                (batch.number * 37 + len(made)) % 1000,
                about,
            )
        )

    for call in range(1, CALLS + 1):
        task, escalated = _TASKS[(batch.number + call) % 3], call % 3 == 0
        add(call, task, "", "", escalated)
        add(call, task, "small", "", escalated)
        if escalated:
            add(call, task, "large", "", False)
        elif call % 4 == 0:
            add(call, task, "large", "audit", False)
        if call % 4 == 1:
            add(call, "", "small", "label", False, first + call)
        if call % 4 == 2 and batch.number:
            add(call, "", "small", "label", False, first - 4096 + call)
    return tuple(made)


def _start(batch: Batch, today: int) -> int:
    place = (batch.number + 2 * batch.writer) % 8 if batch.writer < HOT else 3
    if place == 0:
        return today * DAY_NS - HOUR_NS // 2
    if place == 1:
        return (today - 1) * DAY_NS + (batch.number % 22) * HOUR_NS
    if place == 2:
        return (today - DROPPED_DAYS_AGO) * DAY_NS + HOUR_NS
    return today * DAY_NS + (batch.number // 4 % 20) * HOUR_NS


@functools.lru_cache(100_000)
def parts(batch: Batch, today: int) -> dict[Part, int]:
    """Spans of each part of the batch that retention keeps."""
    days = (span.start_ns // DAY_NS for span in spans(batch, today))
    return {Part(batch, day): n for day, n in Counter(days).items() if day > today - DROPPED_DAYS_AGO}


def readable(batch: Batch, today: int) -> list[ReadableSpan]:
    """The batch as the SDK hands it to an exporter."""
    resource = Resource({"service.name": f"writer-{batch.writer}"})
    return [
        ReadableSpan(
            "span",
            context=_context(span.trace, span.id),
            resource=resource,
            attributes=_attributes(span),
            links=[Link(_context(span.about, 1))] if span.about else [],
            start_time=span.start_ns,
            end_time=span.start_ns + 1_000_000 + span.cost,
        )
        for span in spans(batch, today)
    ]


def _context(trace: int, span: int) -> SpanContext:
    return SpanContext(_TRACE_HI + trace, span, is_remote=False)


def _attributes(span: Span) -> dict[str, str | bool | int | float]:
    found: dict[str, str | bool | int | float] = {"cascade.name": "extract", "cascade.task": span.task}
    if span.purpose == "label":
        return {
            "cascade.name": "extract",
            "cascade.tier.name": span.tier,
            "cascade.feedback.correct": span.about % 2 == 0,
        }
    found["cascade.escalated"] = span.escalated
    if not span.tier:
        return found | {"cascade.final.tier.name": "large" if span.escalated else "small"}
    if span.purpose == "audit":
        found |= {"cascade.purpose": "audit", "cascade.tier.agreed": span.cost % 2 == 0}
    return found | {
        "cascade.tier.name": span.tier,
        "cascade.tier.index": int(span.tier == "large"),
        "cascade.outcome": "escalated" if span.escalated else "accepted",
        "cascade.threshold": 0.8,
        "cascade.confidence.score": span.cost / 1000,
        "cascade.cost.amount": span.cost * 1e-9,
    }


def sums(found: Iterable[Part], today: int) -> dict[tuple[object, ...], tuple[int, int, int]]:
    """(n, escalated, cost in nanodollars) per (hour, task, tier, purpose) of the parts' spans."""
    totals: dict[tuple[object, ...], tuple[int, int, int]] = {}
    for part in found:
        for span in spans(part.batch, today):
            if span.start_ns // DAY_NS == part.day and span.purpose != "label":
                tier = span.tier or ("large" if span.escalated else "small")
                kind = int(bool(span.tier))
                key = (span.start_ns // HOUR_NS, kind, span.task, tier, span.purpose)
                n, escalated, cost = totals.get(key, (0, 0, 0))
                totals[key] = n + 1, escalated + span.escalated, cost + (span.cost if span.tier else 0)
    return totals


def labelled(found: Iterable[Part], today: int) -> dict[int, bool]:
    """Whether correct, of each small tier call whose label is there as well, by its trace."""
    there = set(found)
    every = [
        span for part in there for span in spans(part.batch, today) if span.start_ns // DAY_NS == part.day
    ]
    calls = {span.trace for span in every if span.tier == "small" and span.purpose == ""}
    return {
        span.about: span.about % 2 == 0 for span in every if span.purpose == "label" and span.about in calls
    }
