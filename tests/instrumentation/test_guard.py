"""Whatever happens to us, the host gets what it would get undecorated, and what we drop is counted."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from cascade_otel import annotate, cascade, feedback, record_call, scorer, semconv, tier
from cascade_otel.instrumentation import _instruments as instruments
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.records import TierCall
from cascade_otel.storage.otlp.decode import decode
from cascade_otel.testing import Recorded
from tests.instrumentation.shaped import SHAPES, drive, expected, shaped
from tests.instrumentation.toys import total

CASES = 10_000 if os.environ.get("CASCADE_OTEL_TORTURE") else 300


class Hostile:
    """Everything one can ask of it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __hash__ = __float__ = __bool__ = __len__ = __iter__ = __repr__  # type: ignore[assignment]  # on purpose

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


class FloatBomb(float):
    def __float__(self) -> float:
        raise RuntimeError

    def __le__(self, other: float) -> bool:
        raise RuntimeError


HOSTILE = st.one_of(
    st.none(),
    st.floats(),
    st.integers(),
    st.text(),
    st.binary(),
    st.booleans(),
    st.just(10**400),
    st.just("\ud800"),
    st.just("x" * 100_000),
    st.lists(st.integers()),
    st.decimals(),
    st.complex_numbers(),
    st.fractions(),
    st.builds(Hostile),
    st.builds(Hostile),
    st.builds(FloatBomb),
    st.builds(object),
)


@settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, st.booleans())
def test_hostile_values_never_reach_the_host(
    lenient: None, confidence: Any, cost: Any, usage: Any, name: Any, raises: bool
) -> None:
    def say(value: Any) -> Callable[..., Any]:
        def said(*_: Any) -> Any:
            if raises:
                raise RuntimeError(value)
            return value

        return said

    def from_result(result: Any, call: Any) -> None:
        visit = call.visit("large")
        visit.confidence, visit.threshold, visit.cost, visit.reason = confidence, cost, usage, name
        visit.escalated = usage

    result = Hostile()
    names: dict[str, Any] = {"model": say(name), "threshold": say(confidence), "usage": say(usage)}

    @tier(say(name), confidence=say(confidence), cost=say(cost), **names)
    def small(x: Any) -> Any:
        annotate(confidence=confidence, threshold=cost, tier=name)
        return result

    @tier("large", confidence="confidence", cost="cost", usage="usage")
    def large(x: Any) -> Any:
        return result

    @scorer("large", confidence=say(confidence))
    def judge(x: Any) -> Any:
        return x

    @cascade(
        task=say(name),
        version=say(cost),
        purpose=say(name),
        segment=say(usage),
        input_size=say(cost),
        from_result=from_result,
    )
    def both(x: Any) -> Any:
        small(x)
        return judge(large(x))

    def host() -> str:
        """What the host sees; as text, since a hostile object breaks the report of a failed test."""
        try:
            if small(Hostile()) is not result or both(Hostile()) is not result:
                return "another result"
        except BaseException:
            return traceback.format_exc()
        return ""

    assert host() == ""
    one = TierCall(
        name, model=name, confidence=confidence, threshold=cost, cost=usage, duration_s=cost, error=name
    )
    assert len(record_call(name, [one, one], cascade=name, version=name, input_size=cost)) == 32
    feedback(name, name, usage, source=name, weight=cost)


class FaultySpan(trace.NonRecordingSpan):
    """A real span, one method of which raises."""

    def __init__(self, real: trace.Span, broken: str) -> None:
        super().__init__(real.get_span_context())
        self.real, self.broken = real, broken

    def is_recording(self) -> bool:
        return True

    def set_attributes(self, attributes: Any) -> None:
        self.stumble("set_attributes")
        self.real.set_attributes(attributes)

    def end(self, end_time: int | None = None) -> None:
        self.stumble("end")
        self.real.end(end_time)

    def stumble(self, method: str) -> None:
        if method == self.broken:
            raise RuntimeError(f"broken {method}")


class Faulty:
    """A tracer or an instrument, one method of which raises."""

    def __init__(self, real: Any, broken: str) -> None:
        self.real, self.broken = real, broken

    def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
        if self.broken == "start_span":
            raise RuntimeError("broken start_span")
        return FaultySpan(self.real.start_span(*args, **kwargs), self.broken)

    def record(self, *args: Any) -> None:
        raise RuntimeError("broken record")


@pytest.mark.parametrize("broken", ["start_span", "set_attributes", "end", "record"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_broken_sdk_costs_only_telemetry(
    seen: Recorded, lenient: None, shape: str, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any method of the SDK may raise: the result is unchanged, the fault counted, the rest recorded."""
    if broken == "record":
        for histogram in ("operation_duration", "tier_duration", "cascade_duration", "tier_confidence"):
            monkeypatch.setattr(instruments, histogram, Faulty(getattr(instruments, histogram), broken))
    else:
        monkeypatch.setattr(instruments, "tracer", Faulty(instruments.tracer, broken))
    seen_by_user = drive(shape, shaped(shape, lambda f: cascade("x")(tier("x")(f)), "unseen"), "success")
    assert seen_by_user == expected(shape, "success")
    assert total(seen, semconv.DROPPED) >= 1
    assert total(seen, semconv.TIER_CALLS) == 1
    if broken in ("set_attributes", "record"):
        assert len(seen.spans) == 2, "still ended"


def test_a_fault_is_logged_once_and_always_counted(
    seen: Recorded, lenient: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    @tier("x", confidence=lambda _: 1 / 0)
    def f() -> int:
        return 1

    for _ in range(3):
        f()
    (told,) = [each for each in caplog.records if each.name == "cascade_otel"]
    assert "your code is unaffected" in told.getMessage()
    assert seen.metric(semconv.DROPPED) == {frozenset({(semconv.DROP_REASON, "callable")}): 3}
    monkeypatch.setattr(Guard, "strict", True)
    with pytest.raises(ZeroDivisionError):
        f()


def test_a_logging_handler_that_raises_does_not_reach_the_host(seen: Recorded, lenient: None) -> None:
    class Bad(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("handler")

    @tier("x", confidence=lambda _: 1 / 0)
    def f() -> int:
        return 1

    bad = Bad()
    logging.getLogger("cascade_otel").addHandler(bad)
    try:
        assert f() == 1
    finally:
        logging.getLogger("cascade_otel").removeHandler(bad)


@pytest.mark.parametrize(
    ("confidence", "cost"),
    [
        (1.5, 0.125),
        (-0.1, 0.125),
        (float("nan"), 0.125),
        (float("inf"), 0.125),
        ("0.5", 0.125),
        (True, 0.125),
        (0.5, -1),
        (0.5, "1"),
        (0.5, 1.000001e6),
    ],
)
def test_an_impossible_number_is_left_out_alone_and_counted(
    seen: Recorded, lenient: None, confidence: Any, cost: Any
) -> None:
    """A counter only grows, a confidence is a probability; what is right beside it is kept."""

    @tier("odd", confidence=lambda _: confidence, cost=lambda _: cost)
    def f() -> int:
        return 1

    f()
    (only,) = seen.tiers
    assert (only.confidence, only.cost) == ((None, 0.125) if cost == 0.125 else (0.5, None))
    assert total(seen, semconv.TIER_COST) == (only.cost or 0)
    assert seen.metric(semconv.DROPPED) == {frozenset({(semconv.DROP_REASON, "value")}): 1}


def test_numbers_of_numpys_kind_become_plain_ones(seen: Recorded) -> None:
    """The SDK would export a numpy scalar as text."""

    @tier("x", confidence=lambda _: numpy.float32(0.5), usage=lambda _: (numpy.int64(3), 4))
    def f() -> int:
        return 1

    f()
    (only,) = seen.tiers
    assert (only.confidence, only.input_tokens, only.output_tokens) == (0.5, 3, 4)
    assert [type(each) for each in (only.confidence, only.input_tokens)] == [float, int]


def test_what_the_receiver_would_not_take_is_left_out_and_the_span_is_taken(
    seen: Recorded, lenient: None
) -> None:
    """For one value beyond its range a whole span would be put aside there."""

    def calls_with(more: int) -> None:
        @tier("x", usage=lambda _: (2**31 - 1 + more, 2**31 - 1 + more), threshold=-(10**6) - more)
        def x() -> int:
            return 1

        with cascade("c", input_size=2**62 + more):
            x()
            with tier("y") as y, tier("z") as z:
                y.threshold, y.cost, z.cost = 10**6 + more, 5e5 + more, 5e5

    calls_with(0)
    calls_with(1)
    decoded = decode([encode_spans(seen.spans).SerializeToString()])
    assert (decoded.put_aside, len(seen.spans)) == ([], 8)
    most, over = seen.cascades
    assert [(each.input_size, each.cost) for each in (most, over)] == [(2**62, 1e6), (None, None)]
    first = most.tiers[0]
    assert (first.input_tokens, first.output_tokens, first.threshold) == (2**31 - 1, 2**31 - 1, -1e6)
    assert [(each.input_tokens, each.threshold) for each in over.tiers[:2]] == [(None, None)] * 2
    assert total(seen, semconv.DROPPED) == 6, "size, two of tokens, two thresholds, the total cost"


@pytest.mark.parametrize("index", ["0", -1, 32_767, 2**70, object()])
def test_an_impossible_index_costs_no_span(seen: Recorded, lenient: None, index: Any) -> None:
    first, second = tier("first", index=index), tier("second")
    with cascade("c"):
        with first:
            pass
        with second:
            pass
    assert [(each.tier, each.index, each.escalated) for each in seen.tiers] == [
        ("first", 0, True),
        ("second", 1, False),
    ]
    assert total(seen, semconv.DROPPED) == 1


@pytest.mark.parametrize("text", ["lone \ud800", "x" * 10_000_000, "a\nb\x00", ""])
def test_a_hostile_name_is_cleaned_so_that_it_costs_no_other_span(seen: Recorded, text: str) -> None:
    """One lone surrogate in a span's name would lose the whole batch."""
    with cascade(text or "c", task=text), tier(text or "t", model=text):
        pass
    for span in seen.spans:
        assert span.name.isprintable()
        assert len(span.name) < 250
        span.to_json().encode()


def test_arguments_and_results_are_not_touched(seen: Recorded) -> None:
    """Not unless asked for; with ``read_results`` off, not even for usage and model."""
    from cascade_otel.instrumentation._settings import settings as switches

    @tier("x")
    def f(x: Any) -> Any:
        return x

    switches.read_results = False
    try:
        f(Hostile())
    finally:
        switches.read_results = True
    assert len(seen.spans) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupts_inside_our_own_code_pass(
    seen: Recorded, lenient: None, error: type[BaseException]
) -> None:
    """What a signal handler raises while our code runs is the host's."""

    def interrupt(_: Any) -> float:
        raise error

    @tier("x", confidence=interrupt)
    def f() -> int:
        return 1

    with pytest.raises(error):
        f()
