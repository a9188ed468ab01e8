"""Audits: a share of accepted calls, off the caller's path, within bounds, and never the caller's trouble."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from cascade_otel import Audit, cascade, semconv, tier
from cascade_otel.instrumentation import _audit
from cascade_otel.testing import Recorded, RecordedCascade
from tests.instrumentation.toys import total


def until(done: Callable[[], bool]) -> None:
    """Waits until something in another thread has happened, 10 s at most."""
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end, "nothing happened for 10 s"
        time.sleep(0.002)


def audits(seen: Recorded, number: int = 1) -> list[RecordedCascade]:
    def found() -> list[RecordedCascade]:
        return [each for each in seen.cascades if each.purpose == "audit"]

    until(lambda: len(found()) >= number)
    return found()


def idle(audit: Audit) -> None:
    until(lambda: audit._in_flight == 0)


@tier("small", threshold=0.8, confidence=lambda answer: 0.9, cost=0.001)
def small(x: int) -> int:
    return x


@tier("large", cost=0.01)
def large(x: int) -> int:
    return x % 2


def extracting(audit: Audit, **said: Any) -> Callable[[int], int]:
    return cascade("extract", task="organic", audit=audit, agree=lambda a, b: bool(a == b), **said)(
        lambda x: small(x)
    )


def test_an_audit_asks_the_stronger_tier_under_the_same_trace(seen: Recorded) -> None:
    audit = Audit(1.0, large)
    assert extracting(audit, version="v2", segment="en")(1) == 1
    (found,) = audits(seen)
    call = next(each for each in seen.cascades if each.purpose == "production")
    assert found.trace_id == call.trace_id
    assert (found.name, found.task, found.version, found.segment) == ("extract", "organic", "v2", "en")
    assert found.audit_weight == 1.0
    assert [(each.tier, each.agreed, each.outcome, each.cost) for each in found.tiers] == [
        ("large", True, "accepted", 0.01)
    ]
    assert [each.tier for each in call.tiers] == ["small"]
    assert (call.escalated, call.cost) == (False, 0.001)


def test_an_audit_that_disagrees_says_so(seen: Recorded) -> None:
    extracting(Audit(1.0, large))(2)
    assert audits(seen)[0].tiers[0].agreed is False


def test_production_metrics_know_nothing_of_audits(seen: Recorded) -> None:
    audit = Audit(1.0, large)
    extracting(audit)(1)
    idle(audit)
    calls = {
        dict(said).get(semconv.CASCADE_PURPOSE, ""): n for said, n in seen.metric(semconv.TIER_CALLS).items()
    }
    assert calls == {"": 1, "audit": 1}


def test_an_escalated_call_needs_no_audit(seen: Recorded) -> None:
    audit = Audit(1.0, large)
    cascade("x", audit=audit)(lambda x: (small(x), large(x)))(1)
    assert audit._in_flight == 0
    assert len(seen.cascades) == 1


@pytest.mark.parametrize("purpose", ["audit", "canary"])
def test_only_production_is_audited(seen: Recorded, purpose: str) -> None:
    audit = Audit(1.0, large)
    extracting(audit, purpose=purpose)(1)
    assert audit._in_flight == 0
    assert len(seen.cascades) == 1


def test_an_answer_of_the_audits_own_tier_is_not_asked_for_again(seen: Recorded) -> None:
    """Some inputs go to the strong tier at once: only before the first audit is that not known."""
    audit = Audit(1.0, large)
    extracting(audit)(1)
    idle(audit)
    cascade("x", audit=audit)(lambda x: large(x))(1)
    assert audit._in_flight == 0
    assert len(seen.cascades) == 3


def test_the_share_is_the_rate_and_each_audit_stands_for_its_inverse(seen: Recorded) -> None:
    audit = Audit(0.25, large)
    drawn = 0
    for _ in range(4000):
        if audit.draw():
            drawn += 1
            audit._ended(None)
    assert 850 < drawn < 1150  # 5.5 standard deviations
    extract = extracting(Audit(0.25, large))
    for x in range(40):
        extract(x)
    assert audits(seen)[0].audit_weight == 4.0


def test_the_hosts_seeded_draws_stay_what_they_are() -> None:
    random.seed(7)
    expected = random.random()
    random.seed(7)
    Audit(0.5, large).draw()
    assert random.random() == expected


def test_the_caller_does_not_wait(seen: Recorded) -> None:
    go = threading.Event()

    def slow(x: int) -> int:
        assert go.wait(10)
        return large(x)

    audit = Audit(1.0, slow)
    extracting(audit)(1)  # returns although nothing has let the audit go on
    assert audit._in_flight == 1
    go.set()
    audits(seen)
    idle(audit)


def test_no_more_than_so_many_run_at_once(seen: Recorded) -> None:
    go = threading.Event()

    def slow(x: int) -> int:
        assert go.wait(10)
        return large(x)

    audit = Audit(1.0, slow, max_in_flight=2)
    for x in range(10):
        extracting(audit)(x)
    assert audit._in_flight == 2
    assert seen.dropped == {"audit": 8}
    go.set()
    assert len(audits(seen, 2)) == 2
    idle(audit)


def test_a_day_costs_no_more_than_was_allowed(seen: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four audits at a cent each, then none until the next UTC day."""
    now = 86_400.0 * 100 + 5
    monkeypatch.setattr(_audit, "time", lambda: now)
    audit = Audit(1.0, large, max_cost_per_day=0.045)
    for x in range(10):
        extracting(audit)(x)
        idle(audit)
    assert len(audits(seen)) == 4
    now += 86_400
    extracting(audit)(1)
    idle(audit)
    assert len(audits(seen, 5)) == 5


def test_audits_in_flight_are_counted_at_the_dearest_so_far(seen: Recorded) -> None:
    go = threading.Event()
    go.set()

    def slow(x: int) -> int:
        assert go.wait(10)
        return large(x)

    audit = Audit(1.0, slow, max_in_flight=100, max_cost_per_day=0.045)
    extracting(audit)(1)
    idle(audit)
    go.clear()
    for x in range(10):
        extracting(audit)(x)
    assert audit._in_flight == 3
    go.set()
    idle(audit)


def test_one_at_a_time_until_a_cost_is_known_and_none_where_it_stays_unknown(
    seen: Recorded, lenient: None, caplog: pytest.LogCaptureFixture
) -> None:
    free = tier("free")(lambda x: x)
    go = threading.Event()

    def slow(x: int) -> int:
        assert go.wait(10)
        return int(free(x))

    audit = Audit(1.0, slow, max_cost_per_day=1.0)
    for x in range(3):
        extracting(audit)(x)
    assert audit._in_flight == 1
    go.set()
    idle(audit)
    extracting(audit)(1)
    assert audit._in_flight == 0
    assert "what they cost is unknown" in caplog.text


def test_an_audit_that_fails_is_counted_and_nobodys_trouble(
    seen: Recorded, lenient: None, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(x: int) -> int:
        raise ValueError(f"no answer for {x}")

    audit = Audit(1.0, broken, max_cost_per_day=1.0)
    assert extracting(audit)(1) == 1
    idle(audit)
    assert seen.dropped == {"audit": 1}
    extracting(audit)(1)  # one that failed has no known cost, and does not end audits
    idle(audit)
    assert seen.dropped == {"audit": 2}


def test_a_run_that_calls_no_tier_is_told_once(seen: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    audit = Audit(1.0, lambda x: x)
    for x in range(3):
        extracting(audit)(x)
        idle(audit)
    assert caplog.text.count("must call a function under @tier") == 1


def test_a_coroutine_is_audited_in_the_running_loop(seen: Recorded) -> None:
    """The client of an asyncio application belongs to its loop."""
    where: list[Any] = []

    @tier("large", cost=0.01)
    async def large_later(x: int) -> int:
        where.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return x

    audit = Audit(1.0, large_later)

    @cascade("extract", audit=audit, agree=lambda a, b: bool(a == b))
    async def extract(x: int) -> int:
        return small(x)

    async def main() -> None:
        assert await extract(3) == 3
        while audit._in_flight:
            await asyncio.sleep(0.001)
        assert where == [asyncio.get_running_loop()]

    asyncio.run(main())
    (found,) = audits(seen)
    assert [(each.tier, each.agreed) for each in found.tiers] == [("large", True)]


def test_a_coroutine_without_a_loop_gets_one_of_its_own(seen: Recorded) -> None:
    @tier("large")
    async def large_later(x: int) -> int:
        await asyncio.sleep(0)
        return x

    audit = Audit(1.0, large_later)
    extracting(audit)(1)
    assert [each.tier for each in audits(seen)[0].tiers] == ["large"]
    idle(audit)


def test_a_method_is_audited_with_its_object(seen: Recorded) -> None:
    class Extractor:
        @tier("large")
        def strong(self, x: int) -> int:
            return x

        @cascade("extract", audit=Audit(1.0, lambda self, x: self.strong(x)))
        def extract(self, x: int) -> int:
            return small(x)

    Extractor().extract(1)
    assert [each.tier for each in audits(seen)[0].tiers] == ["large"]


def test_a_forked_child_starts_with_none_in_flight(seen: Recorded) -> None:
    audit = Audit(1.0, large)
    audit._in_flight = 3
    _audit._after_fork()
    assert audit._in_flight == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rate": 0.0}, "a share above 0"),
        ({"rate": 1.5}, "a share above 0"),
        ({"rate": float("nan")}, "a share above 0"),
        ({"max_in_flight": 0}, "from 1 on"),
        ({"max_cost_per_day": 0.0}, "above 0"),
    ],
)
def test_impossible_bounds_are_refused_where_they_are_written(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Audit(**{"rate": 0.5, "run": large, **wrong})


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="a function that calls a stronger tier"):
        Audit(0.5, "large")  # type: ignore[arg-type]  # on purpose


def test_no_telemetry_no_audit() -> None:
    """Where nothing is recorded nothing is asked either."""
    from tests.instrumentation.toys import run_python

    program = """
    from cascade_otel import Audit, cascade, tier
    asked = []
    small = tier("small")(lambda x: x)
    large = tier("large")(lambda x: asked.append(x))
    cascade("x", audit=Audit(1.0, large))(lambda x: small(x))(1)
    import time; time.sleep(.05); print(asked)
    """
    assert run_python(program) == "[]"


def test_totals_of_a_cascade_leave_its_audit_out(seen: Recorded) -> None:
    audit = Audit(1.0, large)
    for x in range(5):
        extracting(audit)(x)
        idle(audit)
    assert total(seen, semconv.CASCADE_DURATION) == 10
    assert sum(each.cost or 0.0 for each in seen.cascades if each.purpose == "production") == pytest.approx(
        0.005
    )


def test_a_flush_waits_for_audits_within_its_time(seen: Recorded) -> None:
    go = threading.Event()

    def slow(x: int) -> int:
        assert go.wait(10)
        return large(x)

    audit = Audit(1.0, slow)
    extracting(audit)(1)
    _audit.wait_for_audits(0.01)
    assert audit._in_flight == 1
    threading.Timer(0.02, go.set).start()
    _audit.wait_for_audits(10)
    assert audit._in_flight == 0
    assert len(audits(seen)) == 1
