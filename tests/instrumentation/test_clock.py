"""The clock of the wall may step; durations do not."""

from __future__ import annotations

import itertools

import pytest

from cascade_otel import cascade, tier
from cascade_otel.instrumentation import _calls
from cascade_otel.testing import record

HOUR = 3_600 * 10**9
NOW = 1_790_000_000 * 10**9
STEPS = {"back": -HOUR, "forward": HOUR, "to and fro": None, "stuck": 0}


@pytest.mark.parametrize("step", STEPS)
def test_durations_are_those_of_a_steady_clock(
    step: str, monkeypatch: pytest.MonkeyPatch, strict: None
) -> None:
    """The wall's clock steps by an hour at each look; each call takes exactly half a second."""
    steady = [10**9]
    by = STEPS[step]
    walls = itertools.cycle([NOW, NOW + HOUR]) if by is None else itertools.count(NOW, by)
    monkeypatch.setattr(_calls, "time_ns", lambda: next(walls))
    monkeypatch.setattr(_calls, "perf_counter_ns", lambda: steady[0])

    def half_a_second() -> None:
        steady[0] += 500_000_000

    small, large = tier("small")(half_a_second), tier("large")(half_a_second)

    @cascade
    def c() -> None:
        small()
        large()

    with record() as seen:
        for _ in range(3):
            c()
        spans = seen.spans
        assert len(spans) == 9
        for span in spans:
            assert span.start_time is not None
            assert span.end_time is not None
            wanted = 1_000_000_000 if span.name == "cascade c" else 500_000_000
            assert span.end_time - span.start_time == wanted
