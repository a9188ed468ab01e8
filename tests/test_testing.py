"""The testing module says what a cascade recorded, with whatever SDK there is."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from cascade_otel import cascade, semconv, tier
from cascade_otel.testing import Recorded, record


@tier("small", model="m1", threshold=0.8, confidence=lambda answer: answer)
def small(confidence: float) -> float:
    return confidence


@tier("large", model="m2")
def large() -> str:
    return "yes"


@cascade("extract", task=lambda confidence: f"task {confidence}", version="v1")
def extract(confidence: float) -> str:
    return "maybe" if small(confidence) >= 0.8 else large()


def test_what_a_cascade_recorded_is_there_as_plain_records() -> None:
    with record() as recorded:
        extract(0.5)
        extract(0.9)
        first, second = recorded.cascades
    assert (first.name, first.task, first.version, first.escalated) == ("extract", "task 0.5", "v1", True)
    assert [(each.tier, each.outcome) for each in first.tiers] == [
        ("small", "escalated"),
        ("large", "accepted"),
    ]
    assert (second.escalated, second.final_tier, second.outcome) == (False, "small", "accepted")
    assert [each.confidence for each in recorded.tiers] == [0.5, None, 0.9]
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.task = "other"  # type: ignore[misc]  # on purpose


def test_metrics_are_those_of_the_block() -> None:
    with record():
        extract(0.5)
    with record() as recorded:
        extract(0.5)
        extract(0.5)
    calls = recorded.metric(semconv.TIER_CALLS)
    assert sum(calls.values()) == 4
    assert sum(recorded.metric(semconv.TIER_CONFIDENCE).values()) == 2
    assert recorded.metric("no such metric") == {}


def test_nothing_is_recorded_outside_the_block_and_blocks_nest() -> None:
    extract(0.5)
    with record() as outer:
        extract(0.6)
        with record() as inner:
            extract(0.7)
        extract(0.8)
    extract(0.9)
    assert [each.task for each in inner.cascades] == ["task 0.7"]
    assert [each.task for each in outer.cascades] == ["task 0.6", "task 0.7", "task 0.8"]


def test_a_block_that_fails_still_ends() -> None:
    def fail(recorded: Recorded) -> None:
        extract(0.5)
        raise KeyError(recorded)

    with pytest.raises(KeyError), record() as recorded:
        fail(recorded)
    extract(0.6)
    assert [each.task for each in recorded.cascades] == ["task 0.5"]


def test_a_tracer_provider_of_ones_own() -> None:
    """Spans go there within the block, the global one gets none of them; metrics stay the global ones."""
    spans = TracerProvider()
    with record() as everywhere, record(spans) as own:
        extract(0.5)
    assert len(own.spans) == 3
    assert not everywhere.spans
    assert own.metric(semconv.TIER_CALLS) == everywhere.metric(semconv.TIER_CALLS) != {}
    assert trace.get_tracer_provider() is not spans


def test_a_tracer_provider_of_ones_own_needs_no_global_one() -> None:
    """In a process of its own, where nothing is installed."""
    program = (
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from cascade_otel import cascade\n"
        "from cascade_otel.testing import record\n"
        "run = cascade('alone')(lambda: 1)\n"
        "with record(TracerProvider()) as recorded:\n"
        "    run()\n"
        "assert [one.name for one in recorded.cascades] == ['alone']\n"
        "assert recorded.metrics() == {'cascade.duration'}\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
