"""Audits that fail, stop half-way or hide their cost stay within their bounds and out of the host's way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from cascade_otel import Audit, cascade, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.test_audit import audits, extracting, idle, large, small


def unpriced(x: int) -> int:
    return x


free = tier("free")(unpriced)


def extracting_later(audit: Audit) -> Any:
    @cascade("extract", audit=audit)
    async def extract(x: int) -> int:
        return small(x)

    return extract


def test_what_ends_a_program_does_not_end_the_hosts_loop(seen: Recorded, lenient: None) -> None:
    async def leaving(x: int) -> int:
        large(x)
        raise SystemExit(3)

    audit = Audit(1.0, leaving)

    async def main() -> str:
        await extracting_later(audit)(1)
        while audit._in_flight:
            await asyncio.sleep(0.001)
        return "still here"

    assert asyncio.run(main()) == "still here"
    assert seen.dropped == {"audit": 1}


def test_an_audit_whose_loop_ends_before_it_is_counted(
    seen: Recorded, lenient: None, caplog: pytest.LogCaptureFixture
) -> None:
    @tier("large")
    async def slow(x: int) -> int:
        await asyncio.sleep(10)
        return x

    audit = Audit(1.0, slow)
    for x in range(3):
        asyncio.run(extracting_later(audit)(x))
    assert audit._in_flight == 0
    assert seen.dropped == {"audit": 3}
    assert caplog.text.count("their event loop has ended") == 1


def test_a_run_that_asks_the_cheap_tier_too_goes_on_auditing(seen: Recorded) -> None:
    def both(x: int) -> int:
        small(x)
        return large(x)

    audit = Audit(1.0, both)
    for x in range(5):
        extracting(audit)(x)
        idle(audit)
    assert len(audits(seen, 5)) == 5


def test_an_audit_that_fails_after_its_tier_answered_has_cost_something(
    seen: Recorded, lenient: None
) -> None:
    """Of what nobody knows how much: with a budget that is the end of audits."""

    def broken(x: int) -> int:
        free(x)
        raise ValueError

    audit = Audit(1.0, broken, max_cost_per_day=0.01)
    for x in range(5):
        extracting(audit)(x)
        idle(audit)
    assert len(audits(seen)) == 1


def test_an_unknown_cost_counts_as_the_dearest_so_far(seen: Recorded) -> None:
    asked = iter([large, *[free] * 100])
    audit = Audit(1.0, lambda x: next(asked)(x), max_cost_per_day=0.045)
    for x in range(20):
        extracting(audit)(x)
        idle(audit)
    assert len(audits(seen, 4)) == 4


def test_a_run_that_streams_is_refused() -> None:
    def words(x: int) -> Iterator[str]:
        yield "yes"

    for run in (words, tier("large")(words)):
        with pytest.raises(TypeError, match="returns its whole answer"):
            Audit(0.5, run)


def test_a_call_that_failed_is_not_audited_whatever_the_code_said_of_its_tiers(seen: Recorded) -> None:
    audit = Audit(1.0, large)

    def run() -> None:
        with cascade("extract", audit=audit) as call:
            small(1)
            call.final_tier = "small"
            raise KeyError

    with pytest.raises(KeyError):
        run()
    assert audit._in_flight == 0
    assert (seen.cascades[0].outcome, seen.cascades[0].final_tier) == ("error", None)


@pytest.mark.parametrize("wrong", [0.5, "large", object()])
def test_what_is_no_audit_is_left_out_and_the_calls_are_recorded(
    seen: Recorded, lenient: None, wrong: Any
) -> None:
    assert cascade("extract", audit=wrong)(lambda: small(1))() == 1
    assert len(seen.cascades) == 1
    assert seen.dropped == {"value": 1}
