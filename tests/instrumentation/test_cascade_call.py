"""Which answer stood, what a cascade becomes of, and where its calls may run."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from typing import Any

import pytest

from cascade_otel import cascade, semconv, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import WITH_SDK, Answer, outcomes, run_python, total, two_tiers


def test_a_cascade_inside_a_cascade_is_a_call_of_its_own(seen: Recorded) -> None:
    small, large = two_tiers(Answer(0.5))

    @cascade(task=lambda n: f"depth{n}")
    def c(n: int) -> None:
        small()
        if n:
            c(n - 1)
        else:
            large()

    c(2)
    assert {each.task: each.escalated for each in seen.cascades} == {
        "depth2": False,
        "depth1": False,
        "depth0": True,
    }
    assert outcomes(seen)["small"] == ["accepted", "accepted", "escalated"]


def test_a_cascade_inside_a_tier(seen: Recorded) -> None:
    small, large = two_tiers(Answer(0.5))

    @cascade("inner")
    def inner() -> None:
        small()
        large()

    @tier("agent")
    def agent() -> None:
        inner()

    @tier("human", kind="human")
    def human() -> None: ...

    @cascade("outer")
    def outer() -> None:
        agent()
        human()

    outer()
    assert outcomes(seen) == {
        "agent": ["escalated"],
        "small": ["escalated"],
        "large": ["accepted"],
        "human": ["accepted"],
    }
    assert {each.name: len(each.tiers) for each in seen.cascades} == {"inner": 2, "outer": 2}


def test_a_tier_inside_a_tier_only_overlaps_with_it(seen: Recorded) -> None:
    small, _ = two_tiers(Answer(0.85))

    @tier("agent")
    def agent() -> Any:
        return small()

    @cascade
    def c() -> Any:
        return agent()

    c()
    assert outcomes(seen) == {"agent": ["accepted"], "small": ["accepted"]}


@pytest.mark.parametrize(
    ("confidence", "threshold", "escalated"),
    [(0.5, 0.8, True), (0.8, 0.8, False), (0.9, 0.8, False), (None, 0.8, None), (0.5, None, None)],
)
def test_without_a_cascade_confidence_below_the_threshold_decides(
    seen: Recorded, confidence: float | None, threshold: float | None, escalated: bool | None
) -> None:
    small, _ = two_tiers(Answer(confidence), threshold=threshold)
    small()
    (only,) = seen.tiers
    assert (only.escalated, only.outcome) == (escalated, "escalated" if escalated else "accepted")
    assert (only.index, only.task) == (None, None)


def test_escalations_are_there_at_zero_and_costs_are_not() -> None:
    """A rate needs a first 0; an unknown cost must not read as free."""
    assert run_python(
        WITH_SDK
        + """
@tier("small", threshold=0.5)
def small(): return 1
small()
data = cumulative.get_metrics_data()
found = [m for rm in data.resource_metrics for sm in rm.scope_metrics for m in sm.metrics]
print(sorted((m.name, p.value) for m in found for p in m.data.data_points if hasattr(p, "value")))
"""
    ) == str([("cascade.escalations", 0), ("cascade.tier.calls", 1)])


@pytest.mark.parametrize(
    ("how", "outcome"), [("error", "error"), ("cancel", "cancelled"), ("exit", "abandoned")]
)
def test_a_cascade_that_fails_leaves_its_open_visit_undecided(seen: Recorded, how: str, outcome: str) -> None:
    small, _ = two_tiers()

    @cascade
    async def c() -> None:
        small()
        if how == "error":
            raise KeyError("x")
        await asyncio.sleep(10)

    @cascade
    def stream() -> Any:
        small()
        yield 1
        yield 2

    async def cancel() -> None:
        running = asyncio.ensure_future(c())
        await asyncio.sleep(0)
        running.cancel()
        await running

    if how == "error":
        with pytest.raises(KeyError):
            asyncio.run(c())
    elif how == "cancel":
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(cancel())
    else:
        open_stream = stream()
        next(open_stream)
        open_stream.close()
    assert outcomes(seen) == {"small": [outcome]}
    assert (seen.cascades[0].outcome, seen.tiers[0].escalated) == (outcome, None)
    assert seen.cascades[0].escalated is None


def test_a_cascade_that_escalated_and_then_failed_did_escalate(seen: Recorded) -> None:
    small, large = two_tiers(Answer(0.5), KeyError())

    @cascade
    def c() -> None:
        small()
        large()

    with pytest.raises(KeyError):
        c()
    (whole,) = seen.cascades
    assert (whole.outcome, whole.escalated, seen.tiers[1].escalated) == ("error", True, None)


def test_a_cascade_made_anew_for_each_call_prepares_its_tiers_once(seen: Recorded) -> None:
    """``with cascade("extract", task=...)`` per request: what is prepared is the task's, not the object's."""
    small = tier("small")
    for number in range(20):
        with cascade("anew", task=f"task {number % 2}", purpose="audit", version="v1"), small:
            pass
    assert len(small.prepared) == 2
    assert len(seen.spans) == 40


def test_a_cascade_that_returns_though_no_answer_stood_is_exhausted(seen: Recorded) -> None:
    small, large = two_tiers(Answer(0.5), ValueError)

    @cascade
    def c() -> str:
        small()
        try:
            large()
        except ValueError:
            return "sorry"
        return "never"

    c()
    assert outcomes(seen) == {"small": ["escalated"], "large": ["error"]}
    assert (seen.cascades[0].outcome, seen.cascades[0].final_tier) == ("exhausted", None)


def test_a_tier_cut_off_by_wait_for_and_followed_by_another_is_a_timeout(seen: Recorded) -> None:
    @tier("small")
    async def small() -> None:
        await asyncio.sleep(10)

    @tier("large")
    async def large() -> None: ...

    @cascade
    async def c() -> None:
        try:
            await asyncio.wait_for(small(), 0.01)
        except TimeoutError:
            await large()

    asyncio.run(c())
    assert (seen.tiers[0].outcome, seen.tiers[0].reason) == ("escalated", "timeout")


@pytest.mark.parametrize("how", ["to_thread", "task", "pool", "pool without context"])
def test_the_cascade_rides_in_the_context(seen: Recorded, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """Tasks and to_thread carry it; a bare pool does not: its call is an orphan, and we say so."""
    small, large = two_tiers(Answer(0.5))

    @cascade
    async def c() -> None:
        small()
        if how == "to_thread":
            await asyncio.to_thread(large)
        elif how == "task":

            async def go() -> None:
                large()

            await asyncio.create_task(go())
        else:
            with concurrent.futures.ThreadPoolExecutor() as pool:
                run = contextvars.copy_context().run
                (pool.submit(run, large) if how == "pool" else pool.submit(large)).result()

    asyncio.run(c())
    carried = how != "pool without context"
    first, second = seen.tiers
    assert (first.escalated, second.task is not None) == (carried, carried)
    told = [each for each in caplog.records if "instrumentation-threading" in each.getMessage()]
    assert len(told) == (not carried)


def test_a_call_that_outlives_its_cascade_is_handed_on_once_when_it_ends(seen: Recorded) -> None:
    go, started = threading.Event(), threading.Event()
    threads = []

    @tier("slow")
    def slow(wait: bool) -> None:
        started.set()
        if wait:
            go.wait(5)

    @cascade
    def c(answered_before: bool) -> None:
        if answered_before:
            slow(False)
        started.clear()
        thread = threading.Thread(target=contextvars.copy_context().run, args=(slow, True))
        thread.start()
        threads.append(thread)
        started.wait(5)

    c(False)
    c(True)
    assert len(seen.spans) == 3
    go.set()
    for thread in threads:
        thread.join()
    assert outcomes(seen) == {"slow": ["outlived", "accepted", "outlived"]}
    assert [each.escalated for each in seen.tiers] == [None, False, None]
    assert len({each.trace_id for each in seen.tiers}) == 2


def test_eight_threads_count_exactly(seen: Recorded) -> None:
    small, large = two_tiers(Answer(0.5, 0.5))

    @cascade
    def c() -> None:
        small()
        large()

    threads = [threading.Thread(target=lambda: [c() for _ in range(100)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen.spans) == 8 * 100 * 3
    assert total(seen, semconv.TIER_CALLS) == 1600
    assert total(seen, semconv.ESCALATIONS) == 800
    assert total(seen, semconv.TIER_COST) == 400.0


def test_code_that_decides_otherwise_than_its_threshold_is_told_once(
    seen: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    """ "Telemetry says τ = .8, the code behaves otherwise": once per tier, and not where the code agrees."""
    near, _ = two_tiers(Answer(0.75))

    @cascade
    def c() -> None:
        near()

    c()
    c()
    (told,) = [each.getMessage() for each in caplog.records if each.name == "cascade_otel"]
    assert "τ = 0.8" in told
    assert "confidence 0.75 was accepted" in told


def test_code_that_decides_by_its_threshold_is_told_nothing(
    seen: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    for confidence in (0.5, 0.9):
        small, large = two_tiers(Answer(confidence))

        @cascade
        def c(small: Any = small, large: Any = large) -> Any:
            return small() if small().confidence >= 0.8 else large()

        c()
    assert not [each for each in caplog.records if each.name == "cascade_otel"]
