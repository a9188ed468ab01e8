"""Past cascade calls told at once, and labels that come later."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import context

from cascade_otel import TierCall, cascade, feedback, record_call, semconv, tier
from cascade_otel.testing import Recorded, RecordedTier

NO_TRACE = "0" * 32
START = 1_700_000_000_000_000_000
ASKED = {"model": "m1", "provider": "openai", "threshold": 0.8}


def plain(call: RecordedTier) -> tuple[object, ...]:
    return call.tier, call.outcome, call.escalated, call.reason, call.index


def test_a_past_call_has_its_times_and_no_metrics(seen: Recorded) -> None:
    tiers = [
        TierCall("small", confidence=0.3, threshold=0.8, duration_s=0.5, cost=0.25, **{"model": "m1"}),
        TierCall("large", confidence=0.9, duration_s=1.5, cost=0.5, response_model="m2-2025"),
    ]
    trace_id = record_call("organic", tiers, start_ns=START, version="v2", segment="en", input_size=7)
    (whole,) = seen.cascades
    assert (whole.trace_id, whole.name, whole.task) == (trace_id, "cascade", "organic")
    assert (whole.version, whole.segment, whole.input_size, whole.purpose) == ("v2", "en", 7, "production")
    assert (whole.final_tier, whole.cost, whole.duration_s) == ("large", 0.75, 2.0)
    assert [plain(each) for each in whole.tiers] == [
        ("small", "escalated", True, "low_confidence", 0),
        ("large", "accepted", False, None, 1),
    ]
    spans = sorted(seen.spans, key=lambda span: (span.start_time or 0, -(span.end_time or 0)))
    half = START + 500_000_000
    assert [(each.start_time, each.end_time) for each in spans] == [
        (START, START + 2 * 10**9),
        (START, half),
        (half, START + 2 * 10**9),
    ]
    assert not seen.metrics()


@pytest.mark.parametrize(
    ("first", "escalated", "reason"),
    [
        (TierCall("a", confidence=0.9, threshold=0.8), False, None),
        (TierCall("a", confidence=0.5, threshold=0.8), True, "low_confidence"),
        (TierCall("a", threshold=0.8), True, "missing_confidence"),
        (TierCall("a", confidence=0.5), True, "policy"),
        (TierCall("a", error="ValueError"), True, "error"),
        (TierCall("a", error="TimeoutError"), True, "timeout"),
        (TierCall("a", confidence=0.5, threshold=0.8, escalated=False), False, None),
        (TierCall("a", escalated=True, reason="policy", confidence=0.5, threshold=0.8), True, "policy"),
    ],
)
def test_what_is_not_told_is_decided(
    seen: Recorded, first: TierCall, escalated: bool, reason: str | None
) -> None:
    record_call("t", [first, TierCall("b")])
    (whole,) = seen.cascades
    assert (whole.tiers[0].escalated, whole.tiers[0].reason) == (escalated, reason)
    assert (whole.escalated, whole.final_tier) == (escalated, "b" if escalated else "a")


def test_samples_and_failures_in_a_past_call(seen: Recorded) -> None:
    record_call("t", [TierCall("a"), TierCall("a"), TierCall("b", error="ValueError")], purpose="canary")
    (whole,) = seen.cascades
    assert [plain(each)[:3] for each in whole.tiers] == [
        ("a", "repeated", None),
        ("a", "escalated", True),
        ("b", "error", None),
    ]
    assert (whole.outcome, whole.final_tier, whole.purpose) == ("error", None, "canary")
    record_call("failed", [TierCall("a", error="ValueError")])
    assert [each.escalated for each in seen.cascades] == [True, None]


def test_a_past_call_has_the_attributes_of_a_decorated_one(seen: Recorded) -> None:
    class Answer:
        confidence, cost, model = 0.3, 0.25, "m-2025"

        def __init__(self) -> None:
            self.usage = {"input_tokens": 3, "output_tokens": 4}

    @tier("small", **ASKED, confidence="confidence", cost="cost")  # type: ignore[arg-type]  # mixed values
    def small() -> Answer:
        return Answer()

    @tier("large", model="m2")
    def large() -> None: ...

    @cascade("cascade", task="t", version="v", segment="en", input_size=7)
    def c() -> None:
        small()
        large()

    c()
    told = TierCall(
        "small",
        **ASKED,
        confidence=0.3,
        cost=0.25,
        input_tokens=3,
        output_tokens=4,
        response_model="m-2025",  # type: ignore[arg-type]  # mixed values
    )
    record_call("t", [told, TierCall("large", model="m2")], version="v", segment="en", input_size=7)
    live, past = seen.spans[:3], seen.spans[3:]
    differs = {semconv.CONFIDENCE_SOURCE}
    assert [
        (s.name, s.kind, {k: v for k, v in (s.attributes or {}).items() if k not in differs}) for s in live
    ] == [(s.name, s.kind, {k: v for k, v in (s.attributes or {}).items() if k not in differs}) for s in past]


WRONG: Any = object()


@pytest.mark.parametrize(
    "bad",
    [
        {"confidence": 7.0},
        {"threshold": 2e6},
        {"cost": 2e6},
        {"input_tokens": 2**31},
        {"duration_s": 1e10},
        {"model": WRONG},
        {"kind": WRONG},
        {"provider": WRONG},
        {"error": WRONG},
    ],
)
def test_a_past_call_that_cannot_be_is_counted_and_not_raised(
    seen: Recorded, lenient: None, bad: dict[str, Any]
) -> None:
    """Nothing of it is recorded, also where it is only its last tier call that cannot be."""
    assert record_call("t", [TierCall("a"), TierCall("b", **bad)]) == NO_TRACE
    assert not seen.spans
    assert seen.metric(semconv.DROPPED) == {frozenset({(semconv.DROP_REASON, "value")}): 1}


@pytest.mark.parametrize("start_ns", [-1, 2**63, "now", float("nan")])
def test_a_time_that_cannot_be_encoded_is_counted(seen: Recorded, lenient: None, start_ns: Any) -> None:
    """In the SDK's encoder it would cost the whole batch."""
    assert record_call("t", [TierCall("a")], start_ns=start_ns) == NO_TRACE
    assert not seen.spans
    assert seen.metric(semconv.DROPPED) == {frozenset({(semconv.DROP_REASON, "value")}): 1}


def test_a_weight_that_the_receiver_would_not_take_is_counted(seen: Recorded, lenient: None) -> None:
    feedback("1" * 32, "a", True, weight=1e6)
    feedback("1" * 32, "a", True, weight=1.000001e6)
    assert len(seen.spans) == 1
    assert seen.metric(semconv.DROPPED) == {frozenset({(semconv.DROP_REASON, "value")}): 1}


def test_suppressed_instrumentation_suppresses_these_too(seen: Recorded) -> None:
    token = context.attach(context.set_value("suppress_instrumentation", True))
    assert record_call("t", [TierCall("a")]) == NO_TRACE
    feedback("1" * 32, "a", True)
    context.detach(token)
    assert not seen.spans


def test_feedback_is_a_span_linked_to_the_call(seen: Recorded) -> None:
    trace_id = record_call("t", [TierCall("small")])
    feedback(trace_id, "small", False, source="reviewer", weight=20.0, cascade="c", task="t")
    label = seen.spans[-1]
    assert label.name == semconv.FEEDBACK_SPAN
    assert dict(label.attributes or {}) == {
        semconv.TIER_NAME: "small",
        semconv.FEEDBACK_CORRECT: False,
        semconv.FEEDBACK_SOURCE: "reviewer",
        semconv.FEEDBACK_WEIGHT: 20.0,
        semconv.CASCADE_NAME: "c",
        semconv.CASCADE_TASK: "t",
    }
    (link,) = label.links
    assert (f"{link.context.trace_id:032x}", link.context.is_valid) == (trace_id, True)
    assert label.parent is None


@pytest.mark.parametrize("trace_id", ["", "xyz", "0" * 32, "g" * 32, 12])
def test_feedback_without_a_trace_id_is_counted_and_not_raised(
    seen: Recorded, lenient: None, trace_id: object
) -> None:
    feedback(trace_id, "small", True)  # type: ignore[arg-type]  # on purpose
    assert not seen.spans
    assert seen.metric(semconv.DROPPED) == {frozenset({(semconv.DROP_REASON, "value")}): 1}
